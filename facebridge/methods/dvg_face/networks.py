"""DVG-Face's networks: an attribute encoder for each camera, and one decoder with a head for each.

Fu, Wu, Hu, Huang and He, "DVG-Face: Dual Variational Generation for Heterogeneous Face Recognition", TPAMI 2021, as the
released code has them. The encoder says how a face was taken, in a code of length 1 and in means and spreads for the
last layers of the decoder; who it shows is a recogniser's embedding, which the decoder gets beside the code. Faces have
values in [0, 1] inside the networks too.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from facebridge.weights import Layout, dimension, each

Domain = Literal["nir", "vis"]
"""The heads of the decoder."""

SLOPE = 0.2
"""Of every leaky ReLU below 0."""

SMALLEST_SIDE = 64
"""Side of the smallest faces that the encoder can halve five times and still normalise, px."""

NUM_HALVINGS = 5
FIRST_SIDE = 4
"""Side of the features that the decoder begins with."""

NUM_STYLED = 7
"""Layers of the decoder whose means and spreads come from the style."""


class Encoder(nn.Module):
    """Faces (B, 3, size, size) in [0, 1] -> attribute codes (B, code_size) of length 1, and the styles of these.

    Styles are (B, style_size(num_filters)): for each styled layer of the decoder, in its order, the means of its
    channels and then their spreads. `style` alone makes them of codes.

    Args:
        num_filters: channels of the first convolution; those of the decoder too.
        code_size: numbers of a code.
        style_widths: hidden units between code and style.
        size: side of the faces, px: 64, 128, 256 ...

    Raises:
        ValueError: if the networks cannot make faces of this size.
    """

    def __init__(
        self,
        num_filters: int = 32,
        code_size: int = 256,
        style_widths: tuple[int, ...] = (1024, 2048),
        size: int = 128,
    ) -> None:
        super().__init__()
        check_size(size)
        widths = [3, *(num_filters * min(2**depth, 8) for depth in range(NUM_HALVINGS + 1))]
        self.convs = nn.ModuleList([nn.Conv2d(3, widths[1], 5, padding=2)])
        for inside, outside in zip(widths[1:], widths[2:], strict=False):
            self.convs.append(nn.Conv2d(inside, outside, 3, stride=2, padding=1))
        self.to_code = nn.Linear(widths[-1] * (size // 2**NUM_HALVINGS) ** 2, code_size)
        self.style = perceptron([code_size, *style_widths, style_size(num_filters)])

    def forward(self, faces: Tensor) -> tuple[Tensor, Tensor]:
        features = faces.contiguous()
        for conv in self.convs:
            features = activated(conv(features))
        codes = functional.normalize(self.to_code(features.flatten(1)), dim=1)
        return codes, self.style(codes)


class Decoder(nn.Module):
    """Who, how taken, and its style -> faces (B, 3, size, size) in [0, 1], as one camera sees them.

    Args:
        num_filters: channels of the outermost convolutions.
        identity_size: numbers of an embedding.
        code_size: numbers of a code.
        size: side of the faces, px: 64, 128, 256 ...; at half the size one of the inner doublings is left out.

    Raises:
        ValueError: if the networks cannot make faces of this size.
    """

    def __init__(self, num_filters: int = 32, identity_size: int = 256, code_size: int = 256, size: int = 128) -> None:
        super().__init__()
        check_size(size)
        num_doublings = (size // FIRST_SIDE).bit_length() - 1
        widest = 4 * num_filters
        widths = [*[widest] * (num_doublings - 2), 2 * num_filters, 2 * num_filters]
        self.start = nn.Linear(identity_size + code_size, widest * FIRST_SIDE**2)
        self.doublings = nn.ModuleList(
            Doubling(inside, outside) for inside, outside in zip(widths, widths[1:], strict=False)
        )
        self.styled = nn.ModuleList([nn.ConvTranspose2d(widths[-1], num_filters, 2, stride=2)])
        for _ in range(NUM_STYLED - 1):
            self.styled.append(nn.Conv2d(num_filters, num_filters, 3, padding=1))
        self.nir = nn.Conv2d(num_filters, 3, 1)
        self.vis = nn.Conv2d(num_filters, 3, 1)

    def forward(self, identities: Tensor, codes: Tensor, styles: Tensor, domain: Domain = "nir") -> Tensor:
        """Faces of embeddings (B, identity_size) of length 1, codes (B, code_size) and their styles."""
        start = functional.leaky_relu(self.start(torch.cat([identities, codes], 1)), SLOPE)
        features = start.view(len(start), -1, FIRST_SIDE, FIRST_SIDE)
        for doubling in self.doublings:
            features = doubling(features)
        features = self._styled(features, styles.chunk(2 * NUM_STYLED, 1))
        made: Tensor = (self.nir if domain == "nir" else self.vis)(features)
        return torch.sigmoid(made)

    def _styled(self, features: Tensor, parts: tuple[Tensor, ...]) -> Tensor:
        """A doubling, then twice a residual block of two convolutions and a third convolution."""

        def layer(number: int, features: Tensor) -> Tensor:
            means, spreads = parts[2 * number], parts[2 * number + 1]
            return activated(self.styled[number](features), spreads, means)

        features = layer(0, features)
        for first in (1, 4):
            features = features + layer(first + 1, layer(first, features))
            features = layer(first + 2, features)
        return features


class Doubling(nn.Module):
    """Features (B, inside, h, w) -> (B, outside, 2h, 2w), and a residual block of two convolutions on these."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(inside, outside, 2, stride=2)
        self.first = nn.Conv2d(outside, outside, 3, padding=1)
        self.second = nn.Conv2d(outside, outside, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        doubled = activated(self.up(features))
        return doubled + activated(self.second(activated(self.first(doubled))))


def activated(features: Tensor, spreads: Tensor | None = None, means: Tensor | None = None) -> Tensor:
    """Leaky ReLU of features (B, C, H, W), normalised by instance; where given, times spreads and plus means (B, C)."""
    flat = features.reshape(1, -1, *features.shape[2:])  # each channel of each face on its own, its numbers in a row
    weight, bias = (None if part is None else part.flatten() for part in (spreads, means))
    normalised = functional.batch_norm(flat, None, None, weight, bias, training=True)
    return functional.leaky_relu(normalised, SLOPE, inplace=True).view_as(features)


def perceptron(sizes: list[int]) -> nn.Sequential:
    """Linear layers of these sizes with leaky ReLUs between them."""
    layers: list[nn.Module] = []
    for inside, outside in zip(sizes, sizes[1:], strict=False):
        layers += [nn.Linear(inside, outside), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers[:-1])


def style_size(num_filters: int) -> int:
    """Numbers of a style: a mean and a spread for each channel of the styled layers."""
    return 2 * NUM_STYLED * num_filters


def check_size(size: int) -> None:
    """ValueError: if the networks cannot make faces of this side."""
    if size < SMALLEST_SIDE or size & (size - 1):
        raise ValueError(
            f"DVG-Face's networks halve and double square faces: their side is a power of two from {SMALLEST_SIDE} px "
            f"on, not {size}"
        )


def _published_encoder(name: str) -> str:
    for ours, theirs in (
        (r"^convs\.(\d+)\.", r"conv.\1.conv."),
        (r"^to_code\.", "fc_enc."),
        (r"^style\.", "fc_style."),
    ):
        name = re.sub(ours, theirs, name)
    return name


def _published_decoder(names: Iterable[str]) -> dict[str, str]:
    """The published layers stand in one row, a residual block counting as one."""
    ours = list(names)
    first_styled = 2 * len({name.split(".")[1] for name in ours if name.startswith("doublings.")})
    styled = (0, "1.conv1", "1.conv2", 2, "3.conv1", "3.conv2", 4)
    places = {"start": "fc.0", "nir": "nir_output", "vis": "vis_output"}
    for number, place in enumerate(styled):
        index, _, inner = str(place).partition(".")
        places[f"styled.{number}"] = ".".join(filter(None, ["conv", str(first_styled + int(index)), inner, "conv"]))
    for stage in range(first_styled // 2):
        places[f"doublings.{stage}.up"] = f"conv.{2 * stage}.conv"
        places[f"doublings.{stage}.first"] = f"conv.{2 * stage + 1}.conv1.conv"
        places[f"doublings.{stage}.second"] = f"conv.{2 * stage + 1}.conv2.conv"
    split = {name: name.rpartition(".") for name in ours}
    return {name: f"{places[layer]}.{leaf}" for name, (layer, _, leaf) in split.items()}


def _encoder_sizes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    num_filters = dimension(state, "conv.0.conv.weight", 0, 32)
    hidden = [name for name in state if re.fullmatch(r"fc_style\.\d+\.weight", name)]
    hidden = sorted(hidden, key=lambda name: int(name.split(".")[1]))[:-1]
    side = round((dimension(state, "fc_enc.weight", 1, 4096) / (8 * num_filters)) ** 0.5)
    return {
        "num_filters": num_filters,
        "code_size": dimension(state, "fc_enc.weight", 0, 256),
        "style_widths": tuple(dimension(state, name, 0, 0) for name in hidden),
        "size": side * 2**NUM_HALVINGS,
    }


def _decoder_sizes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    num_filters = dimension(state, "nir_output.weight", 1, 32)
    doublings = [name for name in state if re.fullmatch(r"conv\.\d+\.conv\.weight", name)]
    # Of the layers that are no residual blocks, all but the last two double.
    # The tensors tell how large embedding and code are together; published, they are of one size.
    together = dimension(state, "fc.0.weight", 1, 512)
    return {
        "num_filters": num_filters,
        "identity_size": together - together // 2,
        "code_size": together // 2,
        "size": FIRST_SIDE * 2 ** (len(doublings) - 2),
    }


LAYOUTS = (
    Layout(name="dvg_face_encoder", build=Encoder, published=each(_published_encoder), sizes=_encoder_sizes),
    Layout(
        name="dvg_face_decoder",
        build=Decoder,
        published=_published_decoder,
        sizes=_decoder_sizes,
        unused=r"conv\..*\.norm\.running_(mean|var)",
    ),
)
