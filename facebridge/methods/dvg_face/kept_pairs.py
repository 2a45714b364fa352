"""The attribute codes of the last training pairs: what sampling takes its attributes from."""

import torch
from torch import Tensor, nn


class KeptPairs(nn.Module):
    """A ring of codes, in buffers, so that they are part of a run's weights; the oldest pair gives way to the newest.

    Args:
        size: pairs that are kept.
        code_size: numbers of a code.
        identity_size: numbers of an embedding, where who a pair shows is kept too; 0: it is not.
    """

    nir: Tensor
    vis: Tensor
    identities: Tensor
    num_seen: Tensor

    def __init__(self, size: int, code_size: int, identity_size: int = 0) -> None:
        super().__init__()
        self.register_buffer("nir", torch.zeros(size, code_size))
        self.register_buffer("vis", torch.zeros(size, code_size))
        self.register_buffer("identities", torch.zeros(size, identity_size), persistent=identity_size > 0)
        self.register_buffer("num_seen", torch.zeros((), dtype=torch.int64))

    def __len__(self) -> int:
        """Pairs that are kept now."""
        return min(int(self.num_seen), len(self.nir))

    @torch.no_grad()
    def keep(self, nir: Tensor, vis: Tensor, identities: Tensor) -> None:
        """Codes (B, code_size) of both cameras, and embeddings (B, identity_size), row by row of one pair."""
        fitting = min(len(nir), len(self.nir))
        places = (self.num_seen + torch.arange(len(nir), device=nir.device)[-fitting:]) % len(self.nir)
        self.nir[places] = nir[-fitting:].detach().to(self.nir)
        self.vis[places] = vis[-fitting:].detach().to(self.vis)
        if self.identities.shape[1]:
            self.identities[places] = identities[-fitting:].detach().to(self.identities)
        self.num_seen += len(nir)

    def of(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """The codes of both cameras of a pair for each number (B,) from N(0, 1): equal parts of its distribution.

        Raises:
            ValueError: if no pair is kept.
        """
        if not len(self):
            raise ValueError("no attribute codes are kept yet, so there are none to sample with: train it first")
        parts = torch.special.ndtr(numbers.double()) * len(self)
        places = parts.long().clamp(max=len(self) - 1)
        return self.nir[places], self.vis[places]

    def drawn_identities(self, count: int) -> Tensor:
        """Up to so many of the kept embeddings, none twice, drawn by torch's own generator: (at most count, D)."""
        return self.identities[torch.randperm(len(self))[:count].to(self.identities.device)]
