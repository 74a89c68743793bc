"""A small head on the policy's own hidden states: it scores every prefix of an answer.

    v_t = mean_m u_m − κ · std_m u_m,    u_m = MLP_m([h̄_{min(8, t+1)} ; h̄_{t+1}]),    h̄_n = (1/n) Σ_{i<n} h_i

where h, (T, D), are the states of one layer. The mean of the first tokens keeps the opening of the answer in the
input however long the answer grows. Members that were trained separately are rarely all wrong about the same text
(arXiv 2310.02743).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from langchain_sea.core.protocols import OutputSpec, SteeringVector, Tokens
from langchain_sea.errors import TokenizerMismatchError, WeightsCorruptError, WeightsNotFoundError

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from langchain_sea.core.protocols import AnswerBatch
    from langchain_sea.models.causal_lm import CausalLMPolicy, PolicyPrompt

__all__ = [
    "SAFETY_HEAD",
    "HeadInfo",
    "HiddenStateHead",
    "HiddenStateReward",
    "compute_states",
    "load_tensors",
    "pool_states",
    "save_module",
]

SAFETY_HEAD = Path(__file__).parent / "safety" / "head.safetensors"
_FORMAT = "langchain-sea hidden-state head 1"
_EMPTY = -3.0  # the value of an empty answer, in scales from the center: below nearly all answers


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadInfo:
    """What a head reads, its sizes, and its measured figures.

    Attributes:
        policy: the name of the policy whose states it reads.
        layer: the layer, an index of `ModelOutput.hidden`; 0 is the embeddings.
        hidden_size: D.
        width: of the hidden layer of each MLP.
        first: the number of tokens in the mean of the opening.
        members: M ≥ 1, the number of MLPs.
        penalty: κ ≥ 0, the weight of their standard deviation.
        center: the mean value of the whole answers it was trained on.
        scale: their standard deviation; with `center` it brings a `RewardTerm` to unit scale.
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
    """The MLPs and the standardisation of their inputs.

    Attributes:
        info: its layer, sizes and figures.
        steering_vector: (D,) the direction in which the layer's states differ most between good and bad answers, as
            long as the states are; zeros if none was fitted.
    """

    mean: Tensor  # (2D,)
    std: Tensor  # (2D,)
    steering_vector: Tensor

    def __init__(self, info: HeadInfo) -> None:
        """Start with random weights of the sizes in `info`."""
        super().__init__()
        self.info = info
        self.register_buffer("mean", torch.zeros(2 * info.hidden_size))
        self.register_buffer("std", torch.ones(2 * info.hidden_size))
        self.register_buffer("steering_vector", torch.zeros(info.hidden_size))
        self.mlps = nn.ModuleList(_mlp(info) for _ in range(info.members))

    def forward(self, features: Tensor) -> Tensor:
        """Return the values, (…), of pooled states, (…, 2D)."""
        values = self.member_values(features)
        if len(values) == 1:
            return values[0]
        # epsilon, because the gradient of a standard deviation of zero is not finite
        spread = (values.var(0, correction=0) + torch.finfo(values.dtype).eps).sqrt()
        return values.mean(0) - self.info.penalty * spread

    def member_values(self, features: Tensor) -> Tensor:
        """Return the values of every member, (M, …), of pooled states, (…, 2D)."""
        inputs = (features - self.mean) / self.std
        return torch.stack([mlp(inputs).squeeze(-1) for mlp in self.mlps])

    @classmethod
    def from_members(cls, heads: Sequence[HiddenStateHead], penalty: float = 1.0) -> HiddenStateHead:
        """Combine heads with the same standardisation into one, frozen; its center and scale are not set yet."""
        head = cls(replace(heads[0].info, members=sum(h.info.members for h in heads), penalty=penalty))
        head.mean, head.std, head.steering_vector = heads[0].mean, heads[0].std, heads[0].steering_vector
        head.mlps = nn.ModuleList(mlp for h in heads for mlp in h.mlps)
        return head.eval().requires_grad_(False)

    def prefix_values(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Return the value of every prefix: position t scores the tokens up to t.

        Args:
            hidden: (C, T, D) the layer's states at the answers' tokens.
            mask: (C, T) bool, False for padding on the right.

        Returns:
            (C, T) float32; at padding the value of the whole answer, or `empty_value` for an answer without tokens.
        """
        values: Tensor = self(pool_states(hidden, mask, self.info.first))
        return values.where(mask.cumsum(1) > 0, self.empty_value)

    @property
    def empty_value(self) -> float:
        """The value of an answer without tokens: center − 3 · scale."""
        return self.info.center + _EMPTY * self.info.scale

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one safetensors file with `info` as JSON in its metadata."""
        save_module(self, path, _FORMAT, asdict(self.info))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> HiddenStateHead:
        """Read a file that `save` wrote; the head is frozen and in evaluation mode.

        Raises:
            WeightsNotFoundError: there is no such file.
            WeightsCorruptError: the file is not a head, or is damaged.
        """
        try:
            info, state = load_tensors(path)
            head = cls(HeadInfo(**info))
            head.load_state_dict({"steering_vector": head.steering_vector} | state)  # older files have none
        except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise WeightsCorruptError(
                f"{path} cannot be read as a hidden-state head ({error}); make one with `langchain-sea fit-reward`."
            ) from error
        return head.eval().requires_grad_(False)


@dataclass(frozen=True, slots=True, eq=False)
class HiddenStateReward:
    """A reward with a gradient that scores answers, and their prefixes, by a head on the policy's hidden states.

    Attributes:
        head: in evaluation mode; it is moved to the device of the states that it reads.

    Examples:
        >>> from langchain_sea import SEAChatModel
        >>> reward = HiddenStateReward(HiddenStateHead.load(SAFETY_HEAD))
        >>> model = SEAChatModel(model="smollm2-135m", rewards=[reward])
    """

    head: HiddenStateHead

    @property
    def scores_prefixes(self) -> bool:
        """True: the head was fitted to prefixes."""
        return True

    @property
    def steering_vector(self) -> SteeringVector | None:
        """The head's steering vector, or None if it has none."""
        return (
            SteeringVector(self.head.info.layer, self.head.steering_vector) if self.head.steering_vector.any() else None
        )

    def required_outputs(self, view: AnswerBatch) -> OutputSpec:
        """Return the states of the head's layer."""
        return OutputSpec(frozenset({self.head.info.layer}), logits=False)

    def score_soft(self, view: AnswerBatch) -> Tensor:
        """Return the value of each answer, (C,), differentiable in `view.tokens.soft`."""
        return self.prefix_values(view)[:, -1]

    @torch.no_grad()
    def score(self, view: AnswerBatch, texts: Sequence[str]) -> Tensor:
        """Return the value of each text, (C,); `view` holds their ids."""
        return self.score_soft(view)

    def prefix_values(self, view: AnswerBatch) -> Tensor:
        """Return the value of every prefix, (C, T), differentiable in `view.tokens.soft`.

        Raises:
            TokenizerMismatchError: the head was fitted to another policy.
        """
        info = self.head.info
        try:
            states = view.hidden(info.layer)
        except LookupError:
            states = None
        if states is None or states.shape[-1] != info.hidden_size:
            what = "has no such layer" if states is None else f"has states of width {states.shape[-1]} there"
            raise TokenizerMismatchError(
                f"this head reads layer {info.layer} of {info.policy}, states of width {info.hidden_size}; the policy "
                f"{what}. A head only works with the policy it was fitted to: use that one, or fit a head to "
                "yours with `langchain-sea fit-reward`."
            )
        return self.head.to(states.device).prefix_values(states, view.tokens.mask.to(states.device))


def save_module(module: nn.Module, path: str | os.PathLike[str], kind: str, info: dict[str, Any]) -> None:
    """Write a module's weights as one safetensors file; its kind and `info`, as JSON, go into the metadata."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    save_file(tensors, path, {"format": kind, "info": json.dumps(info)})


def load_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read a safetensors file that was written with `info` in its metadata.

    Returns:
        `info`, and the tensors by name.

    Raises:
        WeightsNotFoundError: there is no such file, or it is a folder.
        SafetensorError: it is not a safetensors file.
        KeyError: its metadata has no `info`.
    """
    if not Path(path).is_file():
        state = "is a folder" if Path(path).is_dir() else "does not exist"
        raise WeightsNotFoundError(f"{path} {state}: pass the .safetensors file of a reward or a gate.")
    with safe_open(path, framework="pt") as file:
        info: dict[str, Any] = json.loads((file.metadata() or {})["info"])
    return info, load_file(path)


@torch.no_grad()
def compute_states(policy: CausalLMPolicy, prompt: PolicyPrompt, tokens: Tokens, layer: int) -> Tensor:
    """Return the states of one layer at the tokens, (C, T, D) float32; later layers are not computed."""
    return policy.forward(prompt, tokens, OutputSpec(frozenset({layer}), logits=False)).hidden[layer].float()


def pool_states(hidden: Tensor, mask: Tensor, first: int) -> Tensor:
    """Return the means of the opening and of all tokens so far, (C, T, 2D) float32, of states, (C, T, D)."""
    mask = mask[..., None]
    sums = hidden.float().masked_fill(~mask, 0.0).cumsum(1)
    counts = mask.cumsum(1).clamp(min=1)
    means = sums / counts
    opening = means.gather(1, _opening_end(mask, first).expand_as(means))
    return torch.cat([opening, means], -1)


def _mlp(info: HeadInfo) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(2 * info.hidden_size, info.width), nn.GELU(), nn.Dropout(0.2), nn.Linear(info.width, 1)
    )


def _opening_end(mask: Tensor, first: int) -> Tensor:
    """Return the position of the last token of the opening so far, (C, T, 1)."""
    return (mask.cumsum(1).clamp(1, first) - 1).long()
