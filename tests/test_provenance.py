"""What a generated picture says of itself survives any name, and a stranger's packet does no harm."""

import dataclasses
import io
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from facebridge import images, provenance
from facebridge.provenance import Provenance

KNOWN = Provenance("FaceBridge pcfh", "ab" * 32, "0.1.0", "ann/a & b <1>.png", "cd" * 32)
PICTURE = np.zeros((6, 5, 3), np.uint8)
NAMES = st.text(st.characters(codec=None), max_size=60) | st.text(
    "<>&\"'%]\n\0\udcff\ud800\ufffe\u202e a/", max_size=40
)


@given(NAMES.filter(bool))
def test_packet_is_well_formed_whatever_a_file_is_called(name: str) -> None:
    told = Provenance("FaceBridge <&>", "ab", "0.1", name, "cd")
    packet = provenance.to_xmp(told)
    ElementTree.fromstring(packet)
    assert packet.replace("\n", "").removeprefix('<?xpacket begin="\ufeff"').isprintable()
    found = provenance.from_xmp(packet.encode())
    assert found is not None
    assert provenance.as_text(found.source).isprintable()
    if not any("\ud800" <= letter <= "\udfff" for letter in name):
        assert found == told


@given(st.binary(min_size=1, max_size=20).filter(lambda data: b"\0" not in data))
def test_name_that_is_no_utf8_comes_back_as_the_file_system_gives_it(data: bytes) -> None:
    name = data.decode("utf-8", "surrogateescape")
    found = provenance.from_xmp(provenance.to_xmp(Provenance("m", "w", "v", name, "s")).encode())
    assert found is not None
    assert found.source == name


@given(NAMES.filter(bool), st.sampled_from([".png", ".jpg"]), st.booleans())
def test_both_formats_carry_it(name: str, suffix: str, pasted: bool) -> None:
    told = Provenance("FaceBridge pcfh", "ab" * 32, "0.1.0", name, "cd" * 32, pasted)
    data = images.encode(PICTURE, suffix, told)
    with Image.open(io.BytesIO(data)) as file:
        packet = file.info["xmp"]
    kind = provenance.PASTED if pasted else provenance.GENERATED
    assert kind.encode() in packet
    found = provenance.from_xmp(packet)
    assert found is not None
    assert (found.made_by, found.weights_sha256, found.pasted) == (told.made_by, told.weights_sha256, pasted)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_written_pictures_are_read_back_by_both_readers(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    images.write(path, PICTURE, KNOWN)
    assert images.provenance(path) == KNOWN
    assert images.generated_by(path) == "FaceBridge pcfh"
    images.write(path, PICTURE, "FaceBridge pcfh")
    assert images.provenance(path) is None
    if suffix == ".png":
        images.write(path, PICTURE, KNOWN)
        with Image.open(path) as file:
            assert KNOWN.weights_sha256 in file.info["Comment"]
            assert "ann/a & b <1>.png" in file.info["Comment"]


@pytest.mark.parametrize("pasted", [False, True])
def test_description_tells_a_stranger_what_it_is_who_made_it_and_from_what(pasted: bool) -> None:
    told = dataclasses.replace(KNOWN, pasted=pasted)
    what = "Photograph with a generated face in it" if pasted else "Generated face, not a photograph"
    description = ElementTree.fromstring(provenance.to_xmp(told)).findtext(
        ".//{http://purl.org/dc/elements/1.1/}description//{http://www.w3.org/1999/02/22-rdf-syntax-ns#}li"
    )
    assert description == (
        f"{what}. Made by: FaceBridge pcfh (weights SHA-256 {'ab' * 32}, FaceBridge 0.1.0). "
        f"Made from: ann/a & b <1>.png (SHA-256 {'cd' * 32})"
    )


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_what_a_stranger_says_at_length_can_be_written_again(suffix: str) -> None:
    endless = {name: "&" * 1900 for name in ("made_by", "weights_sha256", "version", "source", "source_sha256")}
    found = provenance.from_xmp(provenance.to_xmp(Provenance(**endless)).encode())
    assert found is not None
    images.encode(PICTURE, suffix, found)


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"nonsense",
        b"<a/>",
        b"\xff\xfe",
        b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b 'cc'>]><a>&b;</a>",
        b"<a>" * 60000,
        provenance.to_xmp(KNOWN).replace(":Version>", ":Other>").encode(),
    ],
)
def test_packet_that_says_nothing_of_it_gives_none(packet: bytes) -> None:
    assert provenance.from_xmp(packet) is None


def test_longest_names_fit_into_a_jpeg() -> None:
    for letter in ("&", "\U0001f600", "\n", "a"):
        told = Provenance("&" * 1000, "ab" * 32, "0.1.0", letter * 5000, "cd" * 32, True)
        data = images.encode(PICTURE, ".jpg", told)
        assert images.decode(data, "x.jpg").shape == PICTURE.shape
        with Image.open(io.BytesIO(data)) as file:
            read = provenance.from_xmp(file.info["xmp"])
        assert read is not None
        assert (read.weights_sha256, read.source_sha256, read.pasted) == ("ab" * 32, "cd" * 32, True)


def test_mark_is_still_checked() -> None:
    with pytest.raises(ValueError, match="generated_by"):
        images.encode(PICTURE, ".png", Provenance("two\nlines", "w", "v", "s", "t"))


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_picture_with_a_face_put_back_is_not_called_a_face(suffix: str, tmp_path: Path) -> None:
    told = Provenance("FaceBridge test", "ab" * 32, "0.1.0", "a.png", "cd" * 32, pasted=True)
    path = tmp_path / f"x{suffix}"
    images.write(path, PICTURE, told)
    assert images.generated_by(path) == "FaceBridge test"
    with Image.open(path) as file:
        text = file.info["Description" if suffix == ".png" else "comment"]
    assert "Photograph with a generated face in it" in (text.decode() if isinstance(text, bytes) else text)
