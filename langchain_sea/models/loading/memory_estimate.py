"""Estimates the memory of a refinement, part by part, before anything is loaded. Reads configurations, no weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

from langchain_sea.errors import WeightsNotFoundError
from langchain_sea.models.loading.locations import where
from langchain_sea.models.packed_linear import MAX_PACKED_BYTES
from langchain_sea.plans import PLANS, find_plan

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from langchain_sea.presets import SearchConfig

__all__ = ["MemoryPart", "estimate_memory"]

_WIDTHS = {"float32": 4, "bfloat16": 2, "float16": 2}
_KEPT_STATES = 18  # hidden states per layer that a backward pass keeps: norms, projections, products
_KEPT_HIDDEN, _KEPT_INNER = 14, 5  # states of each width, per layer, that a gradient in the latents keeps
_DECODE_BYTES = 14  # logits in the weights' precision and in float32, masks, shares
_FIRST_DEPTH = 0.5  # of the layers: vectors of rewards act a little later, and latents without one later still
_MAX_LOGITS = 2**27  # that the output layer computes at once
_LOGIT_COPIES = 4  # float32 copies of (chains, tokens, vocabulary): logits, log π, their gradient, soft tokens


class MemoryPart(NamedTuple):
    """One part of the memory."""

    name: str
    size: int  # bytes
    formula: str


@dataclass(frozen=True, slots=True)
class _Shape:
    """The numbers of a model's configuration that decide its memory; `width` is bytes per value."""

    layers: int
    hidden: int
    inner: int
    heads: int
    head_dim: int
    vocabulary: int
    width: int

    @classmethod
    def of(cls, config: PreTrainedConfig, width: int) -> _Shape:
        """Read them from a configuration of `transformers`."""
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
        return cls(config.num_hidden_layers, config.hidden_size, inner, heads, head_dim, config.vocab_size, width)

    @property
    def token(self) -> int:
        """Bytes of the keys and values of one token."""
        return 2 * self.layers * self.heads * self.head_dim * self.width


def estimate_memory(
    policy: str,
    rewards: list[str],
    search_config: SearchConfig,
    *,
    tokens: int = 64,
    prompt_tokens: int = 256,
    requests: int = 1,
    dtype: str = "bfloat16",
    device: str = "cuda",
) -> list[MemoryPart]:
    """Estimate the largest parts that exist at the same time, and their sum; activations are an upper bound.

    Args:
        policy: a name, folder or `.gguf` file on this machine.
        rewards: folders or names of reward models; heads are small and need not be listed.
        search_config: of the preset.
        tokens: of an answer.
        prompt_tokens: of a prompt.
        requests: that are refined together.
        dtype: of the weights.
        device: `cuda`, or `cpu`, which keeps a packed copy of smaller weights in bfloat16.

    Raises:
        WeightsNotFoundError: a configuration is not on this machine.
    """
    width = _WIDTHS[dtype]
    config = _read_config(policy)
    models: list[tuple[str, PreTrainedConfig, Any]] = [(f"policy {policy}", config, AutoModelForCausalLM)]
    models += [(f"reward {name}", _read_config(name), AutoModelForSequenceClassification) for name in rewards]
    shape = _Shape.of(config, width)
    weights = [
        MemoryPart(name, _count_parameters(each, kind) * width, "parameters × bytes") for name, each, kind in models
    ]
    if device == "cpu" and dtype != "float16" and weights[0].size <= MAX_PACKED_BYTES:
        weights.append(
            MemoryPart("the policy's packed weights", weights[0].size, "at most a copy for the CPU's kernels")
        )
    parts = [
        *weights,
        MemoryPart(
            "prompts' states",
            requests * prompt_tokens * shape.token,
            f"{requests} requests × {prompt_tokens} tokens × 2 × {shape.layers} layers × {shape.heads} heads × {shape.head_dim} × {width} bytes",
        ),
        *(
            _search_parts(shape, search_config, search_config.block_size or tokens, requests)
            if search_config.latent is None
            else _latent_parts(shape, search_config, tokens, prompt_tokens, requests)
        ),
    ]
    return [*parts, MemoryPart("together", sum(part.size for part in parts), "sum")]


def _latent_parts(
    shape: _Shape, search_config: SearchConfig, tokens: int, prompt_tokens: int, requests: int
) -> list[MemoryPart]:
    """Estimate the draws, their scores, and the gradient in the latents, with the largest plan or the one asked for."""
    assert search_config.latent is not None
    plan = PLANS[-1] if search_config.plan is None else find_plan(search_config.plan)
    rows, kept, width = requests * plan.num_draws, requests * plan.kept, shape.width
    drawn = _round_up(prompt_tokens + plan.tokens, 64)
    written = _round_up(prompt_tokens + tokens, 64)
    positions = max(rows * drawn, kept * written)
    read = rows * _round_up(plan.tokens + 1, 8)
    layers = round((1 - min(_FIRST_DEPTH, search_config.latent.depth)) * shape.layers)
    states = _KEPT_HIDDEN * shape.hidden + _KEPT_INNER * shape.inner
    at_once = min(max(read, kept * tokens), max(1, _MAX_LOGITS // shape.vocabulary))
    return [
        MemoryPart("draws' states", positions * shape.token, f"{positions} positions × {shape.token} bytes"),
        MemoryPart(
            "a token of each draw",
            rows * shape.vocabulary * _DECODE_BYTES,
            f"{rows} rows × {shape.vocabulary} × {_DECODE_BYTES} bytes",
        ),
        MemoryPart(
            "scores of draws",
            at_once * shape.vocabulary * (2 * width + 4),
            f"{at_once} tokens × {shape.vocabulary} × {2 * width + 4} bytes",
        ),
        MemoryPart(
            "a gradient in the latents",
            read * layers * states * width + rows * drawn * shape.token * layers // shape.layers,
            f"{read} tokens × {layers} layers × {states} × {width} bytes, and a copy of the draws' states there",
        ),
    ]


def _round_up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple


def _search_parts(shape: _Shape, search_config: SearchConfig, tokens: int, requests: int) -> list[MemoryPart]:
    """Estimate the drafts and the steps of the chains; `tokens` are those that move at once."""
    chains = search_config.chains.num_chains
    rows = max(search_config.drafts.num_drafts, chains)
    candidates = min(search_config.chains.num_candidates or shape.vocabulary, shape.vocabulary)
    layers, hidden, vocabulary = shape.layers, shape.hidden, shape.vocabulary
    return [
        MemoryPart(
            "drafts' states",
            requests * rows * tokens * shape.token,
            f"{requests} × {rows} rows × {tokens} tokens × the same",
        ),
        MemoryPart(
            "drafts' logits", requests * rows * vocabulary * 4, f"{requests} × {rows} rows × {vocabulary} × 4 bytes"
        ),
        MemoryPart(
            "a step: activations",
            requests * chains * tokens * layers * _KEPT_STATES * hidden * shape.width,
            f"{requests} × {chains} chains × {tokens} tokens × {layers} layers × {_KEPT_STATES} × {hidden} × {shape.width} bytes",
        ),
        MemoryPart(
            "a step: logits and their gradient",
            requests * chains * tokens * (vocabulary * 4 + _LOGIT_COPIES * candidates * 4),
            f"{requests} × {chains} × {tokens} × ({vocabulary} + {_LOGIT_COPIES} × {candidates}) × 4 bytes",
        ),
    ]


def _read_config(name: str) -> PreTrainedConfig:
    location = where(name)
    path = location.path
    if path is not None and path.suffix == ".gguf":
        config: PreTrainedConfig = AutoConfig.from_pretrained(path.parent, gguf_file=path.name)
        return config
    if path is None or not (path / "config.json").is_file():
        reason = location.advice or location.source
        raise WeightsNotFoundError(f"the configuration of {name!r} is not on this machine: {reason}")
    config = AutoConfig.from_pretrained(path, local_files_only=True)
    text_config: PreTrainedConfig = config.get_text_config()
    return text_config


def _count_parameters(config: PreTrainedConfig, kind: Any) -> int:  # noqa: ANN401 - auto classes share no type
    """Count on a model without storage; tied ones once."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in kind.from_config(config).parameters())
