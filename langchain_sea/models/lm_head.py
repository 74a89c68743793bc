"""The output layer, states → log-probabilities, without holding the logits of the whole vocabulary at once.

    log π(k) = z_k − log Σ_v exp z_v,    z = cap · tanh(scale · (W h + b) / cap)    no cap: scale · (W h + b)

Shapes: N rows of width D, K candidates, V vocabulary. `_COLUMNS` of V are computed at a time, so memory grows
with N and not with V. Knows neither prompts nor text.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from langchain_sea.errors import ArchitectureError
from langchain_sea.models.packed_linear import PackedWeight, is_worth_packing, pack_weight, pad_rows
from langchain_sea.models.soft_embeddings import to_float32_or_wider

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from transformers import PreTrainedModel

__all__ = ["LMHead", "lm_head_of"]

# what configurations call the numbers that the logits are multiplied by, divided by, and bounded by
_FACTORS = ("logit_scale", "lm_head_multiplier")
_DIVISORS = ("logits_scaling", "logits_mup_width_multiplier")
_CAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
_COLUMNS = 4096
_ROWS = 512  # with `_COLUMNS`, 8 MB of float32 at once, which fit a CPU's cache
_ROWS_OF_ALL_COLUMNS = 128
_MAX_GPU_LOGITS = 2**27  # a GPU takes the whole vocabulary at once for as many rows as give so many logits: 512 MB


@dataclass(frozen=True, slots=True, eq=False)
class LMHead:
    """The output layer.

    Attributes:
        weight: (V, D), frozen.
        bias: (V,) or None.
        scale: multiplies the logits.
        cap: bounds the logits (Gemma 2), or None.
        packed: the weight in the order that a CPU reads, for products with all of it; None: `weight` is used.
    """

    weight: Tensor
    bias: Tensor | None = None
    scale: float = 1.0
    cap: float | None = None
    packed: PackedWeight | None = None

    def at_temperature(self, temperature: float) -> LMHead:
        """Return the output layer of logits divided by a temperature above 0."""
        if temperature == 1:
            return self
        cap = None if self.cap is None else self.cap / temperature
        return replace(self, scale=self.scale / temperature, cap=cap)

    def logits(self, hidden: Tensor) -> Tensor:
        """Compute all logits, (…, D) → (…, V), in float32 or wider; differentiable in `hidden`."""
        logits = to_float32_or_wider(self._logits_of(hidden.reshape(-1, hidden.shape[-1])))
        return logits.view(*hidden.shape[:-1], -1)

    def select_ids(self, ids: Sequence[int]) -> LMHead:
        """Return an output layer for these ids alone: (…, D) → (…, len(ids)) logits."""
        rows = list(ids)
        bias = None if self.bias is None else self.bias[rows]
        return replace(self, weight=self.weight[rows], bias=bias, packed=None)

    def iter_logits(self, rows: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Yield the logits of (N, D) a block of rows at a time, (n, V), in the precision of the weights."""
        for part in _slices(len(rows), _ROWS_OF_ALL_COLUMNS):
            yield part, self._logits_of(rows[part])

    def log_probs(self, hidden: Tensor, soft: Tensor, support: Tensor) -> Tensor:
        """Compute Σₖ softₖ · log π(k), (…, D), (…, K), (…, K) → (…); differentiable in `hidden` and `soft`."""
        flat = (part.reshape(-1, part.shape[-1]) for part in (hidden, soft, support))
        expected: Tensor = _ExpectedLogProbs.apply(self, *flat)  # type: ignore[no-untyped-call]
        return expected.view(hidden.shape[:-1])

    @torch.no_grad()
    def log_probs_at(self, hidden: Tensor, support: Tensor) -> Tensor:
        """Compute log π of the candidates, (…, D), (…, K) → (…, K)."""
        flat = hidden.reshape(-1, hidden.shape[-1])
        logits, logsumexp, _ = self.streamed_logsumexp(flat, support.reshape(len(flat), -1), with_gradient=False)
        return (logits - logsumexp[:, None]).view(support.shape)

    @torch.no_grad()
    def top_k(self, hidden: Tensor, first: Tensor, size: int, banned: Tensor) -> Tensor:
        """Find the likeliest ids, (…, K), all distinct; `first`, (…), always comes first.

        Args:
            hidden: (…, D).
            first: the ids that must be included.
            size: K, at most V.
            banned: (V,) bool, ids that are used only if no others are left.
        """
        rows, first_rows = hidden.reshape(-1, hidden.shape[-1]), first.reshape(-1, 1)
        size = min(size, len(self.weight))
        parts = [
            self._top_k_of_rows(rows[part], first_rows[part], size, banned)
            for part in _slices(len(rows), self._num_rows_at_once)
        ]
        return torch.cat(parts).view(*first.shape, size)

    def _top_k_of_rows(self, rows: Tensor, first: Tensor, size: int, banned: Tensor) -> Tensor:
        """Merge the likeliest ids of each block of columns with those of the blocks before it."""
        values = rows.new_zeros(len(rows), 0, dtype=torch.float32)
        ids = values.long()
        for columns, narrow in self._iter_columns(rows):
            z = to_float32_or_wider(narrow)
            z.masked_fill_(banned[columns], -torch.finfo(z.dtype).max)
            z.masked_fill_(first == torch.arange(columns.start, columns.stop, device=z.device), torch.inf)
            num_before = values.shape[-1]
            values, order = torch.cat([values, z], -1).topk(min(size, num_before + z.shape[-1]))
            # an index into the ids from before, or a column of this block
            before = ids.gather(-1, order.clamp(max=num_before - 1)) if num_before else order
            ids = torch.where(order < num_before, before, order + (columns.start - num_before))
            del z, narrow  # before the next block needs as much memory
        return ids

    def narrow_logits(self, rows: Tensor) -> Tensor:
        """Compute all logits of (N, D), (N, V), in the precision of the weights if scale and cap are unset."""
        return self._logits_of(rows)

    def _logits_of(self, rows: Tensor, columns: slice = slice(None)) -> Tensor:
        """Compute logits of (N, D) at some ids, in the precision of the weights if scale and cap are unset."""
        if self.packed is not None and columns == slice(None):
            z = self.packed.multiply_alone(rows)
        else:
            bias = None if self.bias is None else self.bias[columns]
            z = linear(pad_rows(rows), self.weight[columns], bias)[: len(rows)]
        if self.scale != 1:
            z = to_float32_or_wider(z) * self.scale
        return z if self.cap is None else (to_float32_or_wider(z) / self.cap).tanh() * self.cap

    def _iter_columns(self, rows: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Yield the logits of (N, D) a block of the vocabulary at a time."""
        for columns in _slices(len(self.weight), len(self.weight) if self.weight.is_cuda else _COLUMNS):
            yield columns, self._logits_of(rows, columns)

    @property
    def _num_rows_at_once(self) -> int:
        return max(1, _MAX_GPU_LOGITS // len(self.weight)) if self.weight.is_cuda else _ROWS

    def streamed_logsumexp(
        self, rows: Tensor, support: Tensor, *, with_gradient: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the logits of the candidates and log Σ exp z over the vocabulary, block by block.

        Args:
            rows: (N, D).
            support: (N, K) candidates.
            with_gradient: whether the gradient of log Σ exp z is computed as well.

        Returns:
            The logits (N, K), log Σ exp z (N,), and its gradient in `rows`, (N, D), or (N, 0) without one.
        """
        compute = self._whole_logsumexp_of_rows if self.weight.is_cuda else self._streamed_logsumexp_of_rows
        parts = [
            compute(rows[part], support[part], with_gradient=with_gradient)
            for part in _slices(len(rows), self._num_rows_at_once)
        ]
        logits, totals, gradients = zip(*parts, strict=True)
        return torch.cat(logits), torch.cat(totals), torch.cat(gradients)

    def _whole_logsumexp_of_rows(
        self, rows: Tensor, support: Tensor, *, with_gradient: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the whole vocabulary at once, in few kernels."""
        z = self._logits_of(rows)
        wide = torch.promote_types(z.dtype, torch.float32)
        candidate_logits = z.gather(-1, support).to(wide)
        log_probs = z.log_softmax(-1, dtype=wide).gather(-1, support[:, :1])  # one kernel, unlike logsumexp
        total = (candidate_logits[:, :1] - log_probs).squeeze(-1)
        if not with_gradient:
            return candidate_logits, total, total.new_zeros(len(rows), 0)
        shares = z.softmax(-1)
        if self.cap is not None:
            shares = shares * (1 - (z / self.cap).square())
        gradient = to_float32_or_wider(shares.to(self.weight.dtype) @ self.weight)
        return candidate_logits, total, gradient * self.scale

    def _streamed_logsumexp_of_rows(
        self, rows: Tensor, support: Tensor, *, with_gradient: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Take one block of columns after another, and weight old and new results by their share of the sum."""
        wide = torch.promote_types(rows.dtype, torch.float32)
        total = rows.new_full((len(rows), 1), -torch.inf, dtype=wide)
        gradient = rows.new_zeros(len(rows), rows.shape[1] if with_gradient else 0, dtype=wide)
        candidate_logits = rows.new_empty(support.shape, dtype=wide)
        for columns, z in self._iter_columns(rows):
            places = support - columns.start
            is_inside = (places >= 0) & (places < z.shape[-1])
            inside = z.gather(-1, places.clamp(0, z.shape[-1] - 1)).to(wide)
            candidate_logits = torch.where(is_inside, inside, candidate_logits)
            shares = z.softmax(-1, dtype=wide)
            peak, place = z.max(-1, keepdim=True)
            block_total = peak.to(wide) - shares.gather(-1, place).log()
            before, total = total, torch.logaddexp(total, block_total)
            if with_gradient:
                weights = shares if self.cap is None else shares.mul_(1 - (z / self.cap).square_())
                block = pad_rows(weights.to(self.weight.dtype)) @ self.weight[columns]
                block = block[: len(rows)].to(wide) * (block_total - total).exp()
                gradient = gradient * (before - total).exp() + block
                del weights
            del z, shares  # before the next block needs as much memory
        return candidate_logits, total.squeeze(-1), gradient * self.scale


class _ExpectedLogProbs(torch.autograd.Function):
    """Σₖ softₖ · z_k − log Σ_v exp z_v; both gradients are computed in the forward pass."""

    @staticmethod
    def forward(ctx: Any, head: LMHead, hidden: Tensor, soft: Tensor, support: Tensor) -> Tensor:  # noqa: ANN401 - torch's own
        with_gradient = ctx.needs_input_grad[1]
        logits, total, gradient = head.streamed_logsumexp(hidden, support, with_gradient=with_gradient)
        if with_gradient:
            capped = soft if head.cap is None else soft * (1 - (logits / head.cap).square())
            columns = torch.nn.functional.embedding_bag(
                support, head.weight, mode="sum", per_sample_weights=capped.to(head.weight.dtype)
            )
            gradient = (head.scale * columns.to(gradient.dtype) - gradient).to(hidden.dtype)
        ctx.save_for_backward(logits, gradient)
        return (soft * logits).sum(-1) - total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor | None, Tensor | None, None]:  # noqa: ANN401 - torch's own
        logits, gradient = ctx.saved_tensors
        upstream = gradients[0][:, None]
        to_hidden = (upstream * gradient).to(gradient.dtype) if ctx.needs_input_grad[1] else None
        return None, to_hidden, upstream * logits if ctx.needs_input_grad[2] else None, None


def lm_head_of(model: PreTrainedModel) -> LMHead:
    """Return the output layer of a model, with the scale and the cap of its configuration.

    Raises:
        ArchitectureError: the model has no output layer.
    """
    layer: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    config = model.config.get_text_config()
    if layer is None or not hasattr(layer, "weight"):
        raise ArchitectureError(f"{type(model).__name__} has no output layer; load a causal language model.")
    factors = [getattr(config, name, None) or 1 for name in _FACTORS]
    divisors = [getattr(config, name, None) or 1 for name in _DIVISORS]
    scale = math.prod(factors) / math.prod(divisors)
    cap = next((cap for name in _CAPS if (cap := getattr(config, name, None))), None)
    bias = getattr(layer, "bias", None)
    weight = layer.weight.detach()
    frozen = None if bias is None else bias.detach()
    return LMHead(weight, frozen, scale, cap, pack_weight(weight, frozen) if is_worth_packing(model) else None)


def _slices(count: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, count)) for start in range(0, count, size))
