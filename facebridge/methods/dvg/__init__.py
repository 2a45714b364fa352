"""DVG, dual variational generation (Fu, Wu, Hu, Huang and He, NeurIPS 2019): pairs of people who do not exist.

Two encoders bring a near-infrared and a visible face of one person to a code each; one decoder makes both faces of both
codes. Codes are normal, so noise in their place gives new people, the same for both cameras.
docs/methods/dvg.md lists what is the paper's, what is the authors' code and what is ours.
"""

from collections.abc import Callable
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from facebridge.adversarial import Objective, discriminator_loss, generator_loss, held
from facebridge.crops import Crop
from facebridge.descent import Descent, descend
from facebridge.layers import PatchGan, scatter_weights, signed
from facebridge.losses import divergence
from facebridge.method import Batch, Frozen, SamplingMethod
from facebridge.methods.dvg import networks
from facebridge.methods.dvg.networks import Decoder, Encoder, side
from facebridge.recogniser import Recogniser
from facebridge.streamline import channels_last
from facebridge.translation import Terms, both_sides, weighted

LAYOUTS = networks.LAYOUTS

NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Width = Annotated[int, Field(ge=1)]
Noise = Literal["independent", "shared"]
"""Whether the two codes of a pair have noise of their own, or the same."""
Codes = tuple[Tensor, Tensor]
"""Near-infrared and visible."""

CLOSEST = 1e-6
"""Latent distances below this count as this: the diversity of two equal codes has no bound."""


class Dvg(SamplingMethod["Dvg.Config"]):
    """Make pairs of near-infrared and visible faces of people who do not exist."""

    class Config(Frozen):
        """Defaults: the released code with the weights of its shell script."""

        code_size: Annotated[int, Field(ge=1)] = networks.CODE_SIZE
        """Numbers of a code."""
        encoder_widths: Annotated[tuple[Width, ...], Field(min_length=2)] = networks.ENCODER_WIDTHS
        """Channels of the encoders; their number decides the faces' size, see `networks.Encoder`."""
        decoder_widths: Annotated[tuple[Width, ...], Field(min_length=3)] = networks.DECODER_WIDTHS
        """Channels of the decoder; see `networks.Decoder`."""
        last_blocks: Annotated[int, Field(ge=1)] = networks.LAST_BLOCKS
        """Blocks of the decoder's last stage."""
        noise_in_training: Noise = "independent"
        """How codes are drawn about their means."""
        noise_in_sampling: Noise = "shared"
        """How the codes of new people are drawn; shared, both faces show one person."""
        reconstruction: Literal["sum", "mean"] = "sum"
        """How squared errors of a pair are put together, over channels and pixels."""
        reconstruction_weight: NotNegative = 0.5
        """Weight of the squared errors."""
        kl_weight: NotNegative = 1.0
        """Weight of the distance of the codes from N(0, I), the mean over both cameras."""
        alignment: Literal["means", "wasserstein"] = "means"
        """What of the two cameras' codes must agree: the means of the drawn codes (the code's "MMD"), or means and
        deviations of their distributions (the paper's 2-Wasserstein distance)."""
        alignment_weight: NotNegative = 50.0
        """Weight of the alignment."""
        identity_reduction: Literal["mean", "sum"] = "mean"
        """How squared differences of unit-length embeddings are put together: over a batch the mean either way, over
        the embedding's numbers the mean (the code) or the sum, which is 2 (1 - cosine)."""
        identity_weight: NotNegative = 1000.0
        """Weight of the likeness of each face to the one that it was made of, the mean over both cameras."""
        pair_weight: NotNegative = 5.0
        """Weight of the likeness of the two made faces."""
        first_steps: Annotated[int, Field(ge=0)] = 0
        """Steps at the beginning (the first epoch of the code) in which all but the reconstruction counts less."""
        first_factor: NotNegative = 0.01
        """How much less, as a factor on the weights."""
        adversarial_weight: NotNegative = 0.0
        """Weight of misleading a discriminator (the paper alone); 0: there is none."""
        objective: Objective = "hinge"
        """How the discriminator's scores are judged."""
        discriminator_filters: Annotated[int, Field(ge=1)] = 64
        """Channels of the discriminator's first convolution."""
        discriminator_layers: Annotated[int, Field(ge=1)] = 3
        """Convolutions of the discriminator with stride 2."""
        diversity_weight: NotNegative = 0.0
        """Weight of how far the embeddings of two new people lie apart for the distance of their codes (the paper)."""
        descent: Descent = Descent(kind="adam", learning_rate=2e-4, momentum=0.9, weight_decay=0)
        """How the weights of encoders and decoder descend."""
        discriminator_descent: Descent = Descent(kind="adam", learning_rate=2e-4, momentum=0.5, weight_decay=0)
        """How the weights of the discriminator descend."""

    def __init__(self, config: Config, crop: Crop, recogniser: Recogniser | None = None) -> None:
        super().__init__(config, crop, recogniser)
        _check_size(config, crop)
        self.nir_encoder = Encoder(config.code_size, config.encoder_widths)
        self.vis_encoder = Encoder(config.code_size, config.encoder_widths)
        self.decoder = Decoder(config.code_size, config.decoder_widths, config.last_blocks)
        trained = {"nir_encoder": self.nir_encoder, "vis_encoder": self.vis_encoder, "decoder": self.decoder}
        self.optimisers = {"generator": config.descent.optimiser(trained)}
        self.schedules = {"generator": config.descent.schedule_of(self.optimisers["generator"])}
        if config.adversarial_weight:
            self.discriminator = PatchGan(6, config.discriminator_filters, config.discriminator_layers, "none")
            scatter_weights(self.discriminator)
            told = config.discriminator_descent
            self.optimisers["discriminator"] = told.optimiser({"discriminator": self.discriminator})
            self.schedules["discriminator"] = told.schedule_of(self.optimisers["discriminator"])

    @classmethod
    def settled(cls, config: Config, *, steps: int, num_identities: Callable[[], int]) -> Config:
        return config.model_copy(
            update={
                "descent": config.descent.settled(steps),
                "discriminator_descent": config.discriminator_descent.settled(steps),
            }
        )

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        """One step of encoders and decoder, after one of the discriminator where there is one.

        Args:
            batch: `source` near-infrared and `target` visible faces of the same people, (B, 3, H, W).

        Returns:
            `reconstruction`, `kl`, `alignment`, `identity`, `pair`, where asked for `adversarial`, `discriminator` and
            `diversity`, and `total`. Each is without its weight.

        Raises:
            ValueError: if the batch has no sources.
        """
        nir, vis = both_sides(batch)
        real = torch.cat([nir, vis], 1)
        means, deviations, kl = self._posteriors(nir, vis)
        codes = drawn(means, deviations, self.config.noise_in_training)
        made = self.decoder(torch.cat(codes, 1))
        terms: Terms = {
            "reconstruction": (1.0, reconstruction(made, real, self.config.reconstruction)),
            "kl": (self.config.kl_weight, kl),
            "alignment": (self.config.alignment_weight, self._alignment(codes, means, deviations)),
            **self._identity_terms(made, real),
        }
        losses: dict[str, Tensor] = {}
        if self.config.diversity_weight or self.config.adversarial_weight:
            more, losses = self._terms_of_new_people(made, real)
            terms |= more
        losses |= {name: loss for name, (_, loss) in terms.items()}
        losses["total"] = weighted(self._weighed(terms))
        descend(self, losses["total"], "generator")
        return {name: loss.detach() for name, loss in losses.items()}

    @property
    def noise_size(self) -> int:
        return self.config.code_size * (1 if self.config.noise_in_sampling == "shared" else 2)

    def pairs(self, noise: Tensor) -> dict[str, Tensor]:
        codes = torch.cat([noise, noise], 1) if self.config.noise_in_sampling == "shared" else noise
        made = self.decoder(codes.to(self.decoder.from_code.weight.dtype)).float()
        return {"nir": made[:, :3], "vis": made[:, 3:]}

    def streamline(self, dtype: torch.dtype) -> None:
        for module in self.decoder.modules():
            if isinstance(module, networks.Block):
                module.keep_folded()
        channels_last(self.decoder.to(dtype))

    @torch.no_grad()
    def preview(self, batch: Batch) -> dict[str, Tensor]:
        """Real pairs, what is made of their codes, and new people, the same ones at every step."""
        nir, vis = both_sides(batch)
        means, _, _ = self._posteriors(nir, vis)
        made = self.decoder(torch.cat(means, 1)).float()
        new = self.sample(len(nir), torch.Generator().manual_seed(0))
        columns = {"nir": nir, "nir, made": made[:, :3], "vis": vis, "vis, made": made[:, 3:]}
        return columns | {f"new people, {domain}": faces for domain, faces in new.items()}

    def _posteriors(self, nir: Tensor, vis: Tensor) -> tuple[Codes, Codes, Tensor]:
        """Means and deviations of the codes, and how far they are from N(0, I)."""
        (nir_mean, nir_log), (vis_mean, vis_log) = self.nir_encoder(nir), self.vis_encoder(vis)
        nir_mean, nir_log, vis_mean, vis_log = (part.float() for part in (nir_mean, nir_log, vis_mean, vis_log))
        kl = (divergence(nir_mean, nir_log) + divergence(vis_mean, vis_log)) / 2
        return (nir_mean, vis_mean), ((nir_log / 2).exp(), (vis_log / 2).exp()), kl

    def _alignment(self, codes: Codes, means: Codes, deviations: Codes) -> Tensor:
        if self.config.alignment == "means":
            return (codes[0].mean(0) - codes[1].mean(0)).abs().mean()
        return wasserstein(means, deviations)

    def _identity_terms(self, made: Tensor, real: Tensor) -> Terms:
        if not self.config.identity_weight and not self.config.pair_weight:
            return {}
        with torch.no_grad():
            wanted = self._embedded(real)
        found = self._embedded(made)
        reduction = self.config.identity_reduction
        identity = sum(squared_difference(*both, reduction) for both in zip(found, wanted, strict=True)) / 2
        return {
            "identity": (self.config.identity_weight, torch.as_tensor(identity)),
            "pair": (self.config.pair_weight, squared_difference(*found, reduction)),
        }

    def _terms_of_new_people(self, made: Tensor, real: Tensor) -> tuple[Terms, dict[str, Tensor]]:
        """Terms of the paper alone, and the discriminator's loss, after its step."""
        noise = torch.randn(len(made), self.noise_size, device=made.device)
        new = torch.cat(list(self.pairs(noise).values()), 1)
        terms: Terms = {}
        losses: dict[str, Tensor] = {}
        if self.config.diversity_weight:
            terms["diversity"] = (self.config.diversity_weight, diversity(noise, self._embedded(new)))
        if self.config.adversarial_weight:
            fakes = signed(torch.cat([made, new]))
            losses["discriminator"] = discriminator_loss(
                self.discriminator(signed(real)), self.discriminator(fakes.detach()), self.config.objective
            )
            descend(self, losses["discriminator"], "discriminator")
            with held(self.discriminator):
                scores = self.discriminator(fakes)
            terms["adversarial"] = (self.config.adversarial_weight, generator_loss(scores, self.config.objective))
        return terms, losses

    def _embedded(self, pairs: Tensor) -> Codes:
        """Unit-length embeddings of both faces of pairs (B, 6, H, W), seen by the recogniser together."""
        if self.recogniser is None:
            raise ValueError("the identity losses need a recogniser: add [recogniser] to the recipe")
        nir, vis = self.recogniser.embed(torch.cat([pairs[:, :3], pairs[:, 3:]]).float(), self.crop).chunk(2)
        return nir, vis

    def _weighed(self, terms: Terms) -> Terms:
        """The terms with the weights of this step."""
        config = self.config
        is_first = self.schedules["generator"].last_epoch < config.first_steps
        factor = config.first_factor if is_first else 1.0
        return {
            name: (config.reconstruction_weight if name == "reconstruction" else factor * weight, loss)
            for name, (weight, loss) in terms.items()
        }


def drawn(means: Codes, deviations: Codes, noise: Noise) -> Codes:
    """Codes about their means; draws come from torch's own generator."""
    first = torch.randn_like(means[0])
    second = first if noise == "shared" else torch.randn_like(means[1])
    return means[0] + deviations[0] * first, means[1] + deviations[1] * second


def reconstruction(made: Tensor, real: Tensor, reduction: Literal["sum", "mean"]) -> Tensor:
    """Squared errors (B, C, H, W): the mean over the batch of their sums, or of their means."""
    squared = (made.float() - real.float()).square().flatten(1)
    return (squared.sum(1) if reduction == "sum" else squared.mean(1)).mean()


def wasserstein(means: Codes, deviations: Codes) -> Tensor:
    """Half the squared 2-Wasserstein distance of two normal distributions with the batch's mean parameters.

    (|mean_N - mean_V|^2 + |deviation_N - deviation_V|^2) / 2 of vectors (D,): DVG's L_dist as recalled.
    """
    parts = [(nir.mean(0) - vis.mean(0)).square().sum() for nir, vis in (means, deviations)]
    return (parts[0] + parts[1]) / 2


def squared_difference(one: Tensor, other: Tensor, reduction: Literal["mean", "sum"]) -> Tensor:
    """Of embeddings (B, D): the mean over B of the mean or the sum over D of the squared differences."""
    squared = (one - other).square()
    return squared.mean() if reduction == "mean" else squared.sum(1).mean()


def diversity(noise: Tensor, embeddings: Codes) -> Tensor:
    """-mean of |F(x_1) - F(x_2)| / |z_1 - z_2| over neighbours in the batch, of both cameras.

    The ratio of Mao et al. (mode seeking, CVPR 2019), which the diversity loss of DVG is recalled to be.

    Args:
        noise: (B, D), B at least 2.
        embeddings: of the people made of it, near-infrared and visible, each (B, E).
    """
    apart = torch.linalg.vector_norm(noise - noise.roll(1, 0), dim=1).clamp(min=CLOSEST)
    ratios = [torch.linalg.vector_norm(found - found.roll(1, 0), dim=1) / apart for found in embeddings]
    return -torch.stack(ratios).mean()


def _check_size(config: Dvg.Config, crop: Crop) -> None:
    sizes = {side(len(config.encoder_widths) - 1), side(len(config.decoder_widths) - 2)}
    if len(sizes) != 1:
        raise ValueError(
            f"{len(config.encoder_widths)} encoder_widths are for faces of {side(len(config.encoder_widths) - 1)} px, "
            f"{len(config.decoder_widths)} decoder_widths for {side(len(config.decoder_widths) - 2)} px: "
            "decoder_widths has one more than encoder_widths"
        )
    size = sizes.pop()
    if (crop.height, crop.width) != (size, size):
        raise ValueError(
            f"crop {crop.name} is {crop.height}x{crop.width} px, and the widths are for faces of {size}x{size}: choose "
            f"another crop, such as light_cnn_{size}, or other widths"
        )
