"""A small head on the policy's own hidden states: a value for every beginning of an answer. Knows no text.

    v_t = mean_m u_m − κ · std_m u_m,    u_m = MLP_m([h̄_{min(8, t+1)} ; h̄_{t+1}]),    h̄_n = (1/n) Σ_{i<n} h_i

with h, (T, D), the states of one layer. The mean of the first tokens keeps how the answer opened in sight
however long it grows; members that were made apart are seldom fooled alike (arXiv 2310.02743).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from langchain_sea.core.protocols import OutputSpec, SteeringVector
from langchain_sea.errors import TokenizerMismatchError, WeightsCorruptError

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from langchain_sea.core.protocols import AnswerBatch

__all__ = [
    "FIRST_HEAD",
    "SAFETY_HEAD",
    "HeadInfo",
    "HiddenStateHead",
    "HiddenStateReward",
    "pooled",
    "stored",
]

SAFETY_HEAD = Path(__file__).parent / "safety" / "head.safetensors"
FIRST_HEAD = SAFETY_HEAD.with_name("first_head.safetensors")  # before it was hardened, for comparison
_FORMAT = "langchain-sea trunk head 1"
_EMPTY = -3.0  # an answer without tokens, in scales from the center: below nearly all answers


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadInfo:
    """What a head must be told apart by, and what is known of it.

    Attributes:
        policy: the name of the policy whose states it reads.
        layer: which of `Reading.hidden`; 0 are the embeddings.
        hidden_size: D.
        width: of the MLP.
        first: how many tokens the opening's mean holds.
        members: M ≥ 1 MLPs, made apart.
        penalty: κ ≥ 0 of their standard deviation.
        center: the mean value of whole answers where it was fitted.
        scale: their standard deviation; with `center` it brings a `Term` to unit scale.
        figures: what was measured, for reports.
    """

    policy: str
    layer: int
    hidden_size: int
    width: int = 64
    first: int = 8
    members: int = 1
    penalty: float = 1.0
    center: float = 0.0
    scale: float = 1.0
    figures: dict[str, Any] = field(default_factory=dict)


class HiddenStateHead(nn.Module):
    """The MLPs with the standardisation of their inputs.

    Attributes:
        info: its layer, sizes and figures.
        steering_vector: (D,) along which the layer's states differ most between good answers and bad ones, as long as
            those are; zeros where it was not looked for.
    """

    mean: Tensor  # (2D,)
    std: Tensor  # (2D,)
    steering_vector: Tensor

    def __init__(self, info: HeadInfo) -> None:
        """Random weights of the sizes that `info` says."""
        super().__init__()
        self.info = info
        self.register_buffer("mean", torch.zeros(2 * info.hidden_size))
        self.register_buffer("std", torch.ones(2 * info.hidden_size))
        self.register_buffer("steering_vector", torch.zeros(info.hidden_size))
        self.mlps = nn.ModuleList(_mlp(info) for _ in range(info.members))

    def forward(self, features: Tensor) -> Tensor:
        """(…, 2D) pooled states → (…) values."""
        values = self.each(features)
        if len(values) == 1:
            return values[0]
        # the floor: the gradient of a standard deviation of zero is not finite
        spread = (values.var(0, correction=0) + torch.finfo(values.dtype).eps).sqrt()
        return values.mean(0) - self.info.penalty * spread

    def each(self, features: Tensor) -> Tensor:
        """(…, 2D) pooled states → (M, …) every member's values."""
        inputs = (features - self.mean) / self.std
        return torch.stack([mlp(inputs).squeeze(-1) for mlp in self.mlps])

    @classmethod
    def joined(cls, heads: Sequence[HiddenStateHead], penalty: float = 1.0) -> HiddenStateHead:
        """Heads on the same inputs as the members of one, frozen; center and scale are still to be set."""
        head = cls(replace(heads[0].info, members=sum(h.info.members for h in heads), penalty=penalty))
        head.mean, head.std, head.steering_vector = heads[0].mean, heads[0].std, heads[0].steering_vector
        head.mlps = nn.ModuleList(mlp for h in heads for mlp in h.mlps)
        return head.eval().requires_grad_(False)

    def values(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """The value of every beginning: position t judges the tokens up to t.

        Args:
            hidden: (C, T, D) the layer's states at the answers' tokens.
            mask: (C, T) bool, False for padding on the right.

        Returns:
            (C, T) float32; at padding the value of the whole answer, or `empty` where there is no token.
        """
        values: Tensor = self(pooled(hidden, mask, self.info.first))
        return values.where(mask.cumsum(1) > 0, self.empty)

    @property
    def empty(self) -> float:
        """The value of an answer without tokens: center − 3 · scale."""
        return self.info.center + _EMPTY * self.info.scale

    def save(self, path: str | os.PathLike[str]) -> None:
        """One safetensors file, `info` as JSON in its metadata."""
        stored(self, path, _FORMAT, asdict(self.info))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> HiddenStateHead:
        """Frozen, in evaluation mode.

        Raises:
            WeightsCorruptError: the file is no head, or is damaged.
        """
        try:
            with safe_open(path, framework="pt") as file:
                info = HeadInfo(**json.loads((file.metadata() or {})["info"]))
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            head = cls(info)
            head.load_state_dict({"steering_vector": head.steering_vector} | state)  # older files have none
        except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise WeightsCorruptError(
                f"{path} cannot be read as a trunk head ({error}); make one with `langchain-sea fit-reward`."
            ) from error
        return head.eval().requires_grad_(False)


@dataclass(frozen=True, slots=True, eq=False)
class HiddenStateReward:
    """A head as a reward that steers, ranks, and judges beginnings.

    Attributes:
        head: in evaluation mode; it moves to the device of the states that it reads.
    """

    head: HiddenStateHead

    @property
    def steering_vector(self) -> SteeringVector | None:
        """The head's, where it has one."""
        return (
            SteeringVector(self.head.info.layer, self.head.steering_vector)
            if self.head.steering_vector.any()
            else None
        )

    def required_outputs(self, view: AnswerBatch) -> OutputSpec:  # noqa: ARG002 - the layer is the same for all
        """One layer's states."""
        return OutputSpec(frozenset({self.head.info.layer}), logits=False)

    def score_soft(self, view: AnswerBatch) -> Tensor:
        """(C,) the value of each answer, differentiable in `view.tokens.soft`."""
        return self.prefix_values(view)[:, -1]

    @torch.no_grad()
    def score(self, view: AnswerBatch, texts: Sequence[str]) -> Tensor:  # noqa: ARG002 - `view` holds their ids
        """(C,) the value of each text."""
        return self.score_soft(view)

    def prefix_values(self, view: AnswerBatch) -> Tensor:
        """(C, T) the value of every beginning.

        Raises:
            TokenizerMismatchError: the head was fitted to another policy.
        """
        info = self.head.info
        try:
            states = view.hidden(info.layer)
        except LookupError:
            states = None
        if states is None or states.shape[-1] != info.hidden_size:
            what = "has no such layer" if states is None else f"is {states.shape[-1]} wide there"
            raise TokenizerMismatchError(
                f"this head reads layer {info.layer} of {info.policy}, {info.hidden_size} wide; the policy "
                f"{what}. A head serves only the policy it was fitted to: use that one, or fit a head to "
                "yours with `langchain-sea fit-reward`."
            )
        return self.head.to(states.device).values(states, view.tokens.mask.to(states.device))


def stored(module: nn.Module, path: str | os.PathLike[str], kind: str, info: dict[str, Any]) -> None:
    """A module's weights as one safetensors file, with its kind and what is known of it, as JSON, in the metadata."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    save_file(tensors, path, {"format": kind, "info": json.dumps(info)})


def pooled(hidden: Tensor, mask: Tensor, first: int) -> Tensor:
    """(C, T, D), (C, T) → (C, T, 2D) float32: the means of the opening and of all so far."""
    mask = mask[..., None]
    sums = hidden.float().masked_fill(~mask, 0.0).cumsum(1)
    counts = mask.cumsum(1).clamp(min=1)
    means = sums / counts
    opening = means.gather(1, _capped(mask, first).expand_as(means))
    return torch.cat([opening, means], -1)


def _mlp(info: HeadInfo) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(2 * info.hidden_size, info.width), nn.GELU(), nn.Dropout(0.2), nn.Linear(info.width, 1)
    )


def _capped(mask: Tensor, first: int) -> Tensor:
    """(C, T, 1) the position of the last token counted in the opening."""
    return (mask.cumsum(1).clamp(1, first) - 1).long()
