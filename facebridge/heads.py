"""Classification heads: from features to logits of the training identities, with a margin for the true one.

theta is the angle between a feature x and the weights W_j of an identity j; every head is trained with cross entropy.

    softmax     W_j x + b_j
    A-Softmax   |x| psi(theta_y) for the true identity y, |x| cos(theta_j) for the others   (Liu et al. 2017)
    CosFace     s (cos(theta_y) - m),   s cos(theta_j)                                      (Wang et al. 2018)
    ArcFace     s cos(theta_y + m),     s cos(theta_j)                                      (Deng et al. 2019)

Logits are computed in float32 under autocast too: near 1, bfloat16 knows a cosine to 1/256 only, which a scale of 64
turns into steps of 1/4.
"""

import math
from abc import ABC, abstractmethod
from typing import Annotated, Literal, get_args

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from facebridge.method import Frozen

A_SOFTMAX_MARGIN = 4
"""m of the published SphereFace models; the paper tries 1 to 4."""
LARGEST_A_SOFTMAX_MARGIN = 5
"""The largest m of the published ports."""
FIRST_LAMBDA, DECAY, SMALLEST_LAMBDA = 1000.0, 0.12, 5.0
"""Annealing of A-Softmax in the authors' caffe model; the PyTorch port (clcarwin) has 1500, 0.1 and 5."""

COSFACE_SCALE, COSFACE_MARGIN = 64.0, 0.35
"""Sections 4.1 and 4.2 of the paper: margins from 0 to 0.45 were tried, above that training failed."""
LARGEST_COSFACE_MARGIN = 2.0
"""All that two cosines can differ by; Eq. 7 of the paper bounds it by C / (C - 1) for C identities."""

ARCFACE_SCALE, ARCFACE_MARGIN = 64.0, 0.5
"""The paper's; the MobileFaceNet port (Xiaoccer) has scale 32."""
LARGEST_ARCFACE_MARGIN = math.pi / 2
"""Radians. Beyond it angle + margin passes pi where the easy rule adds it, and soon the safe rule jumps up at pi."""

Rule = Literal["safe", "easy"]
"""What ArcFace does with large angles; see `ArcFaceHead`."""


class Head(nn.Module, ABC):
    """Logits of the training identities, from features of any length.

    Args:
        embedding_size: D, the size of a feature.
        num_identities: N, how many people the training faces show.

    ValueError: if either is under 1.
    """

    weight: nn.Parameter
    """(N, D): one row an identity."""

    def __init__(self, embedding_size: int, num_identities: int) -> None:
        super().__init__()
        if embedding_size < 1 or num_identities < 1:
            raise ValueError(f"no head tells {num_identities} identities apart by features of size {embedding_size}")
        self.weight = nn.Parameter(torch.empty(num_identities, embedding_size))

    @abstractmethod
    def forward(self, features: Tensor, identities: Tensor) -> Tensor:
        """Logits (B, N) float32 for cross entropy, of features (B, D) and true identities (B,) int64."""

    @abstractmethod
    def logits(self, features: Tensor) -> Tensor:
        """Logits (B, N) float32 without a margin, to predict who features (B, D) are."""


class SoftmaxHead(Head):
    """W x + b: plain softmax.

    First weights as the published Light CNN: PyTorch's default of a linear layer (the caffe original: xavier). Its nets
    9 and 29 have a bias, 29v2 has none.

    ValueError: if a size is under 1.
    """

    def __init__(self, embedding_size: int, num_identities: int, bias: bool = True) -> None:
        super().__init__(embedding_size, num_identities)
        bound = embedding_size**-0.5
        nn.init.uniform_(self.weight, -bound, bound)
        self.bias = nn.Parameter(torch.empty(num_identities).uniform_(-bound, bound)) if bias else None

    def forward(self, features: Tensor, identities: Tensor) -> Tensor:
        return self.logits(features)

    def logits(self, features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            return functional.linear(features.to(self.weight.dtype), self.weight, self.bias)


class ASoftmaxHead(Head):
    """|x| (lambda cos(theta) + psi(theta)) / (1 + lambda) for the true identity, |x| cos(theta) for the others.

    Eq. 7 of Liu et al. 2017 (SphereFace): rows of W of length 1, no bias, features keep their length. The authors' code
    adds lambda = max(smallest_lambda, first_lambda / (1 + decay * iteration)), which begins near softmax; the first
    forward in training is iteration 1, in their caffe layer as in the PyTorch port. `iteration` is a buffer, so that a
    checkpoint resumes it; in evaluation it stands still.

    First weights as in both: points of a uniform cube, made length 1. The caffe layer makes the rows length 1 again at
    each pass and rescales its gradients; here, as in the port, the gradient is that of the equation.

    ValueError: if a size is under 1, the margin is not 1 to 5, or a number of the annealing is negative.
    """

    iteration: Tensor
    """int64 scalar: forwards in training so far."""

    def __init__(
        self,
        embedding_size: int,
        num_identities: int,
        margin: int = A_SOFTMAX_MARGIN,
        first_lambda: float = FIRST_LAMBDA,
        decay: float = DECAY,
        smallest_lambda: float = SMALLEST_LAMBDA,
    ) -> None:
        super().__init__(embedding_size, num_identities)
        if margin not in range(1, LARGEST_A_SOFTMAX_MARGIN + 1):
            raise ValueError(
                f"the margin of A-Softmax is a whole number from 1 to {LARGEST_A_SOFTMAX_MARGIN}, not {margin}"
            )
        annealing = {"first_lambda": first_lambda, "decay": decay, "smallest_lambda": smallest_lambda}
        for name, value in annealing.items():
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} is a number from 0, not {value}")
        self.margin, self.first_lambda, self.decay, self.smallest_lambda = margin, first_lambda, decay, smallest_lambda
        self.register_buffer("iteration", torch.zeros((), dtype=torch.int64))
        with torch.no_grad():
            self.weight.copy_(functional.normalize(nn.init.uniform_(self.weight, -1, 1)))

    def forward(self, features: Tensor, identities: Tensor) -> Tensor:
        if self.training:
            self.iteration += 1
        lengths, cosine = _lengths(features, self.weight), _cosine(features, self.weight)
        true, annealing = _of(identities, cosine), self.annealing()
        true = (annealing * true + _psi(true, self.margin)) / (1 + annealing)
        return lengths * _with(identities, true, cosine)

    def logits(self, features: Tensor) -> Tensor:
        return _lengths(features, self.weight) * _cosine(features, self.weight)

    def annealing(self) -> Tensor:
        """lambda at the present iteration: float32 scalar on the device of the head."""
        return (self.first_lambda / (1 + self.decay * self.iteration)).clamp(min=self.smallest_lambda)


class CosFaceHead(Head):
    """s (cos(theta) - m) for the true identity, s cos(theta) for the others.

    Eq. 4 of Wang et al. 2018 (CosFace, or LMCL): features and rows of W of length 1, no bias. The paper does not say
    how the weights begin; here as for ArcFace: xavier uniform.

    ValueError: if a size is under 1, the scale is not positive, or the margin is not from 0 to 2.
    """

    def __init__(
        self, embedding_size: int, num_identities: int, scale: float = COSFACE_SCALE, margin: float = COSFACE_MARGIN
    ) -> None:
        super().__init__(embedding_size, num_identities)
        _check_scale(scale)
        if not 0 <= margin <= LARGEST_COSFACE_MARGIN:
            raise ValueError(f"the margin of CosFace is a cosine's, from 0 to {LARGEST_COSFACE_MARGIN}, not {margin}")
        self.scale, self.margin = scale, margin
        nn.init.xavier_uniform_(self.weight)

    def forward(self, features: Tensor, identities: Tensor) -> Tensor:
        cosine = _cosine(features, self.weight)
        return self.scale * _with(identities, _of(identities, cosine) - self.margin, cosine)

    def logits(self, features: Tensor) -> Tensor:
        return self.scale * _cosine(features, self.weight)


class ArcFaceHead(Head):
    """s cos(theta + m) for the true identity, s cos(theta) for the others; m in radians.

    Eq. 3 of Deng et al. 2019: features and rows of W of length 1, no bias. The equation leaves open what happens where
    theta + m passes pi and its cosine would rise again; the rules are those of the authors' code:

    safe: from there on cos(theta) - m sin(pi - m), which keeps falling.
    easy: the margin holds only where cos(theta) > 0; at a right angle the true logit jumps up by sin(m).

    First weights as the MobileFaceNet port: xavier uniform.

    ValueError: if a size is under 1, the scale is not positive, the margin not from 0 to pi / 2, or the rule unknown.
    """

    def __init__(
        self,
        embedding_size: int,
        num_identities: int,
        scale: float = ARCFACE_SCALE,
        margin: float = ARCFACE_MARGIN,
        rule: Rule = "safe",
    ) -> None:
        super().__init__(embedding_size, num_identities)
        _check_scale(scale)
        if not 0 <= margin <= LARGEST_ARCFACE_MARGIN:
            raise ValueError(f"the margin of ArcFace is an angle from 0 to pi / 2 in radians, not {margin}")
        if rule not in get_args(Rule):
            raise ValueError(f"the rule of ArcFace is one of {', '.join(get_args(Rule))}, not {rule!r}")
        self.scale, self.margin, self.rule = scale, margin, rule
        nn.init.xavier_uniform_(self.weight)

    def forward(self, features: Tensor, identities: Tensor) -> Tensor:
        cosine = _cosine(features, self.weight)
        true = _of(identities, cosine)
        # The slope of the sine is endless at 0: keep clear of it by the resolution of the numbers.
        sine = (1 - true.square()).clamp(min=torch.finfo(true.dtype).eps).sqrt()
        shifted = true * math.cos(self.margin) - sine * math.sin(self.margin)
        if self.rule == "safe":
            beyond = true - self.margin * math.sin(math.pi - self.margin)
            shifted = torch.where(true > math.cos(math.pi - self.margin), shifted, beyond)
        else:
            shifted = torch.where(true > 0, shifted, true)
        return self.scale * _with(identities, shifted, cosine)

    def logits(self, features: Tensor) -> Tensor:
        return self.scale * _cosine(features, self.weight)


class SoftmaxSettings(Frozen):
    """Plain softmax."""

    kind: Literal["softmax"] = "softmax"
    bias: bool = True
    """Whether each identity has a bias."""

    def build(self, embedding_size: int, num_identities: int) -> Head:
        return SoftmaxHead(embedding_size, num_identities, self.bias)


class ASoftmaxSettings(Frozen):
    """A-Softmax (SphereFace). Defaults: the authors' caffe model."""

    kind: Literal["a_softmax"] = "a_softmax"
    margin: Annotated[int, Field(ge=1, le=LARGEST_A_SOFTMAX_MARGIN)] = A_SOFTMAX_MARGIN
    """m: how many times the angle to the true identity counts."""
    first_lambda: Annotated[float, Field(ge=0, allow_inf_nan=False)] = FIRST_LAMBDA
    """Weight of plain softmax against 1 for the margin, before the first iteration."""
    decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = DECAY
    """How fast that weight falls, per iteration."""
    smallest_lambda: Annotated[float, Field(ge=0, allow_inf_nan=False)] = SMALLEST_LAMBDA
    """Where it stops falling."""

    def build(self, embedding_size: int, num_identities: int) -> Head:
        return ASoftmaxHead(
            embedding_size, num_identities, self.margin, self.first_lambda, self.decay, self.smallest_lambda
        )


class CosFaceSettings(Frozen):
    """CosFace. Defaults: the paper's."""

    kind: Literal["cosface"] = "cosface"
    scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] = COSFACE_SCALE
    """s: the length that every feature is given."""
    margin: Annotated[float, Field(ge=0, le=LARGEST_COSFACE_MARGIN)] = COSFACE_MARGIN
    """m: what is taken off the cosine of the true identity."""

    def build(self, embedding_size: int, num_identities: int) -> Head:
        return CosFaceHead(embedding_size, num_identities, self.scale, self.margin)


class ArcFaceSettings(Frozen):
    """ArcFace. Defaults: the paper's."""

    kind: Literal["arcface"] = "arcface"
    scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] = ARCFACE_SCALE
    """s: the length that every feature is given."""
    margin: Annotated[float, Field(ge=0, le=LARGEST_ARCFACE_MARGIN)] = ARCFACE_MARGIN
    """m: what is added to the angle to the true identity, radians."""
    rule: Rule = "safe"
    """Where angle and margin pass pi the true logit keeps falling (safe), or no margin beyond a right angle (easy)."""

    def build(self, embedding_size: int, num_identities: int) -> Head:
        return ArcFaceHead(embedding_size, num_identities, self.scale, self.margin, self.rule)


HeadSettings = Annotated[
    SoftmaxSettings | ASoftmaxSettings | CosFaceSettings | ArcFaceSettings, Field(discriminator="kind")
]
"""What a recipe says about the head; each kind builds its own."""


def _cosine(features: Tensor, weight: Tensor) -> Tensor:
    """Cosines (B, N) between features (B, D) and the rows of weights (N, D), in the precision of the weights."""
    with torch.autocast(features.device.type, enabled=False):
        return functional.linear(functional.normalize(features.to(weight.dtype)), functional.normalize(weight))


def _lengths(features: Tensor, weight: Tensor) -> Tensor:
    """|x| (B, 1), in the precision of the weights."""
    lengths: Tensor = torch.linalg.vector_norm(features.to(weight.dtype), dim=1, keepdim=True)
    return lengths


def _psi(cosine: Tensor, margin: int) -> Tensor:
    """psi(theta) = (-1)^k cos(m theta) - 2k for theta from k pi / m to (k + 1) pi / m, k < m; falls from 1 to 1 - 2m.

    k counts the borders passed, by their cosines: no arc cosine, whose slope is endless at 0 and pi, and whose rounding
    at pi would give k = m and a slope of the wrong sign.
    """
    k = torch.zeros_like(cosine)
    for border in range(1, margin):
        k += cosine <= math.cos(border * math.pi / margin)
    return (1 - 2 * (k % 2)) * _multiple_angle(cosine, margin) - 2 * k


def _multiple_angle(cosine: Tensor, times: int) -> Tensor:
    """cos(n theta) of cos(theta), n >= 1, by cos((n + 1) theta) = 2 cos(theta) cos(n theta) - cos((n - 1) theta)."""
    before, current = torch.ones_like(cosine), cosine
    for _ in range(times - 1):
        before, current = current, 2 * cosine * current - before
    return current


def _of(identities: Tensor, cosine: Tensor) -> Tensor:
    """The cosines (B, 1) of the true identities (B,) among all (B, N)."""
    return cosine.gather(1, identities[:, None])


def _with(identities: Tensor, true: Tensor, cosine: Tensor) -> Tensor:
    """All cosines (B, N), those of the true identities (B,) replaced by others (B, 1)."""
    return cosine.scatter(1, identities[:, None], true)


def _check_scale(scale: float) -> None:
    if not 0 < scale < math.inf:
        raise ValueError(f"the scale is a number over 0, not {scale}")
