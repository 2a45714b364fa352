"""DVG-Face's identity sampler (Fu et al., TPAMI 2021): embeddings of people who do not exist.

The sampler is the decoder of a variational autoencoder (Kingma and Welling, ICLR 2014) that was trained on a
recogniser's embeddings. Its network is published, its training never was: this one is ours.
docs/methods/identity_sampler.md lists what is published and what is ours.
"""

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from facebridge.crops import Crop
from facebridge.descent import Descent, descend
from facebridge.losses import divergence
from facebridge.method import Batch, Frozen, Method
from facebridge.recogniser import Recogniser
from facebridge.translation import Terms, weighted
from facebridge.weights import Layout, dimension, each

SLOPE = 0.2
"""Of every leaky ReLU below 0."""

SHARPNESS = (2.0, 5.0, 10.0, 20.0)
"""Of the kernels that compare sampled with real embeddings; from differences of all people to those of lookalikes."""

Size = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0)]


class VariationalSettings(Frozen):
    """The sampler, and the autoencoder that it is trained in. Defaults: the published network, the rest ours."""

    identity_size: Size = 256
    """Numbers of an embedding: the recogniser's embedding size."""
    identity_noise_size: Size = 256
    """Numbers from N(0, 1) that decide a sampled embedding."""
    sampler_widths: tuple[Size, ...] = (1024, 1024, 512)
    """Hidden units of the sampler, from the noise on."""
    autoencoder_widths: tuple[Size, ...] = (512, 1024)
    """Hidden units of the encoder that the sampler is trained with."""
    kl_weight: Weight = 1e-3
    """Weight of the divergence from N(0, 1), summed over the noise's numbers; see the method's page for the scale."""
    match_weight: Weight = 10.0
    """Weight of the discrepancy between sampled and real embeddings; 0: a plain variational autoencoder."""


class IdentitySampler(Method["IdentitySampler.Config"]):
    """Learn to sample embeddings of new people from the embeddings of real ones."""

    class Config(VariationalSettings):
        """Defaults: the published sampler; how it is trained is ours."""

        identity_weight: Weight = 1.0
        """Weight of 1 - cos between an embedding and what the autoencoder makes of it."""
        descent: Descent = Descent(kind="adam", learning_rate=1e-3, momentum=0.9, weight_decay=0)
        """How the weights of both networks descend."""

    def __init__(self, config: Config, crop: Crop, recogniser: Recogniser | None = None) -> None:
        super().__init__(config, crop, recogniser)
        check_identity_size(config.identity_size, recogniser)
        self.identity_sampler = Sampler(config.identity_noise_size, config.sampler_widths, config.identity_size)
        self.identity_encoder = encoder_of(config)
        networks = {"encoder": self.identity_encoder, "sampler": self.identity_sampler}
        self.optimisers = {"sampler": config.descent.optimiser(networks)}
        self.schedules = {"sampler": config.descent.schedule_of(self.optimisers["sampler"])}

    @classmethod
    def settled(cls, config: Config, *, steps: int, num_identities: Callable[[], int]) -> Config:
        return config.model_copy(update={"descent": config.descent.settled(steps)})

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        """One step of the autoencoder.

        Args:
            batch: `target`: faces (B, 3, crop.height, crop.width); nothing else of it counts.

        Returns:
            `identity`, `divergence`, with `match_weight` `match`; `total`.

        Raises:
            ValueError: if there is no recogniser.
        """
        embeddings = identities_of(self.recogniser, batch["target"], self.crop)
        terms = variational_terms(self.identity_encoder, self.identity_sampler, embeddings, self.config)
        terms["identity"] = self.config.identity_weight, terms["identity"][1]
        total = weighted(terms)
        descend(self, total, "sampler")
        losses = {name: loss for name, (_, loss) in terms.items()} | {"total": total}
        return {name: loss.detach() for name, loss in losses.items()}

    @torch.no_grad()
    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Embeddings (count, identity_size) float32 of length 1 of new people.

        Args:
            count: how many people.
            generator: draws the noise, on the CPU; None: torch's own.
        """
        noise = torch.randn(count, self.config.identity_noise_size, generator=generator)
        embeddings: Tensor = self.identity_sampler(noise.to(next(self.parameters()).device))
        return embeddings


class Sampler(nn.Module):
    """Noise (B, noise_size) from N(0, 1) -> embeddings (B, identity_size) of length 1.

    Args:
        noise_size: numbers of the noise.
        widths: hidden units of each inner layer.
        identity_size: numbers of an embedding.
    """

    def __init__(
        self, noise_size: int = 256, widths: tuple[int, ...] = (1024, 1024, 512), identity_size: int = 256
    ) -> None:
        super().__init__()
        self.layers = _linear([noise_size, *widths, identity_size])

    def forward(self, noise: Tensor) -> Tensor:
        return functional.normalize(through(self.layers, noise), dim=1)


class IdentityEncoder(nn.Module):
    """Embeddings (B, identity_size) -> means and log variances (B, noise_size) of the noise they may come from."""

    def __init__(self, identity_size: int, widths: tuple[int, ...], noise_size: int) -> None:
        super().__init__()
        self.layers = _linear([identity_size, *widths, 2 * noise_size])

    def forward(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        means, log_variances = through(self.layers, embeddings).chunk(2, 1)
        return means, log_variances


def through(layers: nn.ModuleList, values: Tensor) -> Tensor:
    """Linear layers with leaky ReLUs between them."""
    for layer in layers[:-1]:
        values = functional.leaky_relu(layer(values), SLOPE)
    last: Tensor = layers[-1](values)
    return last


def encoder_of(settings: VariationalSettings) -> IdentityEncoder:
    """The encoder that a sampler of these settings is trained with."""
    return IdentityEncoder(settings.identity_size, settings.autoencoder_widths, settings.identity_noise_size)


def variational_terms(
    encoder: nn.Module, sampler: nn.Module, embeddings: Tensor, settings: VariationalSettings
) -> Terms:
    """What the autoencoder costs for embeddings (B, identity_size) of length 1; noise from torch's own generator.

    `identity`: mean of 1 - cos. `divergence`: from N(0, 1), summed over the numbers of the noise, the mean over the
    batch. `match`, where its weight is not 0: `discrepancy` between as many sampled embeddings and the real ones.
    """
    means, log_variances = (part.float() for part in encoder(embeddings))
    noise = means + (log_variances / 2).exp() * _normal(means)
    made = sampler(noise).float()
    terms: Terms = {
        "identity": (1.0, 1 - functional.cosine_similarity(made, embeddings).mean()),
        "divergence": (settings.kl_weight, divergence(means, log_variances)),
    }
    if settings.match_weight:
        terms["match"] = settings.match_weight, discrepancy(sampler(_normal(means)).float(), embeddings)
    return terms


def discrepancy(sampled: Tensor, real: Tensor) -> Tensor:
    """Squared maximum mean discrepancy of two sets (B, D) of length 1, without bias: about 0 where they lie alike.

    Gretton et al., JMLR 2012, eq. 3, with the mean of the kernels exp(t (cos - 1)), t each of `SHARPNESS`.

    Raises:
        ValueError: if a set has fewer than two rows.
    """
    if min(len(sampled), len(real)) < 2:
        raise ValueError("match_weight compares sets of embeddings: it needs two faces or more in a batch")
    with torch.autocast(sampled.device.type, enabled=False):
        crossing = _kernel(sampled @ real.T).mean()
        inner = [(_kernel(one @ one.T).sum() - len(one)) / (len(one) * (len(one) - 1)) for one in (sampled, real)]
    return inner[0] + inner[1] - 2 * crossing


def identities_of(recogniser: Recogniser | None, faces: Tensor, crop: Crop) -> Tensor:
    """The frozen recogniser's embeddings (B, D) of length 1, without gradients.

    Raises:
        ValueError: if there is no recogniser.
    """
    if recogniser is None:
        raise ValueError("who a face shows is a recogniser's embedding: add [recogniser] with a name to the recipe")
    with torch.no_grad():
        return recogniser.embed(faces, crop)


def check_identity_size(identity_size: int, recogniser: Recogniser | None) -> None:
    """ValueError: if the recogniser's embeddings are of another size."""
    if recogniser is not None and recogniser.embedding_size != identity_size:
        raise ValueError(
            f"{recogniser.name} gives embeddings of {recogniser.embedding_size} numbers, not of {identity_size}: set "
            f"settings.identity_size={recogniser.embedding_size}, or take another recogniser"
        )


def _kernel(cosines: Tensor) -> Tensor:
    return torch.stack([torch.exp(sharpness * (cosines - 1)) for sharpness in SHARPNESS]).mean(0)


def _normal(like: Tensor) -> Tensor:
    return torch.randn(like.shape).to(like)


def _linear(sizes: list[int]) -> nn.ModuleList:
    return nn.ModuleList(nn.Linear(inside, outside) for inside, outside in zip(sizes, sizes[1:], strict=False))


def _published(name: str) -> str:
    # A leaky ReLU stands between two published layers.
    return re.sub(r"^layers\.(\d+)", lambda found: f"fc.{2 * int(found[1])}", name)


def _sizes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    places = sorted(int(found[1]) for found in (re.fullmatch(r"fc\.(\d+)\.weight", name) for name in state) if found)
    outside = [dimension(state, f"fc.{place}.weight", 0, 0) for place in places]
    return {
        "noise_size": dimension(state, "fc.0.weight", 1, 256),
        "widths": tuple(outside[:-1]),
        "identity_size": outside[-1] if outside else 256,
    }


LAYOUTS = (Layout(name="dvg_face_identity_sampler", build=Sampler, published=each(_published), sizes=_sizes),)
