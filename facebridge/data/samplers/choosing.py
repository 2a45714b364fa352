"""From a recipe to the sampler that it asks for."""

import numpy as np
from numpy.typing import NDArray

from facebridge.data.faces import Faces, JoinedFaces, LabelledFaces, on_side
from facebridge.data.samplers.mixed import RealAndGenerated
from facebridge.data.samplers.sampler import Sampler
from facebridge.data.samplers.settings import NoPairs, Pairing, Side
from facebridge.data.samplers.single import SingleFaces
from facebridge.recipe import Recipe, sides


def sampler_of(recipe: Recipe, faces: Faces) -> Sampler:
    """Which of the faces stand together in the batches of a recipe.

    Args:
        recipe: says how targets get their sources, and which part of a batch is generated.
        faces: what `facebridge.data.faces.faces_of` gives, or other ones; pairs need `LabelledFaces`.

    Raises:
        ValueError: if nothing can be paired, the faces do not say who they show, or the generated part of a batch is
            no whole number.
    """
    data = recipe.data
    if data.generated is not None:
        return _mixed(recipe, faces)
    if isinstance(data.pairing, NoPairs):
        return SingleFaces(range(len(faces)), getattr(faces, "shuffle", None))
    if not isinstance(faces, LabelledFaces):
        raise ValueError(f"{type(faces).__name__} do not say what makes pairs: set data.pairing.kind=none")
    return _sampler(data.pairing, sides(data, data.pairing), faces, np.ones(len(faces), bool))


def _mixed(recipe: Recipe, faces: Faces) -> RealAndGenerated:
    data, generated, batch_size = recipe.data, recipe.data.generated, recipe.training.batch_size
    if not isinstance(faces, JoinedFaces) or generated is None:
        raise ValueError("data.generated mixes real and generated faces: give both as JoinedFaces")
    pairing = generated.pairing or data.pairing
    is_generated = faces.is_generated()
    mixed = RealAndGenerated(
        _sampler(data.pairing, sides(data, data.pairing), faces, ~is_generated),
        _sampler(pairing, sides(generated, pairing), faces, is_generated),
        generated.share,
    )
    if (batch_size * mixed.share).denominator != 1:
        raise ValueError(
            f"data.generated.share={generated.share:g} of {batch_size} faces is no whole number: choose "
            "training.batch_size or the share so that it is"
        )
    return mixed


def _sampler(pairing: Pairing, wanted: tuple[Side, Side], faces: LabelledFaces, among: NDArray[np.bool_]) -> Sampler:
    order = faces.in_order_of_names()
    sources, targets = (order[(among & on_side(faces, side))[order]] for side in wanted)
    return pairing.sampler(faces, sources, targets)
