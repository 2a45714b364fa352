"""dvg computes the losses of DVG's code and of its paper, and makes pairs of new people from noise."""

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from facebridge import crops, recipe, runs, weights
from facebridge.losses import divergence
from facebridge.methods.dvg import Dvg, diversity, drawn, reconstruction, wasserstein
from facebridge.methods.dvg.networks import Block
from tests.drawn import thin_recogniser
from tests.methods.translating import batch, num_parameters, unchanged

CROP = crops.crop("light_cnn_64")
TINY = {"code_size": 6, "encoder_widths": (4, 4, 4, 4, 4), "decoder_widths": (8, 8, 4, 4, 4, 4), "last_blocks": 2}
ADVERSARIAL = {"adversarial_weight": 0.5, "discriminator_filters": 4, "discriminator_layers": 1}


def build(**settings: object) -> Dvg:
    torch.manual_seed(0)
    return Dvg(Dvg.Config.model_validate({**TINY, **settings}), CROP, thin_recogniser())


class Known(nn.Module):
    """An encoder whose codes are known, with a weight that leaves them as they are."""

    def __init__(self, mean: Tensor, log_variance: Tensor) -> None:
        super().__init__()
        self.mean, self.log_variance = mean, log_variance

    def forward(self, faces: Tensor) -> tuple[Tensor, Tensor]:
        return self.mean, self.log_variance


class PlainBlock(nn.Module):
    """A residual block of the published decoder, under its published names."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        if inside != outside:
            self.conv_expand = nn.Conv2d(inside, outside, 1, bias=False)
        self.conv1 = nn.Conv2d(inside, outside, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1, bias=False)
        self.norm = nn.InstanceNorm2d(outside, eps=1e-3)

    def forward(self, features: Tensor) -> Tensor:
        past = self.conv_expand(features) if hasattr(self, "conv_expand") else features
        change = self.conv2(nn.functional.leaky_relu(self.norm(self.conv1(features)), 0.2))
        return nn.functional.leaky_relu(self.norm(change + past), 0.2)


class PlainDecoder(nn.Module):
    """The thin decoder with doublings where the published code has them."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Sequential(nn.Linear(12, 8 * 16), nn.ReLU())
        layers: list[nn.Module] = [nn.Sequential(PlainBlock(8, 8))]
        for inside, outside in ((8, 4), (4, 4), (4, 4)):
            layers += [nn.Upsample(scale_factor=2, mode="nearest"), nn.Sequential(PlainBlock(inside, outside))]
        layers += [nn.Upsample(scale_factor=2, mode="nearest"), nn.Sequential(PlainBlock(4, 4), PlainBlock(4, 4))]
        self.main = nn.Sequential(*layers, nn.Conv2d(4, 6, 5, padding=2))

    def forward(self, codes: Tensor) -> Tensor:
        return torch.sigmoid(self.main(self.fc(codes).view(-1, 8, 4, 4)))


def test_thin_decoder_equals_a_plain_one_with_its_published_names() -> None:
    torch.manual_seed(1)
    plain = PlainDecoder()
    state = plain.state_dict()
    ours = weights.network("dvg_decoder", code_size=6, widths=(8, 8, 4, 4, 4, 4), last_blocks=2)
    ours.load_state_dict(weights.convert("dvg_decoder", state))
    codes = torch.randn(3, 12)
    assert torch.allclose(ours(codes), plain(codes), atol=1e-6)


@pytest.mark.parametrize(
    ("layout", "sizes", "parameters"),
    [
        ("dvg_encoder", {}, 11_692_640),
        ("dvg_decoder", {}, 18_838_918),
        ("dvg_encoder", {"code_size": 32, "widths": (8, 16, 32, 64, 64)}, 215_192),
        ("dvg_decoder", {"code_size": 32, "widths": (64, 64, 64, 32, 16, 16), "last_blocks": 1}, 258_150),
    ],
)
def test_networks_have_the_published_numbers_of_parameters(layout: str, sizes: dict, parameters: int) -> None:
    assert num_parameters(weights.network(layout, **sizes)) == parameters


@pytest.mark.parametrize("name", ["dvg_encoder", "dvg_decoder"])
def test_sizes_are_read_off_the_tensors(name: str) -> None:
    sizes = {"code_size": 6, "widths": (4, 8, 4, 8, 4)}
    network = weights.network(name, **sizes, **({"last_blocks": 3} if name == "dvg_decoder" else {}))
    layout = weights.find(name)
    names = layout.published(network.state_dict())
    state = {names[ours]: tensor for ours, tensor in network.state_dict().items()}
    again = weights.convert(name, state)
    assert {ours: tuple(tensor.shape) for ours, tensor in again.items()} == {
        ours: tuple(tensor.shape) for ours, tensor in network.state_dict().items()
    }


def test_losses_are_those_of_the_code() -> None:
    torch.manual_seed(2)
    nir_mean, nir_log, vis_mean, vis_log = (torch.randn(2, 6) for _ in range(4))
    method = build(descent={"kind": "sgd", "learning_rate": 1e-30, "momentum": 0, "weight_decay": 0})
    method.add_module("nir_encoder", Known(nir_mean, nir_log))
    method.add_module("vis_encoder", Known(vis_mean, vis_log))
    taken = batch()
    torch.manual_seed(7)
    found = method.training_step(taken)

    torch.manual_seed(7)
    draws = torch.randn(2, 6), torch.randn(2, 6)
    codes = [
        np.array([[float(m) + math.exp(float(v) / 2) * float(e) for m, v, e in zip(*rows, strict=True)]
                  for rows in zip(mean, log, draw, strict=True)])
        for mean, log, draw in ((nir_mean, nir_log, draws[0]), (vis_mean, vis_log, draws[1]))
    ]  # fmt: skip
    with torch.no_grad():
        made = method.decoder(torch.from_numpy(np.concatenate(codes, 1)).float())
        real = torch.cat([taken["source"], taken["target"]], 1)
        recogniser = thin_recogniser()
        embedded = [recogniser.embed(faces, CROP).double().numpy() for faces in (
            taken["source"], taken["target"], made[:, :3], made[:, 3:])]  # fmt: skip
    apart = 0.0
    for mean, log in ((nir_mean, nir_log), (vis_mean, vis_log)):
        for m, v in zip(mean.ravel().tolist(), log.ravel().tolist(), strict=True):
            apart += -0.5 * (1 + v - m * m - math.exp(v)) / 2
    expected = {
        "reconstruction": float(((made - real).double() ** 2).sum() / 2),
        "kl": apart / 2,
        "alignment": float(np.abs(codes[0].mean(0) - codes[1].mean(0)).mean()),
        "identity": (np.mean((embedded[2] - embedded[0]) ** 2) + np.mean((embedded[3] - embedded[1]) ** 2)) / 2,
        "pair": np.mean((embedded[2] - embedded[3]) ** 2),
    }
    expected["total"] = (
        0.5 * expected["reconstruction"]
        + expected["kl"]
        + 50 * expected["alignment"]
        + 1000 * expected["identity"]
        + 5 * expected["pair"]
    )
    assert {name: float(loss) for name, loss in found.items()} == pytest.approx(expected, rel=1e-4)


def test_reductions_differ_by_the_numbers_that_are_averaged() -> None:
    made, real = torch.rand(2, 6, 4, 4), torch.rand(2, 6, 4, 4)
    assert float(reconstruction(made, real, "sum")) == pytest.approx(96 * float(reconstruction(made, real, "mean")))
    by_mean = build(identity_weight=1, pair_weight=0).training_step(batch())["identity"]
    by_sum = build(identity_weight=1, pair_weight=0, identity_reduction="sum").training_step(batch())["identity"]
    size = thin_recogniser().embedding_size
    assert float(by_sum) == pytest.approx(size * float(by_mean), rel=1e-4)


def test_summed_identity_difference_is_twice_one_less_the_cosine() -> None:
    method = build(identity_reduction="sum", descent={"kind": "sgd", "learning_rate": 1e-30, "momentum": 0})
    taken = batch()
    torch.manual_seed(3)
    found = method.training_step(taken)
    torch.manual_seed(3)
    with torch.no_grad():
        posteriors = [method.nir_encoder(taken["source"]), method.vis_encoder(taken["target"])]
        codes = [mean + (log / 2).exp() * torch.randn_like(mean) for mean, log in posteriors]
        made = method.decoder(torch.cat(codes, 1))
        one, other = (thin_recogniser().embed(faces, CROP) for faces in (made[:, :3], made[:, 3:]))
    cosine = (one * other).sum(1)
    assert float(found["pair"]) == pytest.approx(float((2 - 2 * cosine).mean()), rel=1e-3, abs=1e-6)


def test_divergence_of_a_standard_normal_is_zero_and_grows_away_from_it() -> None:
    zeros = torch.zeros(3, 4)
    assert float(divergence(zeros, zeros)) == 0
    ones = torch.ones(3, 4)
    assert float(divergence(ones, zeros)) == pytest.approx(4 / 2)


def test_wasserstein_distance_is_that_of_the_mean_distributions() -> None:
    means = torch.tensor([[1.0, 0.0], [3.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.0, 3.0]])
    deviations = torch.tensor([[1.0, 1.0], [1.0, 1.0]]), torch.tensor([[2.0, 1.0], [4.0, 1.0]])
    # means (2, 0) and (0, 2), deviations (1, 1) and (3, 1)
    assert float(wasserstein(means, deviations)) == pytest.approx((8 + 4) / 2)


def test_diversity_is_the_ratio_of_distances_of_neighbours() -> None:
    noise = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    embedded = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    same = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert float(diversity(noise, (embedded, same))) == pytest.approx(-(math.sqrt(2) / 5 + 0) / 2)


def test_shared_noise_moves_both_codes_alike_and_independent_noise_does_not() -> None:
    zeros, ones = torch.zeros(5, 4), torch.ones(5, 4)
    torch.manual_seed(0)
    nir, vis = drawn((zeros, ones), (ones, ones), "shared")
    assert torch.allclose(nir, vis - 1)
    nir, vis = drawn((zeros, ones), (ones, ones), "independent")
    assert not torch.allclose(nir, vis - 1)


def test_all_but_the_reconstruction_counts_less_in_the_first_steps() -> None:
    still = {"kind": "sgd", "learning_rate": 1e-30, "momentum": 0, "weight_decay": 0}
    method = build(first_steps=1, first_factor=0.01, descent=still)
    for factor in (0.01, 1.0):
        found = {name: float(loss) for name, loss in method.training_step(batch()).items()}
        others = found["kl"] + 50 * found["alignment"] + 1000 * found["identity"] + 5 * found["pair"]
        assert found["total"] == pytest.approx(0.5 * found["reconstruction"] + factor * others, rel=1e-5)


def test_terms_of_the_paper_come_with_their_weights() -> None:
    found = build(diversity_weight=2.0, alignment="wasserstein", first_steps=0, **ADVERSARIAL).training_step(batch())
    numbers = {name: float(loss) for name, loss in found.items()}
    assert numbers["diversity"] < 0
    assert numbers["total"] == pytest.approx(
        0.5 * numbers["reconstruction"]
        + numbers["kl"]
        + 50 * numbers["alignment"]
        + 1000 * numbers["identity"]
        + 5 * numbers["pair"]
        + 2 * numbers["diversity"]
        + 0.5 * numbers["adversarial"],
        rel=1e-5,
    )
    assert numbers["discriminator"] > 0


def test_two_steps_change_every_tensor() -> None:
    method = build(diversity_weight=1.0, **ADVERSARIAL)
    before = copy.deepcopy(method.state_dict())
    for _ in range(2):
        method.training_step(batch())
    assert unchanged(before, method.state_dict()) == []


def test_without_a_discriminator_there_is_none_to_train() -> None:
    assert set(build().optimisers) == {"generator"}
    assert not any(name.startswith("discriminator") for name in build().state_dict())


@pytest.mark.parametrize(("noise", "size"), [("shared", 6), ("independent", 12)])
def test_new_people_are_decided_by_the_generator_alone(noise: str, size: int) -> None:
    method = build(noise_in_sampling=noise)
    assert method.noise_size == size
    first = method.sample(3, torch.Generator().manual_seed(5))
    torch.manual_seed(99)
    again = method.sample(3, torch.Generator().manual_seed(5))
    assert set(first) == {"nir", "vis"}
    for domain, faces in first.items():
        assert faces.shape == (3, 3, 64, 64)
        assert faces.dtype == torch.float32
        assert 0 <= float(faces.min()) <= float(faces.max()) <= 1
        assert torch.equal(faces, again[domain])


def test_shared_noise_fills_both_codes() -> None:
    method = build()
    noise = torch.randn(2, 6)
    made = method.decoder(torch.cat([noise, noise], 1))
    assert torch.equal(method.pairs(noise)["vis"], made[:, 3:])
    assert torch.equal(method.pairs(noise)["nir"], made[:, :3])


def test_streamlined_method_makes_the_same_faces_but_for_rounding() -> None:
    method, noise = build(), torch.randn(4, 6)
    plain = method.pairs(noise)
    exact = copy.deepcopy(method)
    exact.streamline(torch.float32)
    rounded = copy.deepcopy(method)
    rounded.streamline(torch.bfloat16)
    for domain, faces in plain.items():
        assert torch.allclose(exact.pairs(noise)[domain], faces, atol=1e-5)
        assert rounded.pairs(noise)[domain].dtype == torch.float32
        assert torch.allclose(rounded.pairs(noise)[domain], faces, atol=0.05)
    assert all(block.quarters is not None for block in exact.modules() if isinstance(block, Block) and block.doubles)


def test_preview_shows_real_made_and_new_faces() -> None:
    columns = build().preview(batch())
    assert list(columns) == ["nir", "nir, made", "vis", "vis, made", "new people, nir", "new people, vis"]
    assert all(faces.shape == (2, 3, 64, 64) for faces in columns.values())


def test_widths_that_do_not_fit_each_other_or_the_crop_are_refused() -> None:
    with pytest.raises(ValueError, match="decoder_widths has one more"):
        build(encoder_widths=(4, 4, 4, 4))
    with pytest.raises(ValueError, match="light_cnn_32"):
        build(encoder_widths=(4, 4, 4, 4), decoder_widths=(4, 4, 4, 4, 4))


def test_identity_losses_without_a_recogniser_are_refused() -> None:
    method = Dvg(Dvg.Config.model_validate(TINY), CROP)
    with pytest.raises(ValueError, match="need a recogniser"):
        method.training_step(batch())


def test_run_of_new_people_is_no_method_that_generates(tmp_path: Path) -> None:
    table = {
        "method": "dvg",
        "crop": CROP.name,
        "settings": TINY,
        "data": {"kind": "synthetic"},
        "recogniser": {"name": "embedded_guide"},
        "training": {"steps": 1, "batch_size": 2},
    }
    run = runs.create(tmp_path / "run", recipe.resolve(table, "a test"))
    weights.write(run.weights, build().state_dict())
    assert isinstance(runs.load(run.folder), Dvg)
    with pytest.raises(ValueError, match="makes people from noise: use facebridge sample"):
        runs.load_hallucination(run.folder)
