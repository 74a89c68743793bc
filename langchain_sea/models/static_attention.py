"""Attention for batches of fixed shape, whose lengths are tensors: nothing here waits for the device.

    softmax([q·Kₚᵀ + Mₚ ; q·Kₒᵀ + Mₒ]) · [Vₚ ; Vₒ]    p: the prompt's, one copy for all its rows; o: a row's own

Shapes: Q prompts with C rows each, B = Q × C; T positions, S positions of a row's own, P positions of a prompt,
H heads, Hₖ key-value heads with G query heads each, d width of a head.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from langchain_sea.models.static_shapes import round_up_keys

if TYPE_CHECKING:
    from langchain_sea.models.attention import AttentionSpec

__all__ = ["Positions", "attend_static"]

KeyValue = tuple[Tensor, Tensor]

_MAX_COPIED_POSITIONS = 2**16  # of prompts, copied into rows so that attention is one kernel


@dataclass(slots=True, eq=False)
class Positions:
    """Where the tokens of a pass lie. Padding of a prompt lies behind it and is seen by nobody.

    Attributes:
        prompt_lengths: (Q,).
        lengths: (Q,) positions that the rows' own keys held before this pass.
        num_rows: C.
        num_tokens: T.
        num_own: S.
        num_prompt: P.
    """

    prompt_lengths: Tensor
    lengths: Tensor
    num_rows: int
    num_tokens: int
    num_own: int
    num_prompt: int
    _masks: dict[tuple[object, ...], Tensor] = field(default_factory=dict)

    @property
    def ids(self) -> Tensor:
        """The position of every token, (Q, T)."""
        steps = torch.arange(self.num_tokens, device=self.lengths.device)
        return (self.prompt_lengths + self.lengths)[:, None] + steps

    def bias(self, window: int | None, num_groups: int, dtype: torch.dtype, *, with_prompt: bool) -> Tensor:
        """Return what is added to scores, (B, 1, G·T, P + S) with the prompt's positions or (B, 1, G·T, S): 0 or −∞.

        Args:
            window: how many positions a token sees; None for all before it.
            num_groups: G.
            dtype: of the scores.
            with_prompt: whether the prompt's positions stand before the own ones.
        """
        key = (window, num_groups, dtype, with_prompt)
        if key not in self._masks:
            sees = self._own_mask(window)
            if with_prompt:
                sees = torch.cat([self._prompt_mask(window), sees], 2)
            bias = torch.zeros_like(sees, dtype=dtype).masked_fill_(~sees, -torch.inf)  # (Q, T, P + S)
            rows = bias[:, None, None].expand(-1, self.num_rows, num_groups, -1, -1)
            self._masks[key] = rows.reshape(len(bias) * self.num_rows, 1, num_groups * self.num_tokens, -1)
        return self._masks[key]

    def mask(self, window: int | None) -> Tensor:
        """Return (Q, 1, 1, 1, T, P + S), True where a token does not look."""
        key = (window,)
        if key not in self._masks:
            sees = torch.cat([self._prompt_mask(window), self._own_mask(window)], 2)
            self._masks[key] = ~sees[:, None, None, None]
        return self._masks[key]

    def _prompt_mask(self, window: int | None) -> Tensor:
        """Return (Q, T, P), True where a token sees a position of its prompt."""
        places = torch.arange(self.num_prompt, device=self.lengths.device)
        sees = (places < self.prompt_lengths[:, None])[:, None].expand(-1, self.num_tokens, -1)
        return sees if window is None else sees & (places > self.ids[..., None] - window)

    def _own_mask(self, window: int | None) -> Tensor:
        """Return (Q, T, S), True where a token sees a position of its own row."""
        places = torch.arange(self.num_own, device=self.lengths.device)
        now = self.lengths[:, None] + torch.arange(self.num_tokens, device=self.lengths.device)  # (Q, T)
        sees = places <= now[..., None]
        return sees if window is None else sees & (places > now[..., None] - window)


def attend_static(
    query: Tensor, own: KeyValue, prompt: KeyValue | None, positions: Positions, spec: AttentionSpec
) -> Tensor:
    """Attend from queries (B, H, T, d) to the prompts' keys and the rows' own, giving (B, T, H, d).

    Args:
        query: (B, H, T, d).
        own: keys and values of the rows, (B, Hₖ, S, d) each, or fewer, which are padded to S.
        prompt: keys and values of the prompts, (Q, Hₖ, P, d) each; None if `own` holds them.
        positions: which of the keys are seen.
        spec: the layer's settings.
    """
    # a step of decoding without prompts would copy all of its keys to add one for the sinks
    is_bare_step = prompt is None and positions.num_tokens == 1
    needs_scores = spec.softcap is not None or (spec.sinks is not None and is_bare_step)
    if needs_scores or (prompt is not None and not _is_copied(query, positions)):
        return _attend_to_both(query, own, prompt, positions, spec)
    batch, heads, length, _ = query.shape
    groups = own[0].shape[1]
    bias = positions.bias(spec.sliding_window, heads // groups, query.dtype, with_prompt=prompt is not None)
    num_sinks = 0
    if spec.sinks is None:
        bias = bias.expand(-1, groups, -1, -1)
    else:
        num_sinks = round_up_keys(bias.shape[-1] + 1) - bias.shape[-1]
        bias = _add_sinks(bias, spec.sinks.view(groups, -1), num_sinks)
    own = (_pad_keys(own[0], positions, num_sinks), _pad_keys(own[1], positions, num_sinks))
    if prompt is not None:
        own = (_join(prompt[0], own[0], positions), _join(prompt[1], own[1], positions))
    # the queries that share keys form one longer row of queries
    grouped = query.reshape(batch, groups, heads // groups * length, -1)  # (B, Hₖ, G·T, d)
    output = scaled_dot_product_attention(grouped, *own, attn_mask=bias, scale=spec.scale)
    return output.reshape(batch, heads, length, -1).transpose(1, 2)


def _join(prompt: Tensor, own: Tensor, positions: Positions) -> Tensor:
    """Put a copy of its prompt's (Q, Hₖ, P, d) before each row's own (B, Hₖ, S, d): (B, Hₖ, P + S, d)."""
    by_prompt = own.view(len(prompt), positions.num_rows, *own.shape[1:])
    copies = prompt[:, None].expand(-1, positions.num_rows, -1, -1, -1)
    return torch.cat([copies, by_prompt], 3).flatten(0, 1)


def _pad_keys(own: Tensor, positions: Positions, num_more: int = 0) -> Tensor:
    """Append zeros: (B, Hₖ, T, d) → (B, Hₖ, S + num_more, d)."""
    missing = positions.num_own - own.shape[2] + num_more
    return pad(own, (0, 0, 0, missing)) if missing else own


def _add_sinks(bias: Tensor, sinks: Tensor, count: int) -> Tensor:
    """Append the bias of so many keys of zeros, the first for the sinks, (Hₖ, G): → (B, Hₖ, G·T, P + S + n).

    The score of such a key is its bias, and its value is zero, so that a fused kernel computes the softmax with sinks.
    """
    groups, per_group = sinks.shape
    by_query = sinks.to(bias.dtype)[..., None].expand(-1, -1, bias.shape[2] // per_group)  # (Hₖ, G, T)
    added = pad(by_query.reshape(1, groups, -1, 1), (0, count - 1), value=-torch.inf)
    return torch.cat([bias.expand(-1, groups, -1, -1), added.expand(len(bias), -1, -1, -1)], -1)


def _is_copied(query: Tensor, positions: Positions) -> bool:
    """Whether the prompts are copied into the rows: few positions then take fewer kernels."""
    return len(query) * positions.num_prompt <= _MAX_COPIED_POSITIONS


def _attend_to_both(
    query: Tensor, own: KeyValue, prompt: KeyValue | None, positions: Positions, spec: AttentionSpec
) -> Tensor:
    """Compute the equation above by matrix products, so that no row copies its prompt."""
    batch, heads, length, _ = query.shape
    rows, groups = positions.num_rows, own[0].shape[1]
    num_prompts, per_group = batch // rows, heads // groups
    flat = (query * spec.scale).reshape(num_prompts, rows, groups, per_group * length, -1)
    own = (_pad_keys(own[0], positions), _pad_keys(own[1], positions))
    keys, values = (x.reshape(num_prompts, rows, *x.shape[1:]) for x in own)
    scores = (flat @ keys.transpose(-1, -2)).transpose(1, 2)  # (Q, Hₖ, C, G·T, S)
    if prompt is not None:
        by_head = flat.transpose(1, 2).flatten(2, 3)  # (Q, Hₖ, C·G·T, d)
        prompt_scores = by_head @ prompt[0].transpose(-1, -2)
        scores = torch.cat([prompt_scores.view(*scores.shape[:4], -1), scores], -1)  # (Q, Hₖ, C, G·T, P + S)
    if spec.softcap is not None:
        scores = (scores / spec.softcap).tanh() * spec.softcap
    by_position = scores.view(*scores.shape[:3], per_group, length, -1)
    scores = by_position.masked_fill(positions.mask(spec.sliding_window), -torch.inf).view(scores.shape)
    num_seen = scores.shape[-1]
    if spec.sinks is not None:
        sinks = spec.sinks.to(scores.dtype).view(groups, 1, per_group, 1).expand(-1, rows, -1, length)
        scores = torch.cat([scores, sinks.flatten(2)[None, ..., None].expand(num_prompts, -1, -1, -1, 1)], -1)
    weights = scores.softmax(-1, dtype=torch.promote_types(scores.dtype, torch.float32)).to(values.dtype)
    weights = weights[..., :num_seen]
    to_prompt, to_own = torch.split(weights, [num_seen - keys.shape[3], keys.shape[3]], -1)
    output = (to_own.transpose(1, 2) @ values).transpose(1, 2)  # (Q, Hₖ, C, G·T, d)
    if prompt is not None:
        output = output + (to_prompt.flatten(2, 3) @ prompt[1]).view(output.shape)
    output = output.reshape(num_prompts, groups, rows, per_group, length, -1)
    by_row: Tensor = output.permute(0, 2, 4, 1, 3, 5)
    return by_row.reshape(batch, length, heads, -1)
