"""FaceBridge: hallucinate the face a matcher knows, and measure whether recognition got better."""

from importlib import metadata

from facebridge.runs import load

__all__ = ["__version__", "load"]

__version__ = metadata.version("facebridge")
