"""Our networks give the published networks' numbers, with the published weights' names."""

from pathlib import Path

import numpy as np
import pytest
import torch

from facebridge import weights
from tests.parity.fill import error_in_spreads, published_state, reference

TOLERANCE = 1e-4
"""Of the output's spread."""


def run(layout: str, name: str, factor: float, sizes: dict[str, int]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    network = weights.network(layout, **sizes).eval()
    network.load_state_dict(weights.convert(layout, published_state(name)), strict=True)
    numbers = reference(name)
    (taken,) = (value for key, value in numbers.items() if key.startswith("input_"))
    with torch.no_grad():
        given = network(taken * factor)
    published = [value for key, value in numbers.items() if key.startswith("output_")]
    return (list(given) if isinstance(given, tuple) else [given]), published


@pytest.mark.parametrize(
    ("layout", "name", "factor", "sizes"),
    [
        ("light_cnn_9", "light_cnn_9", 1.0, {"num_classes": 100}),
        ("light_cnn_29v2", "light_cnn_29v2", 1.0, {"num_classes": 100}),
        ("sphereface_20", "sphereface_20", 127.5 / 128, {}),
        ("cyclegan_resnet", "cyclegan_resnet_9", 1.0, {"num_blocks": 9, "num_filters": 64}),
        ("patchgan", "patchgan_70", 1.0, {}),
        ("pix2pix_unet", "pix2pix_unet_256", 1.0, {"num_downs": 8, "num_filters": 32}),
        ("dvg_encoder", "dvg_encoder", 1.0, {}),
        ("dvg_decoder", "dvg_decoder", 1.0, {}),
        ("edsr", "edsr_tiny_x4", 1.0, {"scale": 4, "num_blocks": 2, "num_filters": 16}),
    ],
)
def test_filled_network_gives_the_published_numbers(
    layout: str, name: str, factor: float, sizes: dict[str, int]
) -> None:
    ours, published = run(layout, name, factor, sizes)
    assert len(ours) == len(published)
    for our, their in zip(ours, published, strict=True):
        assert error_in_spreads(our, their) < TOLERANCE


@pytest.mark.real
def test_mobile_facenet_with_its_real_weights_gives_the_published_numbers(real_data: Path) -> None:
    name = "mobilefacenet_casia_112x96"
    state = weights.read(real_data / "weights" / f"{name}.ckpt")
    network = weights.network("mobile_facenet", height=112, width=96).eval()
    network.load_state_dict(weights.convert("mobile_facenet", state))
    numbers = reference(name, real_data / "parity")
    with torch.no_grad():
        ours = network((numbers["input_faces"] * 255 - 127.5) / 128)
    assert error_in_spreads(ours, numbers["output_embedding"]) < TOLERANCE


def test_filled_values_do_not_depend_on_the_order_of_the_tensors() -> None:
    state = published_state("edsr_tiny_x4")
    assert np.isclose(float(state["conv1.bias"].std()), 0.1, rtol=0.5)
    assert list(state) == list(published_state("edsr_tiny_x4"))
