"""recognisers.names, load and write."""

from pathlib import Path

import pytest
import torch

from facebridge import crops, recognisers, weights
from facebridge.recogniser import Normalisation

THIN = {"height": 64, "width": 64, "width_multiplier": 0.25, "embedding_size": 16}


@pytest.fixture
def shipped_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(recognisers, "SHIPPED", tmp_path)
    return tmp_path


def test_names_are_those_of_the_folder() -> None:
    published = {"light_cnn_9", "light_cnn_29", "light_cnn_29v2", "mobile_facenet", "onnx", "sphereface_20"}
    assert set(recognisers.names()) == published | set(recognisers.shipped())


def test_unknown_name_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'mobilefacenet'; known: .*mobile_facenet"):
        recognisers.load("mobilefacenet")


def test_loaded_recogniser_is_frozen_and_judges() -> None:
    recogniser = recognisers.load("mobile_facenet", **THIN)
    assert not recogniser.training
    assert not any(parameter.requires_grad for parameter in recogniser.parameters())
    given = torch.rand(2, 3, 64, 64, requires_grad=True)
    recogniser.embed(given)[:, 0].sum().backward()
    assert given.grad is not None
    assert given.grad.abs().sum() > 0


def test_published_checkpoint_brings_its_sizes_and_loses_its_classifier(tmp_path: Path) -> None:
    thin = {"width_multiplier": 0.125, "height": 64, "width": 64}
    network = weights.network("light_cnn_29v2", num_classes=9, **thin).eval()
    layout = weights.find("light_cnn_29v2")
    state = {f"module.{layout.published(name)}": tensor for name, tensor in network.state_dict().items()}
    torch.save({"epoch": 80, "state_dict": state, "prec1": 0.9}, tmp_path / "published.pth.tar")
    recogniser = recognisers.load("light_cnn_29v2", tmp_path / "published.pth.tar")
    given = torch.rand(2, 3, 64, 64)
    _, expected = network(recogniser.normalise(given))
    found = recogniser.embed(given)
    assert torch.allclose(found, expected / expected.norm(dim=1, keepdim=True), atol=1e-6)
    assert recogniser.crop.height == 64


def test_weights_of_another_network_are_refused_with_the_file(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other\.pth: these are not the weights of mobile_facenet"):
        recognisers.load("mobile_facenet", tmp_path / "other.pth")


@pytest.mark.parametrize("half", [False, True])
def test_written_recogniser_comes_back_as_it_was(tmp_path: Path, half: bool) -> None:
    network = weights.network("mobile_facenet", **THIN).eval()
    normalisation = Normalisation("bgr", (100.0, 110.0, 120.0), (60.0,))
    path = tmp_path / "own.safetensors"
    state = network.state_dict()
    recognisers.write(path, "mobile_facenet", state, crop="arcface", normalisation=normalisation, half=half, **THIN)
    recogniser = recognisers.load("mobile_facenet", path)
    assert recogniser.normalisation == normalisation
    assert recogniser.embedding_size == 16
    assert recogniser.crop.points[2] == pytest.approx(
        tuple((value + 0.5) * 64 / 112 - 0.5 for value in crops.crop("arcface").points[2])
    )
    given = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected = network(recogniser.normalise(given))
    cosine = torch.cosine_similarity(recogniser.embed(given), expected)
    assert torch.allclose(cosine, torch.ones(2), atol=1e-3 if half else 1e-6)
    assert all(parameter.dtype == torch.float32 for parameter in recogniser.parameters())


def test_written_file_refuses_another_name_and_other_sizes(tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    recognisers.write(
        path, "mobile_facenet", weights.network("mobile_facenet", **THIN).state_dict(), crop="arcface", **THIN
    )
    with pytest.raises(ValueError, match="holds a mobile_facenet, not a sphereface_20"):
        recognisers.load("sphereface_20", path)
    with pytest.raises(ValueError, match="height"):
        recognisers.load("mobile_facenet", path, height=112)


def test_tensors_of_other_sizes_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"own\.safetensors: the tensors do not fit"):
        recognisers.write(
            tmp_path / "own.safetensors",
            "mobile_facenet",
            weights.network("mobile_facenet", **THIN).state_dict(),
            crop="arcface",
        )
    assert not list(tmp_path.iterdir())


def test_damaged_description_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    network = weights.network("mobile_facenet", **THIN)
    described = {"layout": "mobile_facenet", "sizes": "{", "crop": "arcface", "normalisation": "{}"}
    weights.write(tmp_path / "own.safetensors", network.state_dict(), described)
    with pytest.raises(ValueError, match=r"own\.safetensors: its metadata"):
        recognisers.load("mobile_facenet", tmp_path / "own.safetensors")


def test_shipped_recogniser_needs_its_name_alone(shipped_folder: Path) -> None:
    state = weights.network("mobile_facenet", **THIN).state_dict()
    recognisers.write(
        shipped_folder / "embedded.safetensors", "mobile_facenet", state, crop="arcface", half=True, **THIN
    )
    assert recognisers.shipped() == ["embedded"]
    assert "embedded" in recognisers.names()
    recogniser = recognisers.load("embedded")
    assert recogniser.name == "embedded"
    assert recogniser.embed(torch.rand(1, 3, 64, 64)).shape == (1, 16)
    with pytest.raises(ValueError, match="its own weights"):
        recognisers.load("embedded", height=112)


@pytest.mark.parametrize("name", recognisers.shipped())
def test_every_shipped_recogniser_loads(name: str) -> None:
    recogniser = recognisers.load(name)
    crop = recogniser.crop
    assert recogniser.embed(torch.rand(1, 3, crop.height, crop.width)).shape == (1, recogniser.embedding_size)
