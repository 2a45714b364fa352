"""Which rows stand together in a batch: single faces, pairs, several pictures of a person, real and generated ones."""

from facebridge.data.samplers.mixed import RealAndGenerated
from facebridge.data.samplers.partners import ProfileToFrontal, SamePerson, SameShot
from facebridge.data.samplers.sampler import Labels, Rows, Sample, Sampler, Shuffle
from facebridge.data.samplers.several import SeveralOfOnePerson
from facebridge.data.samplers.single import SingleFaces
from facebridge.data.samplers.unpaired import Unpaired

__all__ = [
    "Labels",
    "ProfileToFrontal",
    "RealAndGenerated",
    "Rows",
    "SamePerson",
    "SameShot",
    "Sample",
    "Sampler",
    "SeveralOfOnePerson",
    "Shuffle",
    "SingleFaces",
    "Unpaired",
]
