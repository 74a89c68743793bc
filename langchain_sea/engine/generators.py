"""Random generators of a prompt, one for each chain or draw."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import overload

import torch

__all__ = ["generators_for"]


@dataclass(frozen=True, eq=False)
class _Generators(Sequence[torch.Generator]):
    """Generators that are made when they are first asked for: few of them are needed for most answers."""

    seed: int
    key: Hashable
    size: int
    device: torch.device
    _made: dict[int, torch.Generator] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.size

    @overload
    def __getitem__(self, index: int) -> torch.Generator: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[torch.Generator]: ...

    def __getitem__(self, index: int | slice) -> torch.Generator | Sequence[torch.Generator]:
        chosen = range(self.size)[index]
        return self._get(chosen) if isinstance(chosen, int) else [self._get(number) for number in chosen]

    def _get(self, number: int) -> torch.Generator:
        if number not in self._made:
            digest = hashlib.sha256(f"{self.seed}\0{number}\0{self.key!r}".encode()).digest()
            self._made[number] = torch.Generator(self.device).manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        return self._made[number]


def generators_for(seed: int, key: Hashable, count: int, device: torch.device) -> Sequence[torch.Generator]:
    """Return one generator for each chain. Each depends on seed, prompt and chain number alone."""
    return _Generators(seed, key, count, device)
