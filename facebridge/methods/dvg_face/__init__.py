"""DVG-Face (Fu, Wu, Hu, Huang and He, TPAMI 2021): near-infrared and visible faces of people who do not exist.

An encoder for each camera says how a face was taken, a frozen recogniser who it shows, a decoder makes faces of both
cameras from the two. New people are sampled embeddings. docs/methods/dvg_face.md lists what is the authors' code and
what is ours.
"""

from collections.abc import Callable
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from facebridge.adversarial import discriminator_loss, generator_loss, held
from facebridge.crops import Crop
from facebridge.descent import Descent, descend
from facebridge.layers import PatchGan, scatter_weights, signed
from facebridge.method import Batch, SamplingMethod
from facebridge.methods.dvg_face.kept_pairs import KeptPairs
from facebridge.methods.dvg_face.networks import LAYOUTS as LAYOUTS
from facebridge.methods.dvg_face.networks import Decoder, Domain, Encoder
from facebridge.methods.identity_sampler import (
    Sampler,
    Size,
    VariationalSettings,
    Weight,
    check_identity_size,
    encoder_of,
    identities_of,
    variational_terms,
)
from facebridge.recogniser import Recogniser
from facebridge.translation import Terms, both_sides, weighted

DOMAINS: tuple[Domain, ...] = ("nir", "vis")

PREVIEW_SEED = 0
"""The people sampled for a preview are the same at every step."""

ByDomain = dict[Domain, Tensor]
"""Something of each camera, all of one pair in the same place; faces are (B, 3, size, size) in [0, 1]."""


class DvgFace(SamplingMethod["DvgFace.Config"]):
    """Make near-infrared and visible faces of sampled people, with the attributes of training pairs."""

    class Config(VariationalSettings):
        """Defaults: the authors' code for 128 px; those of `VariationalSettings` and of the options are ours.

        Attribute codes have as many numbers as embeddings, so that they can be orthogonal.
        """

        num_filters: Size = 32
        """Channels of the outermost convolutions of all networks."""
        style_widths: tuple[Size, ...] = (1024, 2048)
        """Hidden units between an attribute code and its style."""
        orthogonality_weight: Weight = 50.0
        """Weight of the attribute codes' cosine with the embedding."""
        pixel_weight: Weight = 100.0
        """Weight of the L1 losses."""
        swapped_pixel_weight: Weight = 0.1
        """Weight among them of faces with another person's embedding."""
        sampled_pixel_weight: Weight = 0.1
        """Weight among them of faces with a sampled embedding."""
        identity_weight: Weight = 0.1
        """Weight of the cosines with who a face should show."""
        pair_weight: Weight = 0.05
        """Weight among them of the cosine between the two faces of a pair."""
        adversarial_weight: Weight = 0.0
        """Weight of passing a discriminator of sampled pairs; 0: none, as in the code."""
        discriminator_filters: Size = 64
        """Channels of the discriminator's first convolution."""
        discriminator_layers: Size = 3
        """Convolutions of the discriminator with stride 2; 3: a score sees 70 x 70 px."""
        codes_kept: Size = 4096
        """Last training pairs whose attribute codes sampling chooses from."""
        identity_sampler_learns: bool = False
        """Whether the identity sampler is trained along, on the embeddings of the kept pairs; else it comes trained."""
        sampler_batch: Annotated[int, Field(ge=2)] = 256
        """Kept embeddings that a step of the sampler learns from, at most."""
        descent: Descent = Descent(kind="adam", learning_rate=2e-4, momentum=0.5, weight_decay=0)
        """How the weights of encoders and decoder descend, and those of the discriminator."""
        sampler_descent: Descent = Descent(kind="adam", learning_rate=1e-3, momentum=0.9, weight_decay=0)
        """How the weights of the identity sampler and its encoder descend, where it learns."""

    def __init__(self, config: Config, crop: Crop, recogniser: Recogniser | None = None) -> None:
        super().__init__(config, crop, recogniser)
        check_identity_size(config.identity_size, recogniser)
        if crop.height != crop.width:
            raise ValueError(f"crop {crop.name} is {crop.height}x{crop.width} px; DVG-Face's networks take squares")
        self.nir_encoder, self.vis_encoder = (
            Encoder(config.num_filters, config.identity_size, config.style_widths, crop.height) for _ in DOMAINS
        )
        self.decoder = Decoder(config.num_filters, config.identity_size, config.identity_size, crop.height)
        self.identity_sampler = Sampler(config.identity_noise_size, config.sampler_widths, config.identity_size)
        learns = config.identity_sampler_learns
        self.identity_sampler.requires_grad_(learns)
        self.kept = KeptPairs(config.codes_kept, config.identity_size, config.identity_size if learns else 0)
        trained: dict[str, tuple[Descent, dict[str, nn.Module]]] = {
            "generator": (
                config.descent,
                {"decoder": self.decoder, "nir_encoder": self.nir_encoder, "vis_encoder": self.vis_encoder},
            )
        }
        if config.adversarial_weight:
            self.discriminator = PatchGan(6, config.discriminator_filters, config.discriminator_layers)
            scatter_weights(self.discriminator)
            trained["discriminator"] = config.descent, {"discriminator": self.discriminator}
        if learns:
            self.identity_encoder = encoder_of(config)
            networks = {"encoder": self.identity_encoder, "sampler": self.identity_sampler}
            trained["sampler"] = config.sampler_descent, networks
        self.optimisers = {name: descent.optimiser(modules) for name, (descent, modules) in trained.items()}
        self.schedules = {name: trained[name][0].schedule_of(each) for name, each in self.optimisers.items()}

    @classmethod
    def settled(cls, config: Config, *, steps: int, num_identities: Callable[[], int]) -> Config:
        return config.model_copy(
            update={
                "descent": config.descent.settled(steps),
                "sampler_descent": config.sampler_descent.settled(steps),
            }
        )

    @classmethod
    def given_networks(cls, config: Config) -> tuple[str, ...]:
        return () if config.identity_sampler_learns else ("identity_sampler",)

    @property
    def noise_size(self) -> int:
        """The identity sampler's numbers, and one that chooses the pair whose attributes are taken."""
        return self.config.identity_noise_size + 1

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        """One step of encoders and decoder; where they are trained, of the discriminator before and the sampler after.

        Args:
            batch: `source` (near-infrared) and `target` (visible): faces (B, 3, crop.height, crop.width) of the same
                people.

        Returns:
            `orthogonality`, `pixel`, `identity`, `adversarial` (those whose weight is not 0), `total`; `discriminator`;
            `sampler_identity`, `sampler_divergence`, `sampler_match`.

        Raises:
            ValueError: if the batch has no sources, or there is no recogniser.
        """
        faces: ByDomain = dict(zip(DOMAINS, both_sides(batch), strict=True))
        identities = identities_of(self.recogniser, faces["vis"], self.crop)
        sampled = self._sampled(identities)
        codes: ByDomain = {}
        styles: ByDomain = {}
        codes["nir"], styles["nir"] = self.nir_encoder(faces["nir"])
        codes["vis"], styles["vis"] = self.vis_encoder(faces["vis"])
        people = torch.cat([identities, identities.roll(1, 0), sampled])
        made = {
            domain: self.decoder(people, codes[domain].repeat(3, 1), styles[domain].repeat(3, 1), domain).float()
            for domain in DOMAINS
        }
        rebuilt, swapped, new = ({domain: made[domain].chunk(3)[part] for domain in DOMAINS} for part in range(3))
        self.kept.keep(codes["nir"], codes["vis"], identities)
        losses = self._train_discriminator(faces, new) if self.config.adversarial_weight else {}
        terms: Terms = {
            "orthogonality": (self.config.orthogonality_weight, orthogonality(codes, identities)),
            "pixel": (self.config.pixel_weight, self._pixel(faces, rebuilt, swapped, new)),
        }
        if self.config.identity_weight:
            terms["identity"] = self.config.identity_weight, self._identity(rebuilt, identities, new, sampled)
        losses |= self._train_generator(terms, new)
        return losses | (self._train_sampler() if self.config.identity_sampler_learns else {})

    @torch.no_grad()
    def pairs(self, noise: Tensor) -> dict[str, Tensor]:
        """As `SamplingMethod.pairs`: `nir` and `vis`.

        Raises:
            ValueError: if it was never trained, so that there are no attributes to choose from.
        """
        codes = dict(zip(DOMAINS, self.kept.of(noise[:, -1]), strict=True))
        identities = self.identity_sampler(noise[:, :-1]).to(self.kept.nir.dtype)
        styles = {"nir": self.nir_encoder.style(codes["nir"]), "vis": self.vis_encoder.style(codes["vis"])}
        return {domain: self.decoder(identities, codes[domain], styles[domain], domain).float() for domain in DOMAINS}

    def streamline(self, dtype: torch.dtype) -> None:
        """As `SamplingMethod.streamline`; who is sampled stays as exact as it was."""
        for network in (self.nir_encoder, self.vis_encoder, self.decoder, self.kept):
            network.to(dtype)

    @torch.no_grad()
    def preview(self, batch: Batch) -> dict[str, Tensor]:
        """Source and target, both as they are rebuilt, and a sampled person with the attributes of each."""
        faces: ByDomain = dict(zip(DOMAINS, both_sides(batch), strict=True))
        identities = identities_of(self.recogniser, faces["vis"], self.crop)
        draw = torch.Generator().manual_seed(PREVIEW_SEED)
        noise = torch.randn(len(identities), self.config.identity_noise_size, generator=draw)
        sampled = self.identity_sampler(noise.to(identities)).to(identities)
        columns = {"source": faces["nir"], "target": faces["vis"]}
        taken = {"nir": self.nir_encoder(faces["nir"]), "vis": self.vis_encoder(faces["vis"])}
        for title, people in (("rebuilt", identities), ("new", sampled)):
            for domain in DOMAINS:
                columns[f"{title} {domain}"] = self.decoder(people, *taken[domain], domain).float()
        return columns

    def _sampled(self, like: Tensor) -> Tensor:
        """As many sampled embeddings; encoders and decoder teach the sampler nothing."""
        noise = torch.randn(len(like), self.config.identity_noise_size)
        with torch.no_grad():
            sampled: Tensor = self.identity_sampler(noise.to(like))
        return sampled.to(like)

    def _pixel(self, faces: ByDomain, rebuilt: ByDomain, swapped: ByDomain, new: ByDomain) -> Tensor:
        config = self.config
        shown = ((1.0, rebuilt), (config.swapped_pixel_weight, swapped), (config.sampled_pixel_weight, new))
        return torch.stack(
            [weight * functional.l1_loss(made[domain], faces[domain]) for weight, made in shown for domain in DOMAINS]
        ).sum()

    def _identity(self, rebuilt: ByDomain, identities: Tensor, new: ByDomain, sampled: Tensor) -> Tensor:
        """Cosines of who faces show with who they should, and of the faces of a pair with each other; negative."""
        assert self.recogniser is not None
        shown = torch.cat([made[domain] for made in (rebuilt, new) for domain in DOMAINS])
        nir, vis, new_nir, new_vis = self.recogniser.embed(shown, self.crop).chunk(4)
        cosines = []
        for first, second, wanted in ((nir, vis, identities), (new_nir, new_vis, sampled)):
            cosines += [cosine(first, wanted), cosine(second, wanted), self.config.pair_weight * cosine(first, second)]
        return -torch.stack(cosines).sum()

    def _train_discriminator(self, faces: ByDomain, new: ByDomain) -> dict[str, Tensor]:
        real, fake = self.discriminator(together(faces)), self.discriminator(together(new).detach())
        told = discriminator_loss(real, fake, "hinge")
        descend(self, told, "discriminator")
        return {"discriminator": told.detach()}

    def _train_generator(self, terms: Terms, new: ByDomain) -> dict[str, Tensor]:
        weight = self.config.adversarial_weight
        with held(*([self.discriminator] if weight else [])):
            if weight:
                terms["adversarial"] = weight, generator_loss(self.discriminator(together(new)), "hinge")
            total = weighted(terms)
            descend(self, total, "generator")
        losses = {name: loss for name, (_, loss) in terms.items()} | {"total": total}
        return {name: loss.detach() for name, loss in losses.items()}

    def _train_sampler(self) -> dict[str, Tensor]:
        embeddings = self.kept.drawn_identities(self.config.sampler_batch)
        terms = variational_terms(self.identity_encoder, self.identity_sampler, embeddings, self.config)
        descend(self, weighted(terms), "sampler")
        return {f"sampler_{name}": loss.detach() for name, (_, loss) in terms.items()}


def orthogonality(codes: ByDomain, identities: Tensor) -> Tensor:
    """Mean absolute cosine of attribute codes with embeddings, both (B, D) of length 1, summed over the cameras."""
    return torch.stack([(codes[domain].float() * identities).sum(1).abs().mean() for domain in DOMAINS]).sum()


def cosine(first: Tensor, second: Tensor) -> Tensor:
    """Mean cosine of rows (B, D) of length 1."""
    return (first * second).sum(1).mean()


def together(faces: ByDomain) -> Tensor:
    """What the discriminator judges: both faces of a pair (B, 6, size, size) in [-1, 1]."""
    return signed(torch.cat([faces[domain] for domain in DOMAINS], 1))
