"""Single changes of a text, the likeliest first by its gradient, the best one made if it pays. Knows no network.

A swap of one token changes the energy by G[t, new] − G[t, old] to first order (HotFlip, arXiv 1712.06751; GCG,
arXiv 2307.15043). Shapes: C chains, T positions, K candidates, N changes of all chains.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from langchain_sea.sampling.langevin import LangevinState, Proposal
from langchain_sea.sampling.relaxation import places

__all__ = ["Edits", "likeliest", "still", "taken"]


class Edits(NamedTuple):
    """Changes that are tried."""

    chain: Tensor  # (N,) whose text
    at: Tensor  # (N,) position
    which: Tensor  # (N,) candidate there

    def texts(self, ids: Tensor, support: Tensor) -> Tensor:
        """(N, T) the texts with one change each."""
        found = ids[self.chain].clone()
        found[torch.arange(len(found), device=ids.device), self.at] = support[self.chain, self.at, self.which]
        return found


def likeliest(gradient: Tensor, ids: Tensor, support: Tensor, closed: Tensor, count: int) -> Edits:
    """Up to `count` changes for each chain that the gradient in its tokens, (C, T, K), likes best.

    `closed`, (C, T, K), are changes that may not be made, or have been tried.
    """
    slope = gradient - gradient.gather(-1, places(support, ids[..., None])[0])
    slope = slope.masked_fill(closed | (support == ids[..., None]), torch.inf).flatten(1)
    found = slope.topk(min(count, slope.shape[1]), largest=False)
    chain, nth = found.values.isfinite().nonzero(as_tuple=True)
    flat = found.indices[chain, nth]
    return Edits(chain, flat // support.shape[-1], flat % support.shape[-1])


def taken(
    edits: Edits, energies: Tensor, now: Tensor, position: Tensor, margin: float
) -> tuple[Tensor, Tensor]:
    """The logits with every chain's best change made where it lowers its energy, and which chains these are.

    Args:
        edits: what was tried.
        energies: (N,) of their texts.
        now: (C,) of the texts that stand.
        position: (C, T, K) logits.
        margin: lead of a new token over the one that stood there.

    Returns:
        (C, T, K) and (C,) bool.
    """
    position, changed = position.clone(), torch.zeros_like(now, dtype=torch.bool)
    for row in sorted(set(edits.chain.tolist())):
        mine = (edits.chain == row).nonzero().flatten()
        best = mine[energies[mine].nan_to_num(nan=torch.inf).argmin()]
        if energies[best] < now[row]:
            line = position[row, edits.at[best]]
            line[edits.which[best]] = line.max() + margin
            changed[row] = True
    return position, changed


def still(state: LangevinState) -> Proposal:
    """A step that moves nothing by itself: its position was chosen, and its energy is to be read."""
    return Proposal(
        state._replace(offset=torch.zeros_like(state.position), step=state.step + 1), state.energy
    )
