"""The losses of TP-GAN: pure functions of pictures in [-1, 1], and the identity-preserving loss.

All are means, so that they do not grow with the picture, and are computed in float32 under autocast too.
"""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from facebridge import crops
from facebridge.crops import Crop
from facebridge.recogniser import Recogniser

REAL, FAKE = 0.9, 0.0
"""Labels of the adversarial loss; what the generator wants its pictures to be taken for is `REAL` too."""


def scales_of(pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures (B, 3, H, W) whole, and half and a quarter as high, reduced by area."""
    half = functional.avg_pool2d(pictures, 2)
    return pictures, half, functional.avg_pool2d(half, 2)


def pixel_loss(made: Sequence[Tensor], target: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """L1 between pictures of several scales, the sum over the scales, each times its weight."""
    return _sum_of(
        (functional.l1_loss(one.float(), other.float()), weight)
        for one, other, weight in zip(made, target, weights, strict=True)
        if weight
    )


def symmetry_loss(made: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """How far the hidden half of pictures is from the mirrored seen one, over the scales, each times its weight.

    The largest scale is compared in pixels, halved first; the others in pixels and in Laplacian space together. The
    seen half is the left one; it does not learn.
    """
    spaces = [_halved, *(_with_laplacian for _ in made[1:])]
    return _sum_of(
        (asymmetry(space(_seen_fixed(pictures.float()))), weight)
        for pictures, space, weight in zip(made, spaces, weights, strict=True)
        if weight
    )


def asymmetry(pictures: Tensor) -> Tensor:
    """L1 between the right half (B, C, H, W / 2) and the mirrored left half, which does not learn."""
    seen, hidden = pictures.chunk(2, -1)
    return functional.l1_loss(hidden, seen.flip(-1).detach())


def laplacian(pictures: Tensor) -> Tensor:
    """Eight times each pixel less its eight neighbours, zeros outside: (B, C, H, W) -> the same."""
    channels = pictures.shape[1]
    kernel = pictures.new_full((channels, 1, 3, 3), -1.0)
    kernel[:, :, 1, 1] = 8.0
    with torch.autocast(pictures.device.type, enabled=False):
        return functional.conv2d(pictures, kernel, padding=1, groups=channels)


def local_loss(parts: Sequence[Tensor], targets: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """L1 between the pictures of the local paths and the parts of the target, each times its weight."""
    return pixel_loss(parts, targets, weights)


def total_variation(pictures: Tensor) -> Tensor:
    """Mean absolute difference of neighbours in a column, plus that of neighbours in a row."""
    pictures = pictures.float()
    down, across = pictures.diff(dim=-2), pictures.diff(dim=-1)
    return down.abs().mean() + across.abs().mean()


def judged(scores: Tensor, label: float) -> Tensor:
    """Mean binary cross entropy between sigmoid(scores), of any shape, and a label in [0, 1]."""
    scores = scores.float()
    return (functional.softplus(scores) - label * scores).mean()


class IdentityLoss:
    """The identity-preserving loss: L1 between a recogniser's last layers, for made and true faces.

    Args:
        recogniser: who looks.
        crop: how the faces are aligned.
        layers: modules of its network, as `named_modules` has them, before which it is compared too: what goes into
            Light CNN's `embedding` is what its last pool gives.

    Raises:
        ValueError: if the network has no such module.
    """

    def __init__(self, recogniser: Recogniser, crop: Crop, layers: Sequence[str]) -> None:
        self.recogniser, self.crop = recogniser, crop
        modules = dict(recogniser.network.named_modules())
        if unknown := [name for name in layers if not name or name not in modules]:
            known = ", ".join(name for name in modules if name and "." not in name)
            raise ValueError(f"{recogniser.name} has no layer {unknown[0]!r}; its parts: {known} and what is in them")
        self.modules = [modules[name] for name in layers]

    def __call__(self, made: Tensor, target: Tensor) -> Tensor:
        """Of faces (B, 3, crop.height, crop.width) in [0, 1]: the sum over the layers of mean absolute differences."""
        with torch.no_grad():
            wanted = self._seen(target)
        found = self._seen(made)
        pairs = zip(found, wanted, strict=True)
        return _sum_of((functional.l1_loss(one.float(), other.float()), 1.0) for one, other in pairs)

    def _seen(self, faces: Tensor) -> list[Tensor]:
        """The embedding of any length, and what goes into each layer."""
        kept: list[Tensor] = []
        handles = [module.register_forward_pre_hook(_keeping(kept)) for module in self.modules]
        try:
            embedded = self.recogniser.features(crops.recrop(faces, self.crop, self.recogniser.crop))
        finally:
            for handle in handles:
                handle.remove()
        return [embedded, *kept]


def _keeping(kept: list[Tensor]) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    def hook(module: nn.Module, taken: tuple[Tensor, ...]) -> None:
        kept.append(taken[0])

    return hook


def _seen_fixed(pictures: Tensor) -> Tensor:
    """The same pictures, whose left half does not learn, not even through a filter that reaches over the middle."""
    seen, hidden = pictures.chunk(2, -1)
    return torch.cat([seen.detach(), hidden], -1)


def _halved(pictures: Tensor) -> Tensor:
    return functional.avg_pool2d(pictures, 2)


def _with_laplacian(pictures: Tensor) -> Tensor:
    return torch.cat([pictures, laplacian(pictures)], 1)


def _sum_of(terms: Iterable[tuple[Tensor, float]]) -> Tensor:
    return torch.stack([weight * loss for loss, weight in terms]).sum()
