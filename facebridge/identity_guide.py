"""A frozen recogniser that pulls generated faces towards the person: by its embedding, and by its inner layers.

A generator that is trained through one network learns patterns which that network alone takes for the person (docs/
log.md). Against this, both faces may be moved a little, together, and blurred before the recogniser sees them, and its
inner layers compared, which see where things are as the embedding does not (as Johnson et al. 2016 do).
"""

import math
from collections.abc import Sequence

import torch
from kornia.filters import gaussian_blur2d
from torch import Tensor, nn
from torch.nn import functional

from facebridge.crops import Crop
from facebridge.recogniser import Recogniser

BLUR_REACH = 3.0
"""Standard deviations to which the blur reaches."""


class IdentityGuide:
    """Losses between generated and sharp faces as a frozen recogniser sees them.

    Args:
        recogniser: who looks.
        crop: how the faces are aligned.
        layers: names of modules of its network whose outputs are compared too, as `named_modules` has them.
        shift_px: both faces are moved by up to so many pixels of the crop, a new draw for each pair.
        stretch: both are enlarged or reduced by up to this part.
        blur_px: both are blurred by a Gaussian of this standard deviation, px of the crop: what is finer, the
            recogniser does not guide.

    Raises:
        ValueError: if the network has no such layer.
    """

    def __init__(
        self,
        recogniser: Recogniser,
        crop: Crop,
        layers: Sequence[str] = (),
        shift_px: float = 0.0,
        stretch: float = 0.0,
        blur_px: float = 0.0,
    ) -> None:
        modules = dict(recogniser.network.named_modules())
        if unknown := [name for name in layers if not name or name not in modules]:
            known = ", ".join(name for name in modules if name and "." not in name)
            raise ValueError(f"{recogniser.name} has no layer {unknown[0]!r}; its parts: {known} and what is in them")
        self.recogniser = recogniser
        self.crop = crop
        self.layers = tuple(layers)
        self.shift_px = shift_px
        self.stretch = stretch
        self.blur_px = blur_px

    def compare(self, generated: Tensor, sharp: Tensor) -> dict[str, Tensor]:
        """How far the generated faces are from the sharp ones, both (B, 3, crop.height, crop.width) in [0, 1].

        Returns:
            `identity`: the mean of 1 - cos between the embeddings; with layers `layers`: the mean over them of the
            squared difference over the sharp face's mean square. Differentiable by `generated` alone.
        """
        if self.shift_px or self.stretch:
            generated, sharp = moved_together(generated, sharp, self.shift_px, self.stretch)
        if self.blur_px:
            generated, sharp = (_blurred(each, self.blur_px) for each in (generated, sharp))
        with torch.no_grad():
            wanted, wanted_inner = self._seen(sharp)
        found, inner = self._seen(generated)
        losses = {"identity": (1 - functional.cosine_similarity(found, wanted)).mean()}
        if self.layers:
            pairs = zip(inner, wanted_inner, strict=True)
            losses["layers"] = torch.stack([_relative_error(one, other) for one, other in pairs]).mean()
        return losses

    def _seen(self, faces: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Embeddings, and what the layers gave, in their order."""
        kept: dict[str, Tensor] = {}
        modules = dict(self.recogniser.network.named_modules())
        handles = [modules[name].register_forward_hook(_keeping(kept, name)) for name in self.layers]
        try:
            embedded = self.recogniser.embed(faces, self.crop)
        finally:
            for handle in handles:
                handle.remove()
        return embedded, [kept[name] for name in self.layers]


def moved_together(first: Tensor, second: Tensor, shift_px: float, stretch: float) -> tuple[Tensor, Tensor]:
    """Two batches of faces (B, 3, H, W), each pair shifted and stretched alike; torch's own generator draws.

    What comes in from outside repeats the border.
    """
    count, _, height, width = first.shape
    draws = 2 * torch.rand(count, 3) - 1
    scale = 1 + stretch * draws[:, 0]
    matrices = torch.zeros(count, 2, 3)
    matrices[:, 0, 0] = matrices[:, 1, 1] = scale
    matrices[:, 0, 2] = 2 * shift_px * draws[:, 1] / width
    matrices[:, 1, 2] = 2 * shift_px * draws[:, 2] / height
    with torch.autocast(first.device.type, enabled=False):
        grid = functional.affine_grid(matrices.to(first.device), [count, 3, height, width], align_corners=False)
        return tuple(  # type: ignore[return-value]
            functional.grid_sample(faces.float(), grid, padding_mode="border", align_corners=False)
            for faces in (first, second)
        )


def _blurred(faces: Tensor, sigma_px: float) -> Tensor:
    reach = math.ceil(BLUR_REACH * sigma_px)
    return gaussian_blur2d(faces, 2 * reach + 1, (sigma_px, sigma_px), "replicate")


def _relative_error(found: Tensor, wanted: Tensor) -> Tensor:
    found, wanted = found.float(), wanted.float()
    return functional.mse_loss(found, wanted) / wanted.square().mean().clamp(min=torch.finfo(torch.float32).tiny)


def _keeping(kept: dict[str, Tensor], name: str):  # type: ignore[no-untyped-def]
    def hook(module: nn.Module, taken: tuple[Tensor, ...], given: Tensor) -> None:
        kept[name] = given

    return hook
