from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import linalg

from facebridge import recipe as recipes
from facebridge import training, validation
from facebridge.data.faces import Faces, faces_of
from facebridge.images import BadPicture
from facebridge.method import HallucinationMethod
from facebridge.recipe import Recipe
from facebridge.validation import Figures, HeldOut
from tests import tiny

PAIRS = 5
NIR_TO_VIS = {"source": {"domain": "nir"}, "target": {"domain": "vis"}}


class PairedFaces(tiny.RandomFaces):
    """Three people with two pictures in each camera: nir first, then vis."""

    def __init__(self) -> None:
        super().__init__(12)

    def identity(self, index: int) -> int:
        return index % 6 // 2

    def identities(self) -> np.ndarray:
        return np.arange(12) % 6 // 2

    def column(self, name: str) -> np.ndarray:
        return np.array(["nir"] * 6 + ["vis"] * 6) if name == "domain" else np.array([str(i % 6) for i in range(12)])

    def in_order_of_names(self) -> np.ndarray:
        return np.arange(12)


def table(folder: Path, **changes: Any) -> dict[str, Any]:
    """Single faces, of which the method makes its sources itself."""
    data = {"kind": "face_list", "list": str(tiny.face_list(folder))}
    return {"every_steps": 2, "pairs": PAIRS, "data": data, "recogniser": tiny.RECOGNISER} | changes


def paired(**changes: Any) -> Recipe:
    data = {"kind": "face_list", "list": "none.csv", "pairing": {"kind": "same_person", **NIR_TO_VIS}}
    section = {"every_steps": 2, "pairs": PAIRS, "data": data, "recogniser": tiny.RECOGNISER} | changes
    return recipes.resolve(tiny.table() | {"validation": section}, "a test")


def method_of(recipe: Recipe) -> HallucinationMethod[Any]:
    method = training.build(recipe).eval()
    assert isinstance(method, HallucinationMethod)
    return method


def held_out(recipe: Recipe, **options: Any) -> HeldOut:
    return HeldOut(recipe, method_of(recipe), torch.device("cpu"), **options)


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_figures_are_those_of_a_plain_loop() -> None:
    draw = np.random.default_rng(4)
    generated, target = unit(draw.normal(size=(9, 5))), unit(draw.normal(size=(9, 5)))
    people = np.array([0, 0, 1, 1, 1, 2, 2, 3, 4])
    own = [float(generated[i] @ target[i]) for i in range(9)]
    others = [float(generated[i] @ target[j]) for i in range(9) for j in range(9) if people[i] != people[j]]
    first, second = (np.cov(side.astype(float), rowvar=False) for side in (generated, target))
    moved = generated.mean(axis=0, dtype=float) - target.mean(axis=0, dtype=float)
    frechet = moved @ moved + np.trace(first + second - 2 * linalg.sqrtm(first @ second).real)
    found = validation.figures(generated, target, people)
    assert found.identity_similarity == pytest.approx(np.mean(own), abs=1e-6)
    assert found.other_similarity == pytest.approx(np.mean(others), abs=1e-6)
    assert found.frechet_distance == pytest.approx(frechet, abs=1e-6)
    assert found.combined == pytest.approx((1 - np.mean(own)) * frechet, abs=1e-6)


@given(
    similarity=st.floats(-1, 0.99), distance=st.floats(1e-3, 1e3), scale=st.floats(1e-3, 1e3), part=st.floats(0.1, 1)
)
def test_a_relative_gain_of_either_figure_counts_the_same(
    similarity: float, distance: float, scale: float, part: float
) -> None:
    before = Figures(similarity, 0.0, distance).combined
    nearer = Figures(1 - part * (1 - similarity), 0.0, distance).combined
    likelier = Figures(similarity, 0.0, part * distance).combined
    assert nearer == pytest.approx(likelier, rel=1e-9)
    assert Figures(similarity, 0.0, scale * distance).combined == pytest.approx(scale * before)


def test_pairs_of_one_person_have_no_others_to_compare_with() -> None:
    rows = unit(np.random.default_rng(0).normal(size=(3, 4)))
    with pytest.raises(ValueError, match="3 pairs show one person only"):
        validation.figures(rows, rows, np.zeros(3, np.int64))


def test_who_generates_the_targets_themselves_keeps_everybody_and_is_at_no_distance(tmp_path: Path) -> None:
    recipe = recipes.resolve(tiny.table() | {"validation": table(tmp_path)}, "a test")
    found = held_out(recipe)
    targets = found.first(PAIRS)["target"]
    given_out = []

    def generate(sources: torch.Tensor) -> torch.Tensor:
        first = sum(map(len, given_out))
        given_out.append(sources)
        return targets[first : first + len(sources)]

    figures = found.figures(generate)
    assert figures.identity_similarity == pytest.approx(1, abs=1e-6)
    assert figures.frechet_distance == pytest.approx(0, abs=1e-9)
    assert figures.other_similarity < 1
    smallest = min(method_of(recipe).source_sizes())
    assert torch.cat(given_out).shape == (PAIRS, 3, *smallest)


def test_pairs_are_the_same_every_time_unmirrored_and_of_one_person(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "TOGETHER", 2)
    faces = PairedFaces()
    pictures = {faces.picture(i).tobytes(): i for i in range(len(faces))}
    found = held_out(paired(), faces=faces)
    seen: list[list[int]] = []

    def generate(sources: torch.Tensor) -> torch.Tensor:
        seen[-1] += [pictures[(face * 255).round().byte().permute(1, 2, 0).numpy().tobytes()] for face in sources]
        return sources

    figures = []
    for _ in range(2):
        seen.append([])
        figures.append(found.figures(generate))
    assert figures[0] == figures[1]
    assert seen[0] == seen[1]
    assert len(set(seen[0])) == PAIRS
    assert max(seen[0]) < 6, "the sources are nir"
    assert [faces.identity(source) for source in seen[0]] == found.people.tolist()


def test_another_seed_chooses_other_pairs() -> None:
    targets = [
        held_out(paired().model_copy(update={"seed": seed}), faces=PairedFaces()).first(PAIRS)["source"]
        for seed in (1, 2)
    ]
    assert not torch.equal(*targets)


def test_what_training_draws_afterwards_is_the_same_with_and_without() -> None:
    recipe = paired()
    method = method_of(recipe)
    torch.manual_seed(8)
    without = torch.rand(3)
    torch.manual_seed(8)
    HeldOut(recipe, method, torch.device("cpu"), faces=PairedFaces())
    assert torch.equal(torch.rand(3), without)


def test_a_judge_without_weights_is_decided_by_the_seed() -> None:
    targets = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        targets.append(held_out(paired(), faces=PairedFaces()).targets)
    np.testing.assert_array_equal(*targets)


def test_more_pairs_than_there_are_is_an_error_that_says_how_many_there_are() -> None:
    with pytest.raises(ValueError, match=r"validation\.data makes 6 pairs, fewer than validation\.pairs=7"):
        held_out(paired(pairs=7), faces=PairedFaces())


def test_people_of_one_kind_only_are_refused_before_training() -> None:
    class OnePerson(PairedFaces):
        def identities(self) -> np.ndarray:
            return np.zeros(12, np.int64)

        def identity(self, index: int) -> int:
            return 0

    with pytest.raises(ValueError, match="show one person only"):
        held_out(paired(), faces=OnePerson())


def test_a_method_that_does_not_make_its_sources_needs_pairs(tmp_path: Path) -> None:
    recipe = recipes.resolve(tiny.table() | {"validation": table(tmp_path)}, "a test")
    method = method_of(recipe)
    method.source_sizes = lambda: [(tiny.HEIGHT, tiny.WIDTH)]  # type: ignore[method-assign]
    with pytest.raises(ValueError, match=r"validation\.data has no sources for edsr_identity: give it a pairing"):
        HeldOut(recipe, method, torch.device("cpu"))


def test_a_bad_picture_is_told_and_its_pair_replaced() -> None:
    class Torn(PairedFaces):
        def picture(self, index: int) -> np.ndarray:
            if index == 2:
                raise BadPicture(Path("2.png"), "made for this test")
            return super().picture(index)

    told: list[BadPicture] = []
    found = held_out(paired(pairs=6), faces=Torn(), report=told.append)
    assert [str(bad.path) for bad in told] == ["2.png"]
    assert len(found.targets) == 6


def test_people_whom_two_lists_share_are_named(tmp_path: Path) -> None:
    def listed(folder: str, count: int) -> Faces:
        (tmp_path / folder).mkdir()
        path = tiny.face_list(tmp_path / folder, count)
        data = {"kind": "face_list", "list": str(path)}
        return faces_of(recipes.resolve(tiny.table() | {"data": data}, "a test"))

    few, many = listed("few", 3), listed("many", 8)
    assert validation.people_in_both(few, many) == ["person0", "person1"]
    assert validation.people_in_both(few, PairedFaces()) == []
