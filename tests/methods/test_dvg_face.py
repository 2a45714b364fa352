"""dvg_face computes the published networks and losses, keeps attribute codes, and samples by noise alone."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from facebridge import checkpoints, crops, weights
from facebridge.methods.dvg_face import DvgFace
from facebridge.methods.dvg_face.kept_pairs import KeptPairs
from facebridge.methods.dvg_face.networks import style_size
from tests.drawn import thin_recogniser
from tests.methods.translating import CROP, num_parameters, pairs, unchanged

TINY = {"num_filters": 4, "identity_size": 16, "style_widths": (12, 20), "identity_noise_size": 6}
TINY |= {"sampler_widths": (10,), "autoencoder_widths": (10,), "codes_kept": 8}
THIN = {"num_filters": 8, "code_size": 64, "size": 64}
STILL = {"descent": {"kind": "sgd", "learning_rate": 1e-30}}


def build(recogniser: bool = True, **settings: object) -> DvgFace:
    frozen = thin_recogniser() if recogniser else None
    torch.manual_seed(0)
    return DvgFace(DvgFace.Config.model_validate({**TINY, **settings}), CROP, frozen)


def trained(**settings: object) -> DvgFace:
    """After one step, so that codes are kept."""
    method = build(**settings)
    torch.manual_seed(1)
    method.training_step(pairs())
    return method


def published(layout: str, network: torch.nn.Module) -> dict[str, Tensor]:
    """The network's tensors under their published names."""
    names = weights.find(layout).published(network.state_dict())
    return {names[name]: tensor for name, tensor in network.state_dict().items()}


# The networks once more, from tables of published names, every face and channel normalised by itself.


def normal(features: Tensor, mean: Tensor | None = None, spread: Tensor | None = None) -> Tensor:
    out = torch.empty_like(features)
    for face in range(features.shape[0]):
        for channel in range(features.shape[1]):
            values = features[face, channel]
            variance = ((values - values.mean()) ** 2).mean()
            out[face, channel] = (values - values.mean()) / torch.sqrt(variance + 1e-5)
            if spread is not None and mean is not None:
                out[face, channel] = out[face, channel] * spread[face, channel] + mean[face, channel]
    return torch.where(out > 0, out, 0.2 * out)


def plain_encoder(state: dict[str, Tensor], faces: Tensor) -> tuple[Tensor, Tensor]:
    features = faces
    for number in range(6):
        weight, bias = (state[f"conv.{number}.conv.{part}"] for part in ("weight", "bias"))
        stride, padding = (1, 2) if number == 0 else (2, 1)
        features = normal(functional.conv2d(features, weight, bias, stride, padding))
    code = features.flatten(1) @ state["fc_enc.weight"].T + state["fc_enc.bias"]
    code = code / code.square().sum(1, keepdim=True).sqrt()
    style = code
    for number in (0, 2, 4):
        style = style @ state[f"fc_style.{number}.weight"].T + state[f"fc_style.{number}.bias"]
        style = style if number == 4 else torch.where(style > 0, style, 0.2 * style)
    return code, style


def plain_decoder(state: dict[str, Tensor], identity: Tensor, code: Tensor, style: Tensor, domain: str) -> Tensor:
    def conv(place: str, features: Tensor) -> Tensor:
        weight, bias = state[f"{place}.conv.weight"], state[f"{place}.conv.bias"]
        if weight.shape[-1] == 2:
            return functional.conv_transpose2d(features, weight, bias, 2)
        return functional.conv2d(features, weight, bias, padding=1)

    channels = state["nir_output.weight"].shape[1]
    slices = [style[:, first : first + channels] for first in range(0, 14 * channels, channels)]
    start = torch.cat([identity, code], 1) @ state["fc.0.weight"].T + state["fc.0.bias"]
    features = torch.where(start > 0, start, 0.2 * start).reshape(len(identity), -1, 4, 4)
    blocks = sorted({int(name.split(".")[1]) for name in state if name.startswith("conv.")})
    for block in blocks:
        mine = [None] * 4
        count = 2 if f"conv.{block}.conv1.conv.weight" in state else 1
        if block >= blocks[-1] - 4:
            mine, slices = slices[: 2 * count], slices[2 * count :]
        if count == 1:
            features = normal(conv(f"conv.{block}", features), mine[0], mine[1])
        else:
            inner = normal(conv(f"conv.{block}.conv1", features), mine[0], mine[1])
            features = features + normal(conv(f"conv.{block}.conv2", inner), mine[2], mine[3])
    assert not slices
    made = functional.conv2d(features, state[f"{domain}_output.weight"], state[f"{domain}_output.bias"])
    return 1 / (1 + torch.exp(-made))


def noise(*shape: int, seed: int = 3) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [64, 128])
def test_encoder_is_the_published_table(size: int) -> None:
    torch.manual_seed(0)
    network = weights.network("dvg_face_encoder", num_filters=3, code_size=10, style_widths=(7, 9), size=size)
    faces = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = plain_encoder(published("dvg_face_encoder", network), faces)
        for found, expected in zip(network(faces), wanted, strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("domain", ["nir", "vis"])
@pytest.mark.parametrize("size", [64, 128])
def test_decoder_is_the_published_table(size: int, domain: str) -> None:
    torch.manual_seed(0)
    network = weights.network("dvg_face_decoder", num_filters=3, identity_size=8, code_size=5, size=size)
    taken = noise(2, 8), noise(2, 5), noise(2, style_size(3))
    with torch.no_grad():
        wanted = plain_decoder(published("dvg_face_decoder", network), *taken, domain)
        found = network(*taken, domain)
    assert found.shape == (2, 3, size, size)
    torch.testing.assert_close(found, wanted, rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    ("layout", "sizes", "parameters"),
    [
        ("dvg_face_encoder", {}, 5_899_264),
        ("dvg_face_encoder", {**THIN, "style_widths": (128, 128)}, 154_496),
        ("dvg_face_decoder", {}, 2_033_190),
        ("dvg_face_decoder", {**THIN, "identity_size": 64}, 105_134),
    ],
)
def test_networks_have_the_published_numbers_of_parameters_and_come_back(
    layout: str, sizes: dict, parameters: int
) -> None:
    network = weights.network(layout, **sizes)
    assert num_parameters(network) == parameters
    state = published(layout, network)
    converted = weights.convert(layout, state)
    assert all(torch.equal(tensor, converted[name]) for name, tensor in network.state_dict().items())


def test_decoder_reads_published_weights_with_the_statistics_that_nothing_uses() -> None:
    network = weights.network("dvg_face_decoder", **THIN, identity_size=64)
    state = {f"module.{name}": tensor for name, tensor in published("dvg_face_decoder", network).items()}
    for place in ("conv.6", "conv.7.conv1", "conv.7.conv2", "conv.10"):
        state |= {f"module.{place}.norm.running_{part}": torch.zeros(8) for part in ("mean", "var")}
    assert weights.convert("dvg_face_decoder", state).keys() == network.state_dict().keys()
    with pytest.raises(ValueError, match=r"left over: conv\.3\.norm\.weight"):
        weights.convert("dvg_face_decoder", state | {"module.conv.3.norm.weight": torch.zeros(8)})


@pytest.mark.parametrize("size", [32, 96])
def test_size_that_cannot_be_halved_and_doubled_is_refused(size: int) -> None:
    for layout in ("dvg_face_encoder", "dvg_face_decoder"):
        with pytest.raises(ValueError, match=f"power of two from 64 px on, not {size}"):
            weights.network(layout, size=size)


def plain_losses(method: DvgFace, sampled: Tensor) -> dict[str, Tensor]:
    """Every face made, embedded and compared on its own, as the equations say."""
    batch, recogniser = pairs(3), method.recogniser
    assert recogniser is not None
    faces = {"nir": batch["source"], "vis": batch["target"]}
    with torch.no_grad():
        identity = recogniser.embed(faces["vis"], CROP)
    ort, pix, cosines = torch.zeros(()), torch.zeros(()), torch.zeros(())
    for person in range(3):
        shown: dict[str, dict[str, Tensor]] = {"rebuilt": {}, "new": {}}
        for domain, encoder in (("nir", method.nir_encoder), ("vis", method.vis_encoder)):
            face = faces[domain][person : person + 1]
            code, style = encoder(face)
            ort = ort + (code[0] @ identity[person]).abs() / 3
            wanted = {"rebuilt": identity[person], "swapped": identity[person - 1], "new": sampled[person]}
            for kind, weight in (("rebuilt", 1.0), ("swapped", 0.1), ("new", 0.1)):
                made = method.decoder(wanted[kind][None], code, style, domain)
                pix = pix + weight * (made - face).abs().mean() / 3
                if kind in shown:
                    shown[kind][domain] = recogniser.embed(made, CROP)[0]
                    cosines = cosines + shown[kind][domain] @ wanted[kind] / 3
        for kind in shown.values():
            cosines = cosines + 0.05 * (kind["nir"] @ kind["vis"]) / 3
    total = 50 * ort + 100 * pix - 0.1 * cosines
    return {"orthogonality": ort, "pixel": pix, "identity": -cosines, "total": total}


def test_losses_and_gradients_are_those_of_the_code() -> None:
    method = build(**STILL)
    torch.manual_seed(7)
    found = method.training_step(pairs(3))
    torch.manual_seed(7)
    with torch.no_grad():
        sampled = method.identity_sampler(torch.randn(3, 6))
    expected = plain_losses(method, sampled)
    assert found.keys() == expected.keys()
    for name, loss in expected.items():
        assert float(found[name]) == pytest.approx(float(loss.detach()), rel=1e-4), name
    learning = {name: tensor for name, tensor in method.named_parameters() if tensor.requires_grad}
    gradients = torch.autograd.grad(expected["total"], list(learning.values()))
    for (name, tensor), gradient in zip(learning.items(), gradients, strict=True):
        assert tensor.grad is not None
        assert float((tensor.grad - gradient).norm()) <= 2e-3 * float(gradient.norm()) + 1e-3, name


def test_losses_of_weight_nought_cost_and_embed_nothing() -> None:
    method = build(identity_weight=0.0)
    assert "identity" not in method.training_step(pairs())


@pytest.mark.parametrize("learns", [False, True])
def test_two_steps_change_every_tensor_that_should_learn(learns: bool) -> None:
    method = build(identity_sampler_learns=learns, adversarial_weight=0.1, match_weight=1.0, discriminator_filters=4)
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    for _ in range(2):
        losses = method.training_step(pairs())
    assert all(loss.isfinite() for loss in losses.values())
    still = [name for name in unchanged(before, method.state_dict()) if not name.startswith("discriminator.")]
    assert still == ([] if learns else [name for name in before if name.startswith("identity_sampler.")])
    assert not torch.equal(before["discriminator.convs.0.weight"], method.discriminator.convs[0].weight)


def test_generator_does_not_teach_the_sampler_nor_the_sampler_the_generator() -> None:
    alone, along = (build(identity_sampler_learns=learns) for learns in (False, True))
    along.load_state_dict(alone.state_dict(), strict=False)
    for method in (alone, along):
        torch.manual_seed(4)
        method.training_step(pairs())
    for name in ("decoder", "nir_encoder", "vis_encoder"):
        one, other = getattr(alone, name).state_dict(), getattr(along, name).state_dict()
        assert all(torch.equal(tensor, other[key]) for key, tensor in one.items())


def test_sampled_pairs_are_judged_by_hinge_losses() -> None:
    method = build(adversarial_weight=0.5, discriminator_filters=4, **STILL)
    torch.manual_seed(7)
    found = method.training_step(pairs())
    torch.manual_seed(7)
    with torch.no_grad():
        sampled = method.identity_sampler(torch.randn(2, 6))
        faces = pairs()["source"], pairs()["target"]
        new = (
            method.decoder(sampled, *method.nir_encoder(faces[0]), "nir"),
            method.decoder(sampled, *method.vis_encoder(faces[1]), "vis"),
        )
        real, fake = (method.discriminator(2 * torch.cat(pair, 1) - 1) for pair in (faces, new))
    hinge = (torch.relu(1 - real).mean() + torch.relu(1 + fake).mean()) / 2
    assert float(found["discriminator"]) == pytest.approx(float(hinge), abs=1e-5)
    assert float(found["adversarial"]) == pytest.approx(-float(fake.mean()), abs=1e-5)
    terms = 50 * found["orthogonality"] + 100 * found["pixel"] + 0.1 * found["identity"] + 0.5 * found["adversarial"]
    assert float(found["total"]) == pytest.approx(float(terms), rel=1e-5)


@pytest.mark.parametrize("batch", [1, 3, 7])
def test_ring_holds_the_last_pairs(batch: int) -> None:
    ring, seen = KeptPairs(5, 2, 1), []
    with pytest.raises(ValueError, match="train it first"):
        ring.of(torch.zeros(1))
    for step in range(6):
        values = torch.arange(step * batch, (step + 1) * batch, dtype=torch.float32)
        ring.keep(values[:, None].expand(-1, 2), -values[:, None].expand(-1, 2), values[:, None] / 2)
        seen += values.tolist()
        assert len(ring) == min(len(seen), 5)
        assert sorted(ring.nir[: len(ring), 0].tolist()) == sorted(seen[-5:])
        assert torch.equal(ring.nir, -ring.vis)
        assert torch.equal(ring.nir[:, :1], 2 * ring.identities)
        drawn = ring.drawn_identities(3)[:, 0].tolist()
        assert len(set(drawn)) == len(drawn) == min(3, len(ring))
        assert {2 * value for value in drawn} <= set(seen[-5:])


def test_numbers_choose_every_kept_pair_alike_often() -> None:
    ring = KeptPairs(8, 1)
    ring.keep(torch.arange(5.0)[:, None], torch.arange(5.0)[:, None], torch.zeros(5, 0))
    numbers = torch.tensor([-9.0, -1.0, -0.5, 0.0, 0.5, 1.0, 9.0, 40.0])
    wanted = [min(int(0.5 * math.erfc(-value / math.sqrt(2)) * 5), 4) for value in numbers.tolist()]
    assert ring.of(numbers)[0][:, 0].tolist() == wanted
    counts = torch.bincount(ring.of(noise(20_000))[1][:, 0].long(), minlength=5)
    assert float((counts / 20_000 - 0.2).abs().max()) < 4 * math.sqrt(0.2 * 0.8 / 20_000)


def test_sampled_faces_have_a_sampled_identity_and_the_attributes_of_a_kept_pair() -> None:
    method = trained().eval()
    numbers = noise(3, method.noise_size)
    found = method.pairs(numbers)
    with torch.no_grad():
        who = method.identity_sampler(numbers[:, :6])
        for person in range(3):
            place = int(0.5 * math.erfc(-float(numbers[person, 6]) / math.sqrt(2)) * 2)
            for domain, encoder in (("nir", method.nir_encoder), ("vis", method.vis_encoder)):
                code = getattr(method.kept, domain)[place : place + 1]
                wanted = method.decoder(who[person : person + 1], code, encoder.style(code), domain)
                torch.testing.assert_close(found[domain][person : person + 1], wanted, rtol=0, atol=1e-5)


def test_kept_codes_are_the_encoders_codes() -> None:
    method = build(**STILL)
    method.training_step(pairs())
    with torch.no_grad():
        torch.testing.assert_close(method.kept.nir[:2], method.nir_encoder(pairs()["source"])[0])
        torch.testing.assert_close(method.kept.vis[:2], method.vis_encoder(pairs()["target"])[0])


def test_sampling_is_the_same_for_the_same_generator_and_after_loading() -> None:
    method = trained().eval()
    first, again = (method.sample(4, torch.Generator().manual_seed(5)) for _ in range(2))
    other = method.sample(4, torch.Generator().manual_seed(6))
    loaded = build(recogniser=False)
    loaded.load_state_dict(method.state_dict())
    kept = loaded.eval().sample(4, torch.Generator().manual_seed(5))
    assert list(first) == ["nir", "vis"]
    for domain, faces in first.items():
        assert faces.shape == (4, 3, 64, 64)
        assert faces.dtype == torch.float32
        assert 0 <= float(faces.min()) <= float(faces.max()) <= 1
        assert torch.equal(faces, again[domain])
        assert torch.equal(faces, kept[domain])
        assert not torch.equal(faces, other[domain])


def test_streamlined_faces_differ_by_rounding() -> None:
    method = trained().eval()
    before = method.sample(4, torch.Generator().manual_seed(5))
    method.streamline(torch.bfloat16)
    after = method.sample(4, torch.Generator().manual_seed(5))
    for domain, faces in before.items():
        assert after[domain].dtype == torch.float32
        assert 0 < float((faces - after[domain]).abs().mean()) < 0.01


def test_sampling_before_training_says_what_is_missing() -> None:
    with pytest.raises(ValueError, match="no attribute codes are kept yet"):
        build().sample(1)


@pytest.mark.parametrize("learns", [False, True])
def test_a_checkpoint_goes_on_bit_for_bit(learns: bool) -> None:
    unbroken, broken = (build(identity_sampler_learns=learns, match_weight=1.0) for _ in range(2))
    for step in range(4):
        torch.manual_seed(step)
        unbroken.training_step(pairs())
        if step < 2:
            torch.manual_seed(step)
            broken.training_step(pairs())
    saved = checkpoints.of_method(broken, 2)
    resumed = build(identity_sampler_learns=learns, match_weight=1.0)
    checkpoints.restore(resumed, saved)
    for step in (2, 3):
        torch.manual_seed(step)
        resumed.training_step(pairs())
    ended = resumed.state_dict()
    assert all(torch.equal(tensor, ended[name]) for name, tensor in unbroken.state_dict().items())


def test_what_does_not_fit_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match=r"gives embeddings of 16 numbers, not of 20: set settings\.identity_size=16"):
        build(identity_size=20)
    with pytest.raises(ValueError, match="takes? squares"):
        DvgFace(DvgFace.Config.model_validate(TINY), crops.crop("sphereface"))
    with pytest.raises(ValueError, match=r"add \[recogniser\]"):
        build(recogniser=False).training_step(pairs())
    with pytest.raises(ValueError, match="needs a source for each target"):
        build().training_step({"target": pairs()["target"]})


def test_sampler_must_come_trained_unless_it_learns() -> None:
    assert DvgFace.given_networks(DvgFace.Config()) == ("identity_sampler",)
    assert DvgFace.given_networks(DvgFace.Config(identity_sampler_learns=True)) == ()


def test_preview_shows_both_cameras_rebuilt_and_new_and_draws_nothing() -> None:
    method = build().eval()
    torch.manual_seed(2)
    state = torch.get_rng_state()
    shown = method.preview(pairs())
    assert torch.equal(torch.get_rng_state(), state)
    assert list(shown) == ["source", "target", "rebuilt nir", "rebuilt vis", "new nir", "new vis"]
    assert all(faces.shape == (2, 3, 64, 64) for faces in shown.values())
