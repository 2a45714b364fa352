"""A doubled picture convolved gives the same numbers when it is convolved before it is doubled."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from facebridge.subpixel import doubled_conv, folded


@settings(max_examples=30, deadline=None)
@given(
    batch=st.integers(1, 3),
    inside=st.integers(1, 5),
    outside=st.integers(1, 5),
    height=st.integers(1, 7),
    width=st.integers(1, 7),
    seed=st.integers(0, 99),
)
def test_it_equals_doubling_and_then_convolving(
    batch: int, inside: int, outside: int, height: int, width: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(batch, inside, height, width, generator=generator, dtype=torch.float64)
    weight = torch.randn(outside, inside, 3, 3, generator=generator, dtype=torch.float64)
    plain = functional.conv2d(features.repeat_interleave(2, 2).repeat_interleave(2, 3), weight, padding=1)
    assert torch.allclose(doubled_conv(features, folded(weight)), plain, atol=1e-12)


def test_gradients_of_features_and_weights_are_those_of_the_plain_convolution() -> None:
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(2, 3, 5, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(6, 3, 3, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    pull = torch.randn(2, 6, 10, 8, generator=generator, dtype=torch.float64)
    plain = functional.conv2d(functional.interpolate(features, scale_factor=2.0), weight, padding=1)
    expected = torch.autograd.grad((plain * pull).sum(), [features, weight])
    found = torch.autograd.grad((doubled_conv(features, folded(weight)) * pull).sum(), [features, weight])
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-12)
