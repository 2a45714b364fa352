"""recognisers.names, load and write."""

import json
from pathlib import Path

import pytest
import torch

from facebridge import crops, recognisers, weight_store, weights
from facebridge.recogniser import Normalisation
from tests import drawn

THIN = {"height": 64, "width": 64, "width_multiplier": 0.25, "embedding_size": 16}


@pytest.fixture(autouse=True)
def _empty_store(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(weight_store.FOLDER, str(tmp_path_factory.getbasetemp() / "no_store"))


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
    state = {f"module.{layout.published([name])[name]}": tensor for name, tensor in network.state_dict().items()}
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


@pytest.mark.parametrize("half", [False, True])
def test_projected_recogniser_gives_the_projected_features(tmp_path: Path, half: bool) -> None:
    path, recogniser = tmp_path / "own.safetensors", drawn.thin_recogniser()
    projection = torch.randn(5, 16)
    state = recogniser.network.state_dict()
    recognisers.write(path, "mobile_facenet", state, crop="sphereface", projection=projection, half=half, **drawn.THIN)
    found = recognisers.load("mobile_facenet", path)
    assert found.embedding_size == 5
    faces = torch.rand(3, 3, 112, 96)
    with torch.no_grad():
        expected = torch.einsum("bf,df->bd", recogniser.features(faces), projection)
    expected = expected / expected.square().sum(1, keepdim=True).sqrt()
    assert torch.allclose(found.embed(faces), expected, atol=5e-3 if half else 1e-6)
    assert not any(parameter.requires_grad for parameter in found.parameters())
    stored = weights.read(path)
    assert stored["projection.weight"].dtype == (torch.float16 if half else torch.float32)
    assert json.loads(weights.metadata(path)["projection"]) == [5, 16]
    assert stored.keys() - {"projection.weight"} == state.keys()


@pytest.mark.parametrize("projection", [torch.ones(5, 15), torch.ones(16), torch.ones(0, 16), torch.ones(5, 16, 1)])
def test_projection_must_follow_the_features(tmp_path: Path, projection: torch.Tensor) -> None:
    state = weights.network("mobile_facenet", **THIN).state_dict()
    with pytest.raises(ValueError, match=r"own\.safetensors: the projection must be \(D, 16\)"):
        recognisers.write(tmp_path / "own.safetensors", "mobile_facenet", state, projection=projection, **THIN)
    assert not list(tmp_path.iterdir())


def test_file_that_lacks_its_projection_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    state = weights.network("mobile_facenet", **THIN).state_dict()
    recognisers.write(path, "mobile_facenet", state, projection=torch.ones(5, 16), **THIN)
    weights.write(path, state, weights.metadata(path))
    with pytest.raises(ValueError, match=r"own\.safetensors: the projection must be .*found none"):
        recognisers.load(path)
    weights.write(path, {**state, "projection.weight": torch.ones(5, 16)}, description_of_plain(tmp_path, state))
    with pytest.raises(ValueError, match=r"own\.safetensors: the tensors do not fit .*projection"):
        recognisers.load(path)


def description_of_plain(folder: Path, state: dict[str, torch.Tensor]) -> dict[str, str]:
    recognisers.write(folder / "plain.safetensors", "mobile_facenet", state, **THIN)
    return weights.metadata(folder / "plain.safetensors")


@pytest.mark.parametrize(
    ("layout", "sizes"),
    [
        ("mobile_facenet", THIN),
        ("sphereface_20", {"width_multiplier": 0.125, "embedding_size": 8}),
        ("light_cnn_9", {"width_multiplier": 0.125}),
        ("light_cnn_29v2", {"width_multiplier": 0.125, "height": 64, "width": 64}),
    ],
)
@pytest.mark.parametrize("is_projected", [False, True])
def test_any_recogniser_is_written_and_read_back_bit_for_bit(
    tmp_path: Path, layout: str, sizes: dict[str, float], is_projected: bool
) -> None:
    recogniser = recognisers.load(layout, **sizes)
    drawn.shaken(recogniser.network)
    if is_projected:
        recogniser.network = recognisers.projected(recogniser.network, torch.randn(7, recogniser.embedding_size))
    recognisers.write_recogniser(tmp_path / "own.safetensors", recogniser, layout, **sizes)
    found = recognisers.load(tmp_path / "own.safetensors")
    assert (found.name, found.crop, found.normalisation) == ("own", recogniser.crop, recogniser.normalisation)
    faces = torch.rand(2, 3, found.crop.height, found.crop.width)
    assert torch.equal(found.embed(faces), recogniser.embed(faces))


@pytest.mark.parametrize("sizes", [{**THIN, "width_multiplier": 1e7}, {**THIN, "height": "tall"}, {**THIN, "hight": 3}])
def test_damaged_sizes_are_an_error_before_any_memory_is_taken(tmp_path: Path, sizes: dict[str, object]) -> None:
    path = tmp_path / "own.safetensors"
    state = weights.network("mobile_facenet", **THIN).state_dict()
    recognisers.write(path, "mobile_facenet", state, **THIN)
    weights.write(path, state, {**weights.metadata(path), "sizes": json.dumps(sizes)})
    with pytest.raises(ValueError, match=r"own\.safetensors"):
        recognisers.load(path)


def test_path_is_read_and_a_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recognisers.write_recogniser(tmp_path / "own", drawn.thin_recogniser(), "mobile_facenet", **drawn.THIN)
    (tmp_path / "own").rename(tmp_path / "own.safetensors")
    for path in ("own.safetensors", "./own.safetensors", tmp_path / "own.safetensors"):
        assert recognisers.load(path).name == "own"
    with pytest.raises(ValueError, match="give no others"):
        recognisers.load("own.safetensors", height=112)
    (tmp_path / "embedded_judge").mkdir()
    assert recognisers.load("embedded_judge").embedding_size == 128
    with pytest.raises(ValueError, match="embedded_judge is not a run"):
        recognisers.load("./embedded_judge")
    with pytest.raises(
        ValueError, match="runs/none: no such run folder or file; names of recognisers: .*embedded_judge"
    ):
        recognisers.load("runs/none")


def test_file_that_does_not_say_what_it_holds_is_refused_with_advice(tmp_path: Path) -> None:
    torch.save(weights.network("mobile_facenet", **THIN).state_dict(), tmp_path / "net.pth")
    weights.write(tmp_path / "net.safetensors", weights.network("mobile_facenet", **THIN).state_dict())
    for name in ("net.pth", "net.safetensors"):
        with pytest.raises(ValueError, match=f"{name}: does not say what it holds; name its layout"):
            recognisers.load(tmp_path / name)


def test_files_of_a_recogniser_are_those_that_decide_it(tmp_path: Path) -> None:
    network = tmp_path / "mine.onnx"
    assert recognisers.files("embedded_judge") == [recognisers.SHIPPED / "embedded_judge.safetensors"]
    assert recognisers.files("onnx", network) == [network]
    (tmp_path / "mine.toml").touch()
    assert recognisers.files("onnx", network) == [network, tmp_path / "mine.toml"]
    assert recognisers.files("mobile_facenet") == []
