"""Generating in bfloat16: every method does, its faces differ by the rounding, and the folder says which it was."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from facebridge import generating, images, methods
from facebridge.data import face_list
from facebridge.method import HallucinationMethod, TurnsHeads
from facebridge.precision import set_precision
from tests import drawn
from tests.test_contract import crop_of, tiny

FAR = 0.03  # of the largest value: some eight roundings to bfloat16


def names() -> list[str]:
    return [name for name in methods.names() if issubclass(methods.load(name), HallucinationMethod)]


def small(name: str) -> HallucinationMethod[Any]:
    made = tiny(name, crop_of(name)).eval().requires_grad_(False)
    assert isinstance(made, HallucinationMethod)
    return made


@pytest.mark.parametrize("name", names())
def test_method_generates_in_bfloat16_what_it_generates_in_float32(name: str) -> None:
    method = small(name)
    faces = torch.rand(2, 3, *method.source_sizes()[0], generator=torch.Generator().manual_seed(3))
    lowered = copy.deepcopy(method)
    set_precision(lowered, "bfloat16")
    torch.manual_seed(1)
    wanted = method.generate(faces)
    torch.manual_seed(1)
    found = lowered.generate(faces)
    assert found.dtype == torch.float32
    assert found.shape == wanted.shape
    assert float((found - wanted).abs().max() / wanted.abs().max()) < FAR
    weights = {each.dtype for each in lowered.parameters() if each.ndim == 4 and each.shape[-1] > 1}
    assert torch.bfloat16 in weights


def test_arguments_may_be_named_in_bfloat16_too() -> None:
    method = small("dr_gan")
    faces = torch.rand(2, 3, *method.source_sizes()[0], generator=torch.Generator().manual_seed(3))
    assert isinstance(method, TurnsHeads)
    yaws = method.poses_deg()[:2]
    set_precision(method, "bfloat16")
    assert torch.equal(method.generate(faces=faces), method.generate(faces))
    assert torch.equal(method.turned(faces, yaw_deg=yaws), method.turned(faces, yaws))
    assert torch.equal(method.turned(yaw_deg=yaws, faces=faces), method.turned(faces, yaws))


def test_float32_changes_nothing_and_others_are_refused() -> None:
    method = small("edsr_identity")
    before = copy.deepcopy(method.state_dict())
    set_precision(method, "float32")
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())
    with pytest.raises(ValueError, match=r"half.*float32, bfloat16"):
        set_precision(method, "half")  # type: ignore[arg-type]


def test_sums_of_a_residual_network_stay_exact() -> None:
    """Blocks whose branches are too small to change a bfloat16 number of the sum change it all the same."""
    method = small("edsr_identity")
    set_precision(method, "bfloat16")
    seen = []
    method.generator.blocks.register_forward_hook(lambda module, taken, given: seen.append((taken[0], given)))
    method.generate(torch.rand(1, 3, 7, 6))
    assert [each.dtype for each in seen[0]] == [torch.float32, torch.float32]


def test_folder_of_one_precision_is_not_gone_on_with_in_another(tmp_path: Path) -> None:
    run = drawn.untrained_run(tmp_path / "run")
    faces = face_list.read(drawn.people(tmp_path / "people", num_people=2, shots=1))
    generating.generate(run, faces, tmp_path / "plain")
    generating.generate(run, faces, tmp_path / "lowered", precision="bfloat16")
    made = [face_list.read(tmp_path / name / generating.LIST) for name in ("plain", "lowered")]
    one, other = (images.read(each.picture_path(0)) for each in made)
    assert abs(one.astype(int) - other).max() <= 3
    for name, precision in (("plain", "bfloat16"), ("lowered", "float32")):
        with pytest.raises(ValueError, match="precision"):
            generating.generate(run, faces, tmp_path / name, precision=precision)
