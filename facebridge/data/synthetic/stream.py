"""An endless data set of drawn people: nothing on disk, the same pictures for the same numbers."""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from facebridge.data.synthetic.rendering import DOMAINS, Shots, render

_ORDER_SALT = 3


class SyntheticFaces(IterableDataset[dict[str, Tensor]]):
    """Batches of drawn people, without end.

    Each batch is a dict: "identity" (B,) int64; for every domain its faces (B, 3, S, S) float32 RGB in [0, 1],
    "<domain>_shot" (B,) int64 and "<domain>_landmarks5" (B, 5, 2) float32 pixels.

    pairing "same_shot": all domains of a row show one shot and are pixel-aligned. "same_identity": each domain shows
    a shot of its own of the row's identity. Worker w of n draws batches w, w + n, ... so that n workers together give
    what one gives, in the same order through a DataLoader with batch_size=None.

    ValueError: if a domain or the pairing is unknown, or a range is empty.
    """

    def __init__(
        self,
        seed: int,
        *,
        identities: range,
        shots: range,
        batch_size: int = 16,
        size: int = 128,
        domains: Sequence[str] = ("vis", "nir"),
        pairing: Literal["same_shot", "same_identity"] = "same_shot",
        yaw_range: tuple[float, float] | None = None,
        first_batch: int = 0,
        device: str | torch.device = "cpu",
    ) -> None:
        super().__init__()
        if pairing not in ("same_shot", "same_identity"):
            raise ValueError(f'pairing must be "same_shot" or "same_identity", got {pairing!r}')
        unknown = [domain for domain in domains if domain not in DOMAINS]
        if unknown or not domains:
            raise ValueError(f"domains must be some of {', '.join(DOMAINS)}, got {', '.join(domains) or 'none'}")
        if not identities or not shots or batch_size < 1:
            raise ValueError(f"nothing to draw from {identities} and {shots} in batches of {batch_size}")
        self._seed, self._identities, self._shots, self._batch_size = seed, identities, shots, batch_size
        self._size, self._domains, self._pairing, self._yaw_range = size, tuple(domains), pairing, yaw_range
        self._first_batch, self._device = first_batch, device

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        worker = get_worker_info()
        index, stride = (0, 1) if worker is None else (worker.id, worker.num_workers)
        index += self._first_batch
        while True:
            yield self.batch(index)
            index += stride

    def batch(self, index: int) -> dict[str, Tensor]:
        """Return batch number `index`, decided by the seed and the number alone."""
        generator = np.random.default_rng([self._seed, index, _ORDER_SALT])
        identities = [self._identities[i] for i in generator.integers(len(self._identities), size=self._batch_size)]
        batch: dict[str, Tensor] = {"identity": torch.tensor(identities, device=self._device)}
        if self._pairing == "same_shot":
            drawn = self._render(generator, identities, self._domains)
            for domain in self._domains:
                batch |= self._entries(domain, drawn)
        else:
            for domain in self._domains:
                batch |= self._entries(domain, self._render(generator, identities, (domain,)))
        return batch

    def _render(self, generator: np.random.Generator, identities: list[int], domains: tuple[str, ...]) -> Shots:
        shots = [self._shots[i] for i in generator.integers(len(self._shots), size=self._batch_size)]
        return render(
            self._seed,
            identities,
            shots,
            size=self._size,
            domains=domains,
            yaw_range=self._yaw_range,
            device=self._device,
        )

    @staticmethod
    def _entries(domain: str, drawn: Shots) -> dict[str, Tensor]:
        return {
            domain: drawn.faces[domain],
            f"{domain}_shot": drawn.shot,
            f"{domain}_landmarks5": drawn.landmarks5,
        }
