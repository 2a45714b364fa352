"""Embedded faces: drawn people, photographed by two cameras, with everything known of them."""

from facebridge.data.synthetic.folder import render_to
from facebridge.data.synthetic.people import Person, identity_parameters
from facebridge.data.synthetic.rendering import DOMAINS, Shots, render
from facebridge.data.synthetic.shots import EXPRESSIONS, Shot, shot_parameters
from facebridge.data.synthetic.stream import SyntheticFaces
from facebridge.data.synthetic.truth import Part

__all__ = [
    "DOMAINS",
    "EXPRESSIONS",
    "Part",
    "Person",
    "Shot",
    "Shots",
    "SyntheticFaces",
    "identity_parameters",
    "render",
    "render_to",
    "shot_parameters",
]
