"""Each head against a plain loop over its equation and pytorch-metric-learning; its slopes, annealing and settings."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import TypeAdapter
from pytorch_metric_learning import losses
from torch import Tensor, nn
from torch.nn import functional

from facebridge.heads import (
    ArcFaceHead,
    ArcFaceSettings,
    ASoftmaxHead,
    ASoftmaxSettings,
    CosFaceHead,
    CosFaceSettings,
    Head,
    HeadSettings,
    SoftmaxHead,
    SoftmaxSettings,
)

SIZE, NUM_IDENTITIES = 5, 7
NO_ANNEALING = {"first_lambda": 0.0, "smallest_lambda": 0.0}
SETTINGS = [
    SoftmaxSettings(),
    SoftmaxSettings(bias=False),
    *(ASoftmaxSettings(margin=margin) for margin in range(1, 6)),
    ASoftmaxSettings(**NO_ANNEALING),
    CosFaceSettings(),
    CosFaceSettings(scale=10.0, margin=0.0),
    ArcFaceSettings(),
    ArcFaceSettings(scale=32.0, margin=1.5),
    ArcFaceSettings(rule="easy"),
    ArcFaceSettings(margin=math.pi / 2, rule="easy"),
]
every_head = pytest.mark.parametrize("settings", SETTINGS, ids=repr)
with_margin = pytest.mark.parametrize(
    "settings", [each for each in SETTINGS if not isinstance(each, SoftmaxSettings)], ids=repr
)

Array = NDArray[np.float64]


def true_logit(settings: Any, theta: float, length: float, annealing: float) -> float:
    """The logit of the true identity, from the equation in the paper."""
    margin = settings.margin
    if settings.kind == "a_softmax":
        k = min(math.floor(margin * theta / math.pi), margin - 1)
        psi = (-1) ** k * math.cos(margin * theta) - 2 * k
        return length * (annealing * math.cos(theta) + psi) / (1 + annealing)
    if settings.kind == "cosface":
        return float(settings.scale * (math.cos(theta) - margin))
    if settings.rule == "easy":
        return float(settings.scale * math.cos(theta + margin if theta < math.pi / 2 else theta))
    if theta + margin < math.pi:
        return float(settings.scale * math.cos(theta + margin))
    return float(settings.scale * (math.cos(theta) - margin * math.sin(math.pi - margin)))


def plain_loop(settings: Any, features: Array, head: Head, identities: list[int], annealing: float) -> Array:
    weight = head.weight.detach().double().numpy()
    logits = np.empty((len(features), len(weight)))
    for row, x in enumerate(features):
        for identity, w in enumerate(weight):
            if settings.kind == "softmax":
                bias = head.bias.tolist()[identity] if settings.bias else 0.0
                logits[row, identity] = float(np.dot(x, w)) + bias
                continue
            length = math.sqrt(np.dot(x, x))
            cosine = float(np.dot(x, w)) / length / math.sqrt(np.dot(w, w))
            theta = math.acos(max(-1.0, min(1.0, cosine)))
            scale = length if settings.kind == "a_softmax" else settings.scale
            is_true = identity == identities[row]
            logits[row, identity] = (
                true_logit(settings, theta, length, annealing) if is_true else scale * math.cos(theta)
            )
    return logits


def first_annealing(settings: ASoftmaxSettings) -> float:
    return max(settings.smallest_lambda, settings.first_lambda / (1 + settings.decay))


def at_angles(head: Head, identities: Tensor, angles: Tensor, lengths: Tensor) -> Tensor:
    """Features (B, D) at these angles, in radians, from the weights of their identities."""
    towards = functional.normalize(head.weight.detach().double()[identities])
    aside = torch.randn_like(towards)
    aside = functional.normalize(aside - (aside * towards).sum(1, keepdim=True) * towards)
    return lengths[:, None] * (angles.cos()[:, None] * towards + angles.sin()[:, None] * aside)


@every_head
def test_logits_are_those_of_a_plain_loop(settings: Any) -> None:
    head = settings.build(SIZE, NUM_IDENTITIES)
    angles = torch.cat([torch.rand(40).double() * math.pi, torch.tensor([0.0, 1e-3, math.pi - 1e-3, math.pi])])
    identities = torch.randint(NUM_IDENTITIES, (len(angles),))
    features = at_angles(head, identities, angles, 0.1 + 9 * torch.rand(len(angles)).double()).float()
    logits = head(features, identities).detach().double().numpy()
    annealing = first_annealing(settings) if isinstance(settings, ASoftmaxSettings) else 0.0
    wanted = plain_loop(settings, features.double().numpy(), head, identities.tolist(), annealing)
    # ArcFace keeps clear of the endless slope of its sine at 0 and pi: there cos(theta + m) is off by 3.5e-4 at most.
    assert np.abs(logits - wanted).max() < getattr(settings, "scale", 10.0) * 4e-4


@with_margin
def test_true_logit_is_the_closed_form_at_every_angle_and_on_both_sides_of_every_branch(settings: Any) -> None:
    head = settings.build(SIZE, NUM_IDENTITIES).double().eval()
    if isinstance(head, ASoftmaxHead):
        head.first_lambda = head.smallest_lambda = 0.5
    branches = [k * math.pi / 60 for k in range(61)] + [max(math.pi - settings.margin, 0.0)]
    angles = torch.tensor([angle + side for angle in branches for side in (-1e-4, 1e-4)]).double().clamp(0, math.pi)
    identities = torch.arange(len(angles)) % NUM_IDENTITIES
    lengths = torch.linspace(0.5, 20.0, len(angles)).double()
    logits = head(at_angles(head, identities, angles, lengths), identities)
    found = logits.gather(1, identities[:, None])[:, 0]
    wanted = [true_logit(settings, *place, 0.5) for place in zip(angles.tolist(), lengths.tolist(), strict=True)]
    assert found.tolist() == pytest.approx(wanted, abs=2e-6)


def counterpart(loss: nn.Module, head: Head) -> nn.Module:
    """The loss of pytorch-metric-learning with the weights of the head; there they are (D, N)."""
    loss.W = nn.Parameter(head.weight.detach().T.clone())
    return loss


def arcface(margin: float, scale: float) -> nn.Module:
    return losses.ArcFaceLoss(NUM_IDENTITIES, SIZE, margin=math.degrees(margin), scale=scale)


def cosface(margin: float, scale: float) -> nn.Module:
    return losses.CosFaceLoss(NUM_IDENTITIES, SIZE, margin=margin, scale=scale)


def sphereface(margin: int, scale: float) -> nn.Module:
    return losses.SphereFaceLoss(NUM_IDENTITIES, SIZE, margin=margin, scale=scale)


def normalised(margin: float, scale: float) -> nn.Module:
    return losses.NormalizedSoftmaxLoss(NUM_IDENTITIES, SIZE, temperature=1 / scale)


COUNTERPARTS: list[tuple[Any, Callable[..., nn.Module]]] = [
    *(
        (ArcFaceSettings(scale=scale, margin=margin), arcface)
        for scale, margin in ((64.0, 0.5), (32.0, 0.3), (8.0, 1.5))
    ),
    *((CosFaceSettings(scale=scale, margin=margin), cosface) for scale, margin in ((64.0, 0.35), (10.0, 1.0))),
    *((ASoftmaxSettings(margin=margin, **NO_ANNEALING), sphereface) for margin in range(1, 6)),
    (ArcFaceSettings(scale=20.0, margin=0.0), normalised),
    (ArcFaceSettings(scale=20.0, margin=0.0, rule="easy"), normalised),
    (CosFaceSettings(scale=20.0, margin=0.0), normalised),
]


# Its SphereFaceLoss takes the binomials of a tensor from scipy, in a way that numpy 2 warns of.
@pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")
@pytest.mark.parametrize(("settings", "build"), COUNTERPARTS, ids=lambda each: getattr(each, "__name__", repr(each)))
def test_loss_and_gradients_are_those_of_pytorch_metric_learning(
    settings: Any, build: Callable[..., nn.Module]
) -> None:
    """Its margins are degrees for ArcFace, its temperature is 1 / scale. It has no annealing, no easy rule and no bias.

    Its SphereFace multiplies the logits by a scale as well as by the length of the feature: here 1.
    """
    head = settings.build(SIZE, NUM_IDENTITIES).double()
    loss = counterpart(build(settings.margin, getattr(settings, "scale", 1.0)), head)
    identities = torch.randint(NUM_IDENTITIES, (60,))
    angles = torch.linspace(0.05, math.pi - 0.05, 60).double()
    ours = at_angles(head, identities, angles, 0.2 + 3 * torch.rand(60).double()).requires_grad_()
    theirs = ours.detach().clone().requires_grad_()
    found, wanted = functional.cross_entropy(head(ours, identities), identities), loss(theirs, identities)
    found.backward()
    wanted.backward()
    assert found.item() == pytest.approx(wanted.item(), rel=1e-6)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(head.weight.grad, loss.W.grad.T, rtol=1e-5, atol=1e-8)


@every_head
def test_gradients_are_finite_where_the_angle_is_0_or_pi_and_for_a_feature_of_zeros(settings: Any) -> None:
    head = settings.build(SIZE, NUM_IDENTITIES)
    weight = head.weight.detach()
    features = torch.stack([weight[0], 3 * weight[1], -weight[2], -5 * weight[3], torch.zeros(SIZE)]).requires_grad_()
    functional.cross_entropy(head(features, torch.arange(5)), torch.arange(5)).backward()
    for gradient in (features.grad, head.weight.grad):
        assert gradient is not None
        assert gradient.isfinite().all()


@every_head
def test_gradients_are_those_of_finite_differences(settings: Any) -> None:
    head = settings.build(SIZE, NUM_IDENTITIES).double().eval()
    features, identities = torch.randn(6, SIZE).double().requires_grad_(), torch.arange(6)
    weight = head.weight.detach().clone().requires_grad_()

    def logits(features: Tensor, weight: Tensor) -> Tensor:
        return torch.func.functional_call(head, {"weight": weight}, (features, identities))

    assert torch.autograd.gradcheck(logits, (features, weight))


FALLING = st.one_of(
    st.builds(ArcFaceSettings, margin=st.floats(0, math.pi / 2)),
    st.builds(CosFaceSettings, margin=st.floats(0, 2)),
    st.builds(
        ASoftmaxSettings, margin=st.integers(1, 5), first_lambda=st.floats(0, 2000), smallest_lambda=st.floats(0, 9)
    ),
)


@given(FALLING, st.lists(st.floats(0, math.pi), min_size=2, max_size=30), st.integers(0, 99))
def test_true_logit_never_rises_with_the_angle(settings: Any, angles: list[float], seed: int) -> None:
    torch.manual_seed(seed)
    head = settings.build(SIZE, NUM_IDENTITIES).double()
    ordered = torch.tensor(sorted([0.0, *angles, math.pi])).double()
    identities = torch.full((len(ordered),), seed % NUM_IDENTITIES)
    features = at_angles(head, identities, ordered, torch.full((len(ordered),), 3.0).double())
    logits = head(features, identities)[:, seed % NUM_IDENTITIES].detach()
    assert float(logits.diff().max()) < 1e-5


@pytest.mark.parametrize(
    "settings", [ArcFaceSettings(), *(ASoftmaxSettings(margin=m, **NO_ANNEALING) for m in range(1, 6))]
)
def test_slope_just_under_pi_pulls_towards_the_identity(settings: Any) -> None:
    head = settings.build(SIZE, NUM_IDENTITIES)
    angles = math.pi - torch.logspace(-4, -1, 200).double()
    identities = torch.zeros(200, dtype=torch.int64)
    features = at_angles(head, identities, angles, torch.ones(200).double()).float().requires_grad_()
    head(features, identities)[:, 0].sum().backward()
    towards, x = (
        functional.normalize(head.weight.detach()[:1].double()),
        functional.normalize(features.detach().double()),
    )
    tangent = towards - (x * towards).sum(1, keepdim=True) * x
    assert features.grad is not None
    slopes = (features.grad * tangent).sum(1) / tangent.square().sum(1)  # by the cosine
    assert float(slopes.min()) > 0.5


def test_softmax_is_a_linear_layer() -> None:
    head, linear = SoftmaxHead(SIZE, NUM_IDENTITIES), nn.Linear(SIZE, NUM_IDENTITIES)
    linear.load_state_dict(head.state_dict())
    features = torch.randn(9, SIZE)
    assert torch.equal(head(features, torch.zeros(9, dtype=torch.int64)), linear(features))
    assert [name for name, _ in SoftmaxHead(SIZE, NUM_IDENTITIES, bias=False).named_parameters()] == ["weight"]


@pytest.mark.parametrize(
    "settings",
    [
        ASoftmaxSettings(margin=1),
        ASoftmaxSettings(margin=1, **NO_ANNEALING),
        CosFaceSettings(margin=0.0),
        ArcFaceSettings(margin=0.0),
        ArcFaceSettings(margin=0.0, rule="easy"),
    ],
    ids=repr,
)
def test_no_margin_is_normalised_softmax(settings: Any) -> None:
    head = settings.build(SIZE, NUM_IDENTITIES)
    features, identities = 4 * torch.randn(30, SIZE), torch.randint(NUM_IDENTITIES, (30,))
    cosine = functional.cosine_similarity(features[:, None], head.weight[None], dim=2)
    scale = getattr(settings, "scale", features.norm(dim=1, keepdim=True))
    torch.testing.assert_close(head(features, identities), scale * cosine, rtol=1e-5, atol=2e-5)


@with_margin
def test_margin_lowers_the_true_logit_and_no_other(settings: Any) -> None:
    head = settings.build(SIZE, NUM_IDENTITIES)
    features, identities = 4 * torch.randn(50, SIZE), torch.randint(NUM_IDENTITIES, (50,))
    change = (head(features, identities) - head.logits(features)).detach()
    is_true = functional.one_hot(identities, NUM_IDENTITIES).bool()
    assert (change[~is_true] == 0).all()
    assert float(change[is_true].max()) < 1e-3
    assert bool((change[is_true] < -1e-3).any()) == (settings.margin != (1 if settings.kind == "a_softmax" else 0))


def test_length_of_features_counts_for_softmax_and_a_softmax_alone() -> None:
    features, identities = torch.randn(6, SIZE), torch.arange(6)
    for settings in SETTINGS:
        head = settings.build(SIZE, NUM_IDENTITIES).eval()
        same = torch.allclose(head(5 * features, identities), head(features, identities), rtol=1e-4, atol=1e-3)
        assert same == (settings.kind in ("cosface", "arcface")), settings


@pytest.mark.parametrize(("first_lambda", "decay"), [(1000.0, 0.12), (1500.0, 0.1)])
def test_annealing_is_the_closed_form_and_stands_still_in_evaluation(first_lambda: float, decay: float) -> None:
    head = ASoftmaxHead(SIZE, NUM_IDENTITIES, first_lambda=first_lambda, decay=decay)
    features, identities = torch.randn(2, SIZE), torch.arange(2)
    for iteration in range(1, 31):
        head.train()(features, identities)
        head.eval()(features, identities)
        head.logits(features)
        assert float(head.annealing()) == pytest.approx(first_lambda / (1 + decay * iteration), rel=1e-6)
    head.iteration.fill_(1_000_000_000)
    assert float(head.annealing()) == 5.0
    assert ASoftmaxHead(SIZE, NUM_IDENTITIES).annealing().dtype == torch.float32


def test_annealing_resumes_from_a_state_dict() -> None:
    features, identities = torch.randn(4, SIZE), torch.arange(4)
    head = ASoftmaxHead(SIZE, NUM_IDENTITIES)
    for _ in range(17):
        head(features, identities)
    resumed = ASoftmaxHead(SIZE, NUM_IDENTITIES)
    resumed.load_state_dict(head.state_dict())
    assert head.state_dict()["iteration"].dtype == torch.int64
    assert int(resumed.iteration) == 17
    for _ in range(3):
        assert torch.equal(head(features, identities), resumed(features, identities))


@every_head
def test_logits_are_float32_under_autocast_and_the_same_as_without(settings: Any) -> None:
    head = settings.build(128, NUM_IDENTITIES).eval()
    features = functional.normalize(head.weight.detach()[:4] + 0.01 * torch.randn(4, 128)).bfloat16()
    identities = torch.arange(4)
    wanted, directions = head(features.float(), identities), functional.normalize(head.weight.detach())
    with torch.autocast("cpu", torch.bfloat16):
        found, plain = head(features, identities), head.logits(features)
        coarse = functional.linear(features, directions)
    assert found.dtype == plain.dtype == torch.float32
    assert torch.equal(found, wanted)
    assert torch.equal(plain, head.logits(features.float()))
    assert 64 * float((coarse - functional.linear(features.float(), directions)).abs().max()) > 0.05


@pytest.mark.parametrize(
    "settings",
    [SoftmaxSettings(), ASoftmaxSettings(), ASoftmaxSettings(**NO_ANNEALING), CosFaceSettings(), ArcFaceSettings()],
)
def test_every_head_learns_to_tell_its_identities_apart(settings: Any) -> None:
    head = settings.build(SIZE, NUM_IDENTITIES)
    centres = 2 * torch.randn(NUM_IDENTITIES, 20)
    network = nn.Linear(20, SIZE)
    optimiser = torch.optim.Adam([*network.parameters(), *head.parameters()], lr=0.03)
    before = head.weight.detach().clone()
    identities = torch.arange(NUM_IDENTITIES).repeat(6)
    faces = centres[identities] + 0.3 * torch.randn(len(identities), 20)
    for _ in range(120):
        optimiser.zero_grad()
        functional.cross_entropy(head(network(faces), identities), identities).backward()
        optimiser.step()
    assert not torch.equal(before, head.weight)
    assert (head.logits(network(faces)).argmax(1) == identities).all()


def test_first_weights_are_those_of_the_papers() -> None:
    torch.testing.assert_close(ASoftmaxHead(64, 50).weight.norm(dim=1), torch.ones(50))
    for head, bound in [
        (SoftmaxHead(64, 50), 1 / 8),
        (CosFaceHead(64, 50), math.sqrt(6 / 114)),
        (ArcFaceHead(64, 50), math.sqrt(6 / 114)),
    ]:
        weight = head.weight.detach()
        assert 0.98 * bound < float(weight.abs().max()) <= bound
        assert float(weight.std()) == pytest.approx(bound / math.sqrt(3), rel=0.03)


@every_head
def test_settings_survive_json_and_build_the_head_they_say(settings: Any) -> None:
    adapter = TypeAdapter(HeadSettings)
    assert adapter.validate_python(settings.model_dump()) == settings
    assert adapter.validate_json(settings.model_dump_json()) == settings
    head = settings.build(SIZE, NUM_IDENTITIES)
    assert head.weight.shape == (NUM_IDENTITIES, SIZE)
    for name, value in settings.model_dump(exclude={"kind", "bias"}).items():
        assert getattr(head, name) == value


@pytest.mark.parametrize(
    ("kind", "head"), [("a_softmax", ASoftmaxHead), ("cosface", CosFaceHead), ("arcface", ArcFaceHead)]
)
def test_defaults_of_settings_and_heads_are_the_same(kind: str, head: Callable[[int, int], Head]) -> None:
    settings: Any = TypeAdapter(HeadSettings).validate_python({"kind": kind})
    for name, value in settings.model_dump(exclude={"kind"}).items():
        assert getattr(head(SIZE, NUM_IDENTITIES), name) == value


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: SoftmaxHead(0, 4), "0"),
        (lambda: CosFaceHead(4, 0), "0 identities"),
        (lambda: ASoftmaxHead(4, 4, margin=0), "from 1 to 5"),
        (lambda: ASoftmaxHead(4, 4, margin=6), "from 1 to 5"),
        (lambda: ASoftmaxHead(4, 4, decay=-0.1), "decay"),
        (lambda: ASoftmaxHead(4, 4, first_lambda=math.nan), "first_lambda"),
        (lambda: ASoftmaxHead(4, 4, smallest_lambda=math.inf), "smallest_lambda"),
        (lambda: CosFaceHead(4, 4, scale=0.0), "scale"),
        (lambda: CosFaceHead(4, 4, margin=35.0), "cosine"),
        (lambda: CosFaceHead(4, 4, margin=-0.1), "cosine"),
        (lambda: ArcFaceHead(4, 4, scale=math.inf), "scale"),
        (lambda: ArcFaceHead(4, 4, margin=28.6), "radians"),
        (lambda: ArcFaceHead(4, 4, margin=math.nan), "radians"),
        (lambda: ArcFaceHead(4, 4, rule="strict"), "safe, easy"),  # type: ignore[arg-type]
    ],
)
def test_numbers_out_of_range_are_refused(build: Callable[[], Head], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"kind": "arc_face"}, "'softmax', 'a_softmax', 'cosface', 'arcface'"),
        ({"scale": 3.0}, "kind"),
        ({"kind": "softmax", "margin": 0.5}, "margin"),
        ({"kind": "a_softmax", "margin": 2.5}, "margin"),
        ({"kind": "a_softmax", "margin": 6}, "margin"),
        ({"kind": "a_softmax", "decay": -1}, "decay"),
        ({"kind": "cosface", "scale": 0}, "scale"),
        ({"kind": "cosface", "scale": math.inf}, "scale"),
        ({"kind": "cosface", "margin": 35}, "margin"),
        ({"kind": "arcface", "margin": 28.6}, "margin"),
        ({"kind": "arcface", "margin": math.nan}, "margin"),
        ({"kind": "arcface", "rule": "strict"}, "rule"),
    ],
)
def test_settings_out_of_range_or_unknown_are_refused(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TypeAdapter(HeadSettings).validate_python(table)
