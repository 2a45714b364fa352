"""The shared losses equal plain loops."""

from collections.abc import Callable

import pytest
import torch

from facebridge.losses import both_cameras, orthogonality


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_orthogonality_is_the_sum_of_all_squared_products_of_two_rows() -> None:
    shared, private = numbers(3, 5), numbers(4, 5, seed=1)
    wanted = 0.0
    for one in shared.numpy():
        for other in private.numpy():
            wanted += sum(a * b for a, b in zip(one, other, strict=True)) ** 2
    assert float(orthogonality(shared, private)) == pytest.approx(wanted, rel=1e-12)


def test_orthogonality_is_zero_for_orthogonal_subspaces_alone() -> None:
    basis = torch.linalg.qr(numbers(6, 6))[0]
    mixing, other_mixing = numbers(3, 3, seed=2), numbers(2, 2, seed=3)
    assert float(orthogonality(mixing @ basis[:3], other_mixing @ basis[3:5])) == pytest.approx(0, abs=1e-24)
    assert float(orthogonality(mixing @ basis[:3], other_mixing @ basis[2:4])) > 0.01


def test_gradient_of_orthogonality_is_that_of_differences() -> None:
    matrices = [numbers(3, 5).requires_grad_(), numbers(4, 5, seed=1).requires_grad_()]
    assert torch.autograd.gradcheck(orthogonality, matrices)


def test_orthogonality_is_worked_out_in_float32_under_autocast() -> None:
    shared, private = numbers(3, 5).float(), numbers(4, 5, seed=1).float()
    exact = orthogonality(shared, private)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(orthogonality(shared, private), exact)


def pair(num_pairs: int = 3) -> dict[str, torch.Tensor]:
    faces = torch.rand(2 * num_pairs, 3, 4, 5)
    identities = torch.arange(num_pairs)
    return {
        "target": faces[:num_pairs],
        "source": faces[num_pairs:],
        "target_identity": identities,
        "source_identity": identities,
    }


def test_faces_of_both_cameras_come_targets_first_and_say_which_are_sources() -> None:
    batch = pair()
    faces, identities, is_source = both_cameras(batch)
    assert torch.equal(faces, torch.cat([batch["target"], batch["source"]]))
    assert identities.tolist() == [0, 1, 2, 0, 1, 2]
    assert is_source.tolist() == [False] * 3 + [True] * 3


@pytest.mark.parametrize("spoil", [lambda batch: batch.pop("source"), lambda batch: several(batch)])
def test_batches_without_a_source_for_each_target_are_refused(spoil: Callable[[dict[str, torch.Tensor]], None]) -> None:
    batch = pair()
    spoil(batch)
    with pytest.raises(ValueError, match="same_person"):
        both_cameras(batch)


def several(batch: dict[str, torch.Tensor]) -> None:
    batch["source"] = batch["source"][:, None].expand(-1, 2, -1, -1, -1)
