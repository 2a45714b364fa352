"""The contract of every recogniser: faces in [0, 1] in, unit-length embeddings out."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from facebridge import crops
from facebridge.recogniser import Normalisation, Recogniser, fit

OWN = crops.crop("sphereface")
PADDED = crops.crop("arcface")


class Patches(nn.Module):
    """A stand-in: means of 7 x 6 patches, minus their mean, so that mirroring matters and no row is constant."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(x, 16).flatten(1)


class Constant(nn.Module):
    def __init__(self, make: Callable[[int], Tensor]) -> None:
        super().__init__()
        self.make = make

    def forward(self, x: Tensor) -> Tensor:
        return self.make(len(x))


def recogniser(network: nn.Module | None = None) -> Recogniser:
    return Recogniser("patches", network or Patches(), OWN, Normalisation("rgb", (127.5,), (128.0,)), 126)


def faces(count: int = 3, crop: crops.Crop = OWN) -> Tensor:
    return torch.rand(count, 3, crop.height, crop.width)


@pytest.mark.parametrize(("mirror", "size"), [("none", 126), ("sum", 126), ("concatenate", 252)])
def test_embeddings_have_unit_length(mirror: str, size: int) -> None:
    embeddings = recogniser().embed(faces(), mirror=mirror)  # type: ignore[arg-type]
    assert embeddings.shape == (3, size)
    assert torch.allclose(embeddings.norm(dim=1), torch.ones(3), atol=1e-6)


def test_mirror_fuses_features_before_their_length_is_made_one() -> None:
    given = faces()
    part, mirrored = (Patches()((x * 255 - 127.5) / 128) for x in (given, given.flip(-1)))
    summed, joined = part + mirrored, torch.cat([part, mirrored], 1)
    assert torch.allclose(recogniser().embed(given, mirror="sum"), summed / summed.norm(dim=1, keepdim=True), atol=1e-6)
    found = recogniser().embed(given, mirror="concatenate")
    assert torch.allclose(found, joined / joined.norm(dim=1, keepdim=True), atol=1e-6)


def test_summed_embedding_of_a_face_and_its_mirror_image_agree() -> None:
    given = faces()
    found = recogniser().embed(given, mirror="sum")
    assert torch.allclose(found, recogniser().embed(given.flip(-1), mirror="sum"), atol=1e-6)


def test_wider_crop_is_cut_to_its_own() -> None:
    given = faces(crop=PADDED)
    cut = given[..., 8:-8]
    assert torch.equal(recogniser().embed(given, PADDED), recogniser().embed(cut))


def test_slopes_of_faces_are_those_of_finite_differences() -> None:
    small = crops.Crop("small", 16, 16, fit(PADDED, 16, 16).points)
    judge = Recogniser(
        "small", nn.Sequential(nn.Flatten(), nn.Linear(768, 4)), small, Normalisation("rgb", (0,), (255,)), 4
    )
    judge.double()
    given = torch.rand(1, 3, 16, 16, dtype=torch.float64, requires_grad=True)
    target = torch.randn(1, 4, dtype=torch.float64)
    (judge.embed(given, mirror="sum") * target).sum().backward()
    step = torch.zeros_like(given)
    step[0, 1, 5, 7] = 1e-3
    with torch.no_grad():
        rise = (judge.embed(given + step, mirror="sum") - judge.embed(given - step, mirror="sum")) * target
    assert given.grad is not None
    assert float(given.grad[0, 1, 5, 7]) == pytest.approx(float(rise.sum()) / 2e-3, rel=1e-2, abs=1e-5)


def test_empty_batch_has_no_embeddings() -> None:
    assert recogniser().embed(faces(0)).shape == (0, 126)


def test_recogniser_never_leaves_evaluation_mode() -> None:
    holder = nn.ModuleList([recogniser(nn.Sequential(nn.BatchNorm2d(3), Patches()))])
    holder.train()
    assert not any(module.training for module in holder[0].modules())


def test_state_dict_holds_the_network_alone() -> None:
    judge = recogniser(nn.Sequential(nn.BatchNorm2d(3, affine=False), Patches()))
    assert all(name.startswith("network.") for name in judge.state_dict())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (torch.rand(3, 112, 96), r"\(B, 3, H, W\).*\(3, 112, 96\)"),
        (torch.rand(2, 1, 112, 96), r"\(B, 3, H, W\)"),
        (torch.rand(2, 112, 96, 3), r"\(B, 3, H, W\)"),
        (torch.rand(2, 3, 112, 112), r"112x112, but crop sphereface is 112x96"),
        (torch.zeros(2, 3, 112, 96, dtype=torch.uint8), r"uint8"),
        (torch.rand(2, 3, 112, 96) * 255, r"\[0, 1\]"),
        ("face.png", "found str"),
    ],
)
def test_what_is_no_face_is_refused(wrong: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recogniser().embed(wrong)


def test_unknown_mirror_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="none, sum or concatenate"):
        recogniser().embed(faces(), mirror="mean")  # type: ignore[arg-type]


def test_zero_feature_is_an_error_that_names_the_row() -> None:
    judge = recogniser(Constant(lambda count: torch.ones(count, 4) * torch.tensor([1.0, 1.0, 0.0])[:, None]))
    with pytest.raises(ValueError, match=r"face 2.*length 0\.0"):
        judge.embed(faces())


def test_nan_in_a_face_is_an_error_that_names_the_row() -> None:
    given = faces()
    given[1, 0, 5, 5] = torch.nan
    with pytest.raises(ValueError, match="face 1.*nan"):
        recogniser().embed(given)


def test_scaled_crop_keeps_points_at_their_place_in_the_picture() -> None:
    half = fit(PADDED, 56, 56)
    for (x, y), (half_x, half_y) in zip(PADDED.points, half.points, strict=True):
        # From the picture's edges, in parts of its size.
        assert (half_x + 0.5) / 56 == pytest.approx((x + 0.5) / 112)
        assert (half_y + 0.5) / 56 == pytest.approx((y + 0.5) / 112)


def test_crop_of_other_proportions_is_refused() -> None:
    with pytest.raises(ValueError, match="112x96.*64x64"):
        fit(OWN, 64, 64)


@pytest.mark.parametrize(
    ("colours", "mean", "scale", "message"),
    [
        ("rgba", (0,), (1,), "rgb, bgr or gray"),
        ("rgb", (0, 0), (1,), "mean"),
        ("gray", (0, 0, 0), (1,), "1 channels"),
        ("rgb", (0,), (0,), "scale must not be 0"),
        ("rgb", (float("nan"),), (1,), "finite"),
    ],
)
def test_impossible_normalisation_is_refused(
    colours: str, mean: tuple[float, ...], scale: tuple[float, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Normalisation(colours, mean, scale)  # type: ignore[arg-type]
