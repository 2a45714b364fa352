import ctypes
import sys

import pytest
import torch

from facebridge import allocator


def train_a_little() -> list[torch.Tensor]:
    """Three steps whose arrays are far larger than what the heap keeps by default."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3, padding=1), torch.nn.Conv2d(16, 3, 3, padding=1))
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    faces = torch.rand(2, 3, 256, 256)
    for _ in range(3):
        optimiser.zero_grad()
        (network(faces) - faces).square().mean().backward()
        optimiser.step()
    return [parameter.detach().clone() for parameter in network.parameters()]


def test_the_switch_leaves_the_allocator_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(allocator.SWITCH, "0")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: pytest.fail("the C library was touched"))
    assert not allocator.keep_memory()


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not allocator.keep_memory()


def test_a_c_library_without_mallopt_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv(allocator.SWITCH, raising=False)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert not allocator.keep_memory()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the switch is of glibc")
def test_keeping_memory_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    before = train_a_little()
    monkeypatch.delenv(allocator.SWITCH, raising=False)
    assert allocator.keep_memory()
    after = train_a_little()
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
