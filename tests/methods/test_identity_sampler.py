"""identity_sampler trains the published sampler as the decoder of a variational autoencoder."""

import math

import pytest
import torch
from torch import Tensor, nn

from facebridge import checkpoints, weights
from facebridge.losses import divergence
from facebridge.methods.identity_sampler import IdentitySampler, discrepancy, variational_terms
from tests.drawn import thin_recogniser
from tests.methods.translating import CROP, num_parameters, pairs, unchanged

TINY = {"identity_size": 16, "identity_noise_size": 6, "sampler_widths": (10,), "autoencoder_widths": (10, 12)}


def build(recogniser: bool = True, **settings: object) -> IdentitySampler:
    frozen = thin_recogniser() if recogniser else None
    torch.manual_seed(0)
    return IdentitySampler(IdentitySampler.Config.model_validate({**TINY, **settings}), CROP, frozen)


def directions(count: int, size: int, seed: int) -> Tensor:
    return nn.functional.normalize(torch.randn(count, size, generator=torch.Generator().manual_seed(seed)), dim=1)


@pytest.mark.parametrize(
    ("sizes", "parameters"),
    [
        ({}, 1_968_896),
        ({"noise_size": 64, "widths": (128, 128), "identity_size": 64}, 64 * 128 + 128 * 128 + 128 * 64 + 320),
    ],
)
def test_network_has_the_published_number_of_parameters_and_names(sizes: dict, parameters: int) -> None:
    network = weights.network("dvg_face_identity_sampler", **sizes)
    assert num_parameters(network) == parameters
    own = network.state_dict()
    names = weights.find("dvg_face_identity_sampler").published(own)
    count = len(sizes.get("widths", (0, 0, 0))) + 1
    assert sorted(set(names.values())) == sorted(
        f"fc.{2 * layer}.{part}" for layer in range(count) for part in ("weight", "bias")
    )
    converted = weights.convert("dvg_face_identity_sampler", {names[name]: own[name] for name in own})
    assert all(torch.equal(tensor, converted[name]) for name, tensor in own.items())


def test_network_is_the_published_table() -> None:
    torch.manual_seed(0)
    network = weights.network("dvg_face_identity_sampler", noise_size=5, widths=(7, 6, 4), identity_size=3)
    names = weights.find("dvg_face_identity_sampler").published(network.state_dict())
    state = {names[name]: tensor.double() for name, tensor in network.state_dict().items()}
    noise = torch.randn(4, 5, generator=torch.Generator().manual_seed(1))
    values = noise.double()
    for place in (0, 2, 4, 6):
        values = values @ state[f"fc.{place}.weight"].T + state[f"fc.{place}.bias"]
        values = values if place == 6 else torch.maximum(values, 0.2 * values)
    wanted = torch.stack([row / math.sqrt(float(row.detach().square().sum())) for row in values])
    torch.testing.assert_close(network(noise).double(), wanted, rtol=0, atol=1e-6)


def test_divergence_is_that_of_normal_distributions_from_the_standard_one() -> None:
    draw = torch.Generator().manual_seed(2)
    means, logs = torch.randn(3, 4, generator=draw), torch.randn(3, 4, generator=draw)
    found = 0.0
    for row in range(3):
        one = torch.distributions.Normal(means[row].double(), (logs[row].double() / 2).exp())
        other = torch.distributions.Normal(torch.zeros(4).double(), torch.ones(4).double())
        found += float(torch.distributions.kl_divergence(one, other).sum()) / 3
    assert float(divergence(means, logs)) == pytest.approx(found, rel=1e-5)
    assert float(divergence(torch.zeros(2, 3), torch.zeros(2, 3))) == 0


def test_discrepancy_is_that_of_all_pairs_of_rows() -> None:
    sampled, real = directions(4, 5, 0), directions(6, 5, 1)

    def kernel(one: Tensor, other: Tensor) -> float:
        cosine = sum(float(a) * float(b) for a, b in zip(one, other, strict=True))
        return sum(math.exp(t * (cosine - 1)) for t in (2, 5, 10, 20)) / 4

    inner = []
    for rows in (sampled, real):
        values = [kernel(rows[i], rows[j]) for i in range(len(rows)) for j in range(len(rows)) if i != j]
        inner.append(sum(values) / len(values))
    crossing = sum(kernel(one, other) for one in sampled for other in real) / 24
    assert float(discrepancy(sampled, real)) == pytest.approx(sum(inner) - 2 * crossing, abs=1e-5)


def test_discrepancy_is_about_nought_for_sets_that_lie_alike_and_large_for_others() -> None:
    alike = float(discrepancy(directions(400, 8, 0), directions(400, 8, 1)))
    gathered = nn.functional.normalize(directions(400, 8, 0) + torch.eye(8)[0], dim=1)
    assert abs(alike) < 0.005
    assert float(discrepancy(gathered, directions(400, 8, 1))) > 0.05
    with pytest.raises(ValueError, match="two faces or more"):
        discrepancy(directions(1, 8, 0), directions(1, 8, 0))


def test_losses_and_gradients_are_those_of_the_page() -> None:
    method = build(kl_weight=0.01, match_weight=0.5, identity_weight=2.0)
    faces = pairs(4)["target"]
    assert method.recogniser is not None
    real = method.recogniser.embed(faces, CROP).detach()
    torch.manual_seed(5)
    means, logs = method.identity_encoder(real)
    rows = method.identity_sampler(means + torch.exp(0.5 * logs) * torch.randn(4, 6))
    sampled = method.identity_sampler(torch.randn(4, 6))
    cosine = torch.stack([row @ wanted / (row.norm() * wanted.norm()) for row, wanted in zip(rows, real, strict=True)])
    expected = {
        "identity": 1 - cosine.mean(),
        "divergence": divergence(means, logs),
        "match": discrepancy(sampled, real),
    }
    expected["total"] = 2 * expected["identity"] + 0.01 * expected["divergence"] + 0.5 * expected["match"]
    learning = dict(method.named_parameters())
    gradients = torch.autograd.grad(expected["total"], list(learning.values()))
    torch.manual_seed(5)
    found = method.training_step({"target": faces})
    assert {name: float(loss) for name, loss in found.items()} == pytest.approx(
        {name: float(loss.detach()) for name, loss in expected.items()}, abs=1e-5
    )
    for (name, tensor), gradient in zip(learning.items(), gradients, strict=True):
        torch.testing.assert_close(tensor.grad, gradient, rtol=1e-3, atol=1e-6, msg=name)


def test_without_a_match_nothing_is_sampled_for_it() -> None:
    method = build(match_weight=0.0)
    torch.manual_seed(0)
    terms = variational_terms(method.identity_encoder, method.identity_sampler, directions(3, 16, 0), method.config)
    assert list(terms) == ["identity", "divergence"]


def step(method: IdentitySampler, seed: int) -> None:
    torch.manual_seed(seed)
    method.training_step(pairs())


def test_two_steps_change_every_tensor_and_a_checkpoint_goes_on_bit_for_bit() -> None:
    unbroken, broken, resumed = (build(match_weight=1.0) for _ in range(3))
    before = {name: tensor.clone() for name, tensor in unbroken.state_dict().items()}
    for seed in range(2):
        step(unbroken, seed)
    step(broken, 0)
    checkpoints.restore(resumed, checkpoints.of_method(broken, 1))
    step(resumed, 1)
    assert unchanged(before, unbroken.state_dict()) == []
    ended = resumed.state_dict()
    assert all(torch.equal(tensor, ended[name]) for name, tensor in unbroken.state_dict().items())


def test_training_brings_sampled_embeddings_to_where_real_ones_lie() -> None:
    """Real embeddings about one axis: the sampler finds the axis and their spread about it."""
    real = nn.functional.normalize(0.5 * directions(512, 16, 3) + torch.eye(16)[2], dim=1)
    method = build(descent={"kind": "adam", "learning_rate": 5e-3, "weight_decay": 0.0})

    def far() -> float:
        return float(discrepancy(method.sample(512, torch.Generator().manual_seed(1)), real))

    before = far()
    for number in range(80):
        rows = real[(torch.arange(64) + 64 * number) % 512]
        terms = variational_terms(method.identity_encoder, method.identity_sampler, rows, method.config)
        method.optimisers["sampler"].zero_grad()
        sum(weight * loss for weight, loss in terms.values()).backward()
        method.optimisers["sampler"].step()
    assert before > 0.2
    assert far() < before / 8


def test_samples_have_length_one_and_are_the_same_for_the_same_generator() -> None:
    method = build()
    first, again = (method.sample(5, torch.Generator().manual_seed(2)) for _ in range(2))
    assert torch.equal(first, again)
    assert torch.allclose(first.norm(dim=1), torch.ones(5), atol=1e-6)


def test_recogniser_that_is_missing_or_does_not_fit_is_named() -> None:
    with pytest.raises(ValueError, match=r"embeddings of 16 numbers, not of 8: set settings\.identity_size=16"):
        build(identity_size=8)
    with pytest.raises(ValueError, match=r"add \[recogniser\]"):
        build(recogniser=False).training_step(pairs())
