"""The policy's last step, states → log-probabilities, without ever holding all of the vocabulary at once.

    log π(k) = z_k − log Σ_v exp z_v,    z = cap · tanh(scale · (W h + b) / cap)    no cap: scale · (W h + b)

Shapes: N rows of width D, K candidates, V vocabulary, read `_COLUMNS` at a time, so that memory grows with N
and not with V. Knows neither prompts nor text.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear

from langchain_sea.errors import ArchitectureError
from langchain_sea.models.kv_cache import pad_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from transformers import PreTrainedModel

__all__ = ["LMHead", "lm_head_of"]

_COLUMNS = 4096
_ROWS = 512  # with `_COLUMNS`, 8 MB of float32 at once
_WHOLE = 128  # rows of all columns at once


@dataclass(frozen=True, slots=True, eq=False)
class LMHead:
    """The output layer.

    Attributes:
        weight: (V, D), frozen.
        bias: (V,), if there is one.
        scale: multiplies the logits.
        cap: bounds them (Gemma 2), if there is one.
    """

    weight: Tensor
    bias: Tensor | None = None
    scale: float = 1.0
    cap: float | None = None

    def logits(self, hidden: Tensor) -> Tensor:
        """(…, D) → (…, V), float32 or wider; differentiable in `hidden`."""
        found = _wide(self._product(hidden.reshape(-1, hidden.shape[-1])))
        return found.view(*hidden.shape[:-1], -1)

    def select_ids(self, ids: Sequence[int]) -> LMHead:
        """The same for these ids alone: (…, D) → (…, len(ids)) logits."""
        rows = list(ids)
        return replace(self, weight=self.weight[rows], bias=None if self.bias is None else self.bias[rows])

    def iter_logits(self, rows: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """The logits of (N, D), some rows at a time, (n, V), in the weights' own precision."""
        for part in _slices(len(rows), _WHOLE):
            yield part, self._product(rows[part])

    def log_probs(self, hidden: Tensor, soft: Tensor, support: Tensor) -> Tensor:
        """Σₖ softₖ · log π(k), (…, D), (…, K), (…, K) → (…); differentiable in `hidden` and `soft`."""
        flat = (part.reshape(-1, part.shape[-1]) for part in (hidden, soft, support))
        found: Tensor = _LogProbs.apply(self, *flat)  # type: ignore[no-untyped-call]
        return found.view(hidden.shape[:-1])

    @torch.no_grad()
    def log_probs_at(self, hidden: Tensor, support: Tensor) -> Tensor:
        """Log π on the support, (…, D), (…, K) → (…, K)."""
        flat = hidden.reshape(-1, hidden.shape[-1])
        chosen, total, _ = self._streamed_logsumexp(flat, support.reshape(len(flat), -1), slope=False)
        return (chosen - total[:, None]).view(support.shape)

    @torch.no_grad()
    def top_k(self, hidden: Tensor, first: Tensor, size: int, banned: Tensor) -> Tensor:
        """(…, K) distinct ids, the likeliest after `first`, (…), which always stands first.

        Args:
            hidden: (…, D).
            first: the ids that must be in.
            size: K, at most V.
            banned: (V,) bool, taken only where nothing else is left.
        """
        rows, lead = hidden.reshape(-1, hidden.shape[-1]), first.reshape(-1, 1)
        size = min(size, len(self.weight))
        found = []
        for part in _slices(len(rows), _ROWS):
            values = rows.new_zeros(part.stop - part.start, 0, dtype=torch.float32)
            ids = values.long()
            for columns, narrow in self._iter_columns(rows[part]):
                z = _wide(narrow)
                z.masked_fill_(banned[columns], -torch.finfo(z.dtype).max)
                z.masked_fill_(
                    lead[part] == torch.arange(columns.start, columns.stop, device=z.device), torch.inf
                )
                kept = values.shape[-1]
                values, order = torch.cat([values, z], -1).topk(min(size, kept + z.shape[-1]))
                # a place among the kept ones, or a column
                old = ids.gather(-1, order.clamp(max=kept - 1)) if kept else order
                ids = torch.where(order < kept, old, order + (columns.start - kept))
                del z, narrow  # before the next columns take as much
            found.append(ids)
        return torch.cat(found).view(*first.shape, size)

    def _product(self, rows: Tensor, columns: slice = slice(None)) -> Tensor:
        """The logits of (N, D) at some ids; in the weights' own precision where nothing shapes them."""
        bias = None if self.bias is None else self.bias[columns]
        z = linear(pad_rows(rows), self.weight[columns], bias)[: len(rows)]
        if self.scale != 1:
            z = _wide(z) * self.scale
        return z if self.cap is None else (_wide(z) / self.cap).tanh() * self.cap

    def _iter_columns(self, rows: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """The logits of (N, D), some columns of the vocabulary at a time."""
        for columns in _slices(len(self.weight), _COLUMNS):
            yield columns, self._product(rows, columns)

    def _streamed_logsumexp(
        self, rows: Tensor, support: Tensor, *, slope: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Logits on the support (N, K), log Σ exp (N,), and its slope in the states, (N, D) or empty."""
        parts = _slices(len(rows), _ROWS)
        found = [self._streamed_logsumexp_rows(rows[part], support[part], slope=slope) for part in parts]
        chosen, totals, slopes = zip(*found, strict=True)
        return torch.cat(chosen), torch.cat(totals), torch.cat(slopes)

    def _streamed_logsumexp_rows(
        self, rows: Tensor, support: Tensor, *, slope: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One pass: each part's softmax and log Σ exp, then both what was before and it by their shares."""
        wide = torch.promote_types(rows.dtype, torch.float32)
        total = rows.new_full((len(rows), 1), -torch.inf, dtype=wide)
        slopes = rows.new_zeros(len(rows), rows.shape[1] if slope else 0, dtype=wide)
        chosen = rows.new_empty(support.shape, dtype=wide)
        for columns, z in self._iter_columns(rows):
            places = support - columns.start
            inside = (places >= 0) & (places < z.shape[-1])
            found = z.gather(-1, places.clamp(0, z.shape[-1] - 1)).to(wide)
            chosen = torch.where(inside, found, chosen)
            shares = z.softmax(-1, dtype=wide)
            top, place = z.max(-1, keepdim=True)
            here = top.to(wide) - shares.gather(-1, place).log()
            before, total = total, torch.logaddexp(total, here)
            if slope:
                weights = shares if self.cap is None else shares.mul_(1 - (z / self.cap).square_())
                part = pad_rows(weights.to(self.weight.dtype)) @ self.weight[columns]
                part = part[: len(rows)].to(wide) * (here - total).exp()
                slopes = slopes * (before - total).exp() + part
                del weights
            del z, shares  # before the next columns take as much
        return chosen, total.squeeze(-1), slopes * self.scale


def _wide(z: Tensor) -> Tensor:
    return z.to(torch.promote_types(z.dtype, torch.float32))


class _LogProbs(torch.autograd.Function):
    """Σₖ softₖ · z_k − log Σ_v exp z_v, with both slopes taken on the way forward."""

    @staticmethod
    def forward(ctx: Any, head: LMHead, hidden: Tensor, soft: Tensor, support: Tensor) -> Tensor:  # noqa: ANN401 - torch's own
        slope = ctx.needs_input_grad[1]
        chosen, total, slopes = head._streamed_logsumexp(hidden, support, slope=slope)  # noqa: SLF001 - this is its derivative
        if slope:
            bent = soft if head.cap is None else soft * (1 - (chosen / head.cap).square())
            columns = torch.nn.functional.embedding_bag(
                support, head.weight, mode="sum", per_sample_weights=bent.to(head.weight.dtype)
            )
            slopes = (head.scale * columns.to(slopes.dtype) - slopes).to(hidden.dtype)
        ctx.save_for_backward(chosen, slopes)
        return (soft * chosen).sum(-1) - total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor | None, Tensor | None, None]:  # noqa: ANN401
        chosen, slopes = ctx.saved_tensors
        gradient = gradients[0][:, None]
        to_hidden = (gradient * slopes).to(slopes.dtype) if ctx.needs_input_grad[1] else None
        return None, to_hidden, gradient * chosen if ctx.needs_input_grad[2] else None, None


class _Known(NamedTuple):
    """What configurations call the factors of the logits."""

    scale: float
    cap: float | None


def lm_head_of(model: PreTrainedModel) -> LMHead:
    """The model's output layer.

    Raises:
        ArchitectureError: its logits are not what this layer makes of its last states.
    """
    layer: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    config = model.config.get_text_config()
    if layer is None or not hasattr(layer, "weight"):
        raise ArchitectureError(f"{type(model).__name__} has no output layer; load a causal language model.")
    known = _Known(
        getattr(config, "logit_scale", None) or 1 / (getattr(config, "logits_scaling", None) or 1),
        getattr(config, "final_logit_softcapping", None),
    )
    bias = getattr(layer, "bias", None)
    weight = layer.weight.detach()
    return LMHead(weight, None if bias is None else bias.detach(), *known)


def _slices(count: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, count)) for start in range(0, count, size))
