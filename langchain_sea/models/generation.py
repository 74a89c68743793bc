"""Answers while they are generated, one token per step, each row from its own random numbers. Knows no model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import pad

from langchain_sea.core.protocols import Steering
from langchain_sea.models.kv_cache import GrowingKVCache

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from langchain_sea.core.protocols import GrammarMatcher
    from langchain_sea.models.kv_cache import KeyValues
    from langchain_sea.models.prompt import PolicyPrompt

__all__ = ["LengthGroup", "PolicyGeneration", "find_end_ids", "sample_rows", "sample_tokens"]

_MAX_COPIED_POSITIONS = 4096  # of a prompt, copied into few rows so that attention is one kernel per layer
_ROWS = 16  # rows of logits handled at once, which fit a CPU's cache: V = 50,000 takes 3 MB
_BLOCK = 256  # ids per block of the vocabulary: sampling draws a block first, then an id in it


@dataclass(slots=True, eq=False)
class PolicyGeneration:
    """Unfinished answers to one prompt.

    Attributes:
        written: the new ids of each prefix.
        groups: the unfinished rows, grouped by the length of their prefix.
        draws: (C, tokens) in [0, 1).
        temperature: of sampling.
        matchers: one for each row if a grammar bounds the answers, else empty.
        steering: added to the states of each row.
    """

    written: list[list[int]]
    groups: list[LengthGroup]
    draws: Tensor
    temperature: float
    matchers: list[GrammarMatcher] = field(default_factory=list)
    steering: Steering | None = None

    @classmethod
    def start(
        cls,
        prompt: PolicyPrompt,
        prefixes: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        max_positions: int | None,
        temperature: float,
        generators: Sequence[torch.Generator],
        steering: Steering | None,
        end_ids: frozenset[int],
    ) -> PolicyGeneration:
        """Group the prefixes by length, and draw all random numbers.

        Args:
            prompt: of a policy.
            prefixes: C answers; one that ends with an end id is finished.
            max_new_tokens: for each prefix.
            max_positions: the longest input of the model, or None.
            temperature: 0 draws no random numbers.
            generators: C, one for each row.
            steering: added to the states of each row, or None.
            end_ids: that end an answer.
        """
        draws = _uniform_draws(generators if temperature > 0 else [], len(prefixes), max_new_tokens)
        written: list[list[int]] = [[] for _ in prefixes]
        groups = []
        for length, rows in _rows_by_length(prefixes, end_ids).items():
            used = len(prompt.ids) + len(prompt.answer) + length
            num_left = max_new_tokens if max_positions is None else min(max_new_tokens, max_positions - used)
            if num_left > 0:
                ids = [[prompt.last, *prefixes[row]] for row in rows]
                groups.append(LengthGroup(prompt, rows, ids, num_left))
        matchers = [prompt.grammar.matcher(prefix) for prefix in prefixes] if prompt.grammar else []
        return cls(written, groups, draws, temperature, matchers, steering)

    @property
    def num_unfinished(self) -> int:
        """The number of rows that are not finished."""
        return sum(len(group.rows) for group in self.groups)

    def unfinished_groups(self) -> list[LengthGroup]:
        """The groups that have unfinished rows."""
        return [group for group in self.groups if group.rows]

    def steering_for(self, group: LengthGroup) -> Steering | None:
        """The steering of a group's rows."""
        return self.steering and Steering(self.steering.layer, self.steering.vectors[group.rows])

    def draws_for(self, group: LengthGroup) -> Tensor:
        """The random numbers of a group's next tokens, one for each row."""
        return self.draws[group.rows, len(self.written[group.rows[0]])]

    def matchers_for(self, group: LengthGroup) -> list[GrammarMatcher | None]:
        """The matcher of each row of a group, or None for each."""
        return [self.matchers[row] if self.matchers else None for row in group.rows]

    def append_tokens(self, group: LengthGroup, tokens: list[int], end_ids: frozenset[int]) -> None:
        """Append the new token of each row of a group; rows that end are dropped from the group."""
        for row, token in zip(group.rows, tokens, strict=True):
            if self.matchers and token >= 0 and token not in end_ids:
                self.matchers[row].consume_token(token)
        group.append_tokens(tokens, self.written, end_ids)
        self.groups = self.unfinished_groups()


class LengthGroup:
    """Rows whose prefixes are equally long.

    Attributes:
        prompt: that the rows answer.
        rows: their numbers in the generation.
        ids: what each row reads next.
        num_left: how many more tokens each row may get.
    """

    def __init__(self, prompt: PolicyPrompt, rows: list[int], ids: list[list[int]], num_left: int) -> None:
        """Hold the parts. A short prompt will be copied into every row's cache, a long one is shared."""
        self.prompt, self.rows, self.ids, self.num_left = prompt, rows, ids, num_left
        self._capacity = len(ids[0]) + num_left
        self._is_copied = len(rows) * (len(prompt.ids) + len(prompt.answer)) <= _MAX_COPIED_POSITIONS
        self._cache: GrowingKVCache | None = None

    @property
    def cache(self) -> GrowingKVCache:
        """Allocated at the first use: not every way of decoding needs one."""
        if self._cache is None:
            self._cache = (
                GrowingKVCache.from_prompt(self.prompt.key_values, len(self.rows), self._capacity)
                if self._is_copied
                else GrowingKVCache(len(self.rows), self._capacity)
            )
        return self._cache

    @property
    def prompt_key_values(self) -> KeyValues:
        """Of the prompt, if all rows share one copy; empty if `cache` holds a copy per row."""
        return () if self._is_copied else self.prompt.key_values

    def append_tokens(self, tokens: list[int], written: list[list[int]], end_ids: frozenset[int]) -> None:
        """Append the new token of each row to `written`, and drop the rows that end."""
        going_on = [i for i, token in enumerate(tokens) if token >= 0 and token not in end_ids]
        if self._cache is not None:
            if self.num_left > 1 and len(going_on) < len(self.rows):
                # first, because it may run out of memory
                self._cache.select_rows(torch.tensor(going_on, dtype=torch.long))
            self._cache.advance(len(self.ids[0]))
        self.num_left -= 1
        for i in going_on:
            written[self.rows[i]].append(tokens[i])
        going_on = going_on if self.num_left else []
        self.rows = [self.rows[i] for i in going_on]
        self.ids = [[tokens[i]] for i in going_on]


def sample_tokens(logits: Tensor, draws: Tensor, temperatures: Tensor, disallowed: Tensor) -> list[int]:
    """Sample one id for each row of logits by inverting its distribution function.

    Args:
        logits: (R, V).
        draws: (R,) in [0, 1).
        temperatures: (R,); 0 takes the likeliest id.
        disallowed: (V,) bool, ids with probability zero.

    Returns:
        R ids; −1 for a row without a finite logit.
    """
    size = _ROWS if logits.device.type == "cpu" else max(1, len(logits))
    parts = (slice(at, at + size) for at in range(0, len(logits), size))
    draws = draws.to(logits.device)
    return [
        i for part in parts for i in sample_rows(logits[part], draws[part], temperatures[part], disallowed).tolist()
    ]


def sample_rows(narrow: Tensor, draws: Tensor, temperatures: Tensor, disallowed: Tensor) -> Tensor:
    """Sample one id for each row, (R,), all rows at once; see `sample_tokens`. On a GPU nothing waits for it."""
    divisor = torch.where(temperatures > 0, temperatures, 1)[:, None]
    shares, peak, likeliest = (_compute_shares if narrow.device.type == "cpu" else _compute_shares_at_once)(
        narrow, divisor, disallowed
    )
    extra = -shares.shape[-1] % _BLOCK
    blocks = (pad(shares, (0, extra)) if extra else shares).view(len(shares), -1, _BLOCK)  # (R, B, 256)
    sums = blocks.sum(-1).double()
    ends = sums.cumsum(-1)
    block, rest = _search(ends, draws * ends[:, -1])
    inside = blocks.gather(1, block[:, None, None].expand(-1, 1, _BLOCK)).squeeze(1).double().cumsum(-1)
    # in float64, and relative to the block's own sum, so that the rarest token keeps its share
    place, _ = _search(inside, rest * inside[:, -1] / sums.gather(-1, block[:, None]).squeeze(-1))
    ids = torch.where(temperatures > 0, block * _BLOCK + place, likeliest.squeeze(-1))
    return torch.where(peak.squeeze(-1) > -torch.inf, ids, -1)


def _compute_shares(narrow: Tensor, divisor: Tensor, disallowed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the tokens' shares, (R, V), which need not sum to one, the highest logits, and their ids, (R, 1) each."""
    logits = narrow.to(torch.promote_types(narrow.dtype, torch.float32)).masked_fill(disallowed, -torch.inf)
    peak, likeliest = logits.max(-1, keepdim=True)
    if not bool(peak.isfinite().all()):
        logits = logits.nan_to_num(nan=-torch.inf, posinf=-torch.inf, neginf=-torch.inf)
        peak, likeliest = logits.max(-1, keepdim=True)
    # where nothing is finite the peak is the least number, and all shares are zero
    shares = logits - peak.clamp(min=torch.finfo(logits.dtype).min)
    return shares.div_(divisor.to(logits.dtype)).exp_(), peak, likeliest


def _compute_shares_at_once(narrow: Tensor, divisor: Tensor, disallowed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compute what `_compute_shares` does in few kernels, and without waiting for the device."""
    is_used = narrow.isfinite() & ~disallowed
    logits = narrow.masked_fill(~is_used, -torch.inf)
    peak, likeliest = logits.max(-1, keepdim=True)
    wide = torch.promote_types(narrow.dtype, torch.float32)
    return (logits.to(wide) / divisor).softmax(-1).nan_to_num(nan=0.0), peak, likeliest


def _search(ends: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
    """Find the first of the cumulative sums (R, N) above `at`, (R,), and the distance from the sum before it.

    `at` is kept strictly below the last sum: the first sum above it then has a positive share.
    """
    last = ends[:, -1]
    at = torch.minimum(at, last.nextafter(torch.zeros_like(last)))
    index = torch.searchsorted(ends, at[:, None], right=True).clamp(max=ends.shape[-1] - 1)
    before = pad(ends, (1, 0)).gather(-1, index).squeeze(-1)
    return index.squeeze(-1), at - before


def _uniform_draws(generators: Sequence[torch.Generator], rows: int, count: int) -> Tensor:
    """Draw (rows, count) float64 numbers in [0, 1), each row from its own generator; zeros without any."""
    if not generators:
        return torch.zeros(rows, count, dtype=torch.float64)
    drawn = [torch.rand(count, generator=g, dtype=torch.float64, device=g.device) for g in generators]
    return torch.stack(drawn).cpu()  # one copy: each waits for the GPU


def _rows_by_length(prefixes: Sequence[Sequence[int]], end_ids: frozenset[int]) -> dict[int, list[int]]:
    """Group the rows of unfinished prefixes by their length, shortest first."""
    rows = [row for row, prefix in enumerate(prefixes) if not end_ids.intersection(prefix[-1:])]
    lengths = sorted({len(prefixes[row]) for row in rows})
    return {length: [row for row in rows if len(prefixes[row]) == length] for length in lengths}


def find_end_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Collect the end ids that the tokenizer, the generation config and the model's config name."""
    holders = (model.generation_config, model.config, model.config.get_text_config())
    named = [tokenizer.eos_token_id, *(getattr(holder, "eos_token_id", None) for holder in holders)]
    return {i for ids in named if ids is not None for i in ([ids] if isinstance(ids, int) else ids)}
