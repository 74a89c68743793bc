"""What memory a refinement takes, part by part, before anything is loaded. Reads configurations, never weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

from langchain_sea.errors import WeightsNotFoundError
from langchain_sea.models import loading

if TYPE_CHECKING:
    from langchain_sea.presets import SearchConfig

__all__ = ["MemoryPart", "plan"]

_WIDTHS = {"float32": 4, "bfloat16": 2, "float16": 2}
_KEPT = 18  # widths of hidden states a layer that a backward keeps: norms, projections, attention's and MLP's products
_GRADED = 4  # copies of (chains, window, vocabulary) in float32: logits, log π, their gradient, soft tokens


class MemoryPart(NamedTuple):
    """One part of the memory."""

    name: str
    size: int  # bytes
    formula: str


def plan(
    policy: str,
    rewards: list[str],
    search_config: SearchConfig,
    *,
    tokens: int = 64,
    prompt_tokens: int = 256,
    requests: int = 1,
    dtype: str = "bfloat16",
) -> list[MemoryPart]:
    """The parts, largest things that are there at the same time; activations are estimated from above.

    Args:
        policy: a name, folder or `.gguf` file that is at hand.
        rewards: folders or names of models that steer or rank, beside heads, which are small.
        search_config: of the preset.
        tokens: of an answer.
        prompt_tokens: of a prompt.
        requests: that are refined together.
        dtype: of the weights.

    Raises:
        WeightsNotFoundError: no configuration is at hand.
    """
    config, width = _config(policy), _WIDTHS[dtype]
    layers, hidden = config.num_hidden_layers, config.hidden_size
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or hidden // config.num_attention_heads
    state = 2 * layers * heads * size * width  # bytes of keys and values of a token
    moved = search_config.block_size or tokens
    rows = max(search_config.drafts.num_drafts, search_config.chains.num_chains)
    vocabulary = (
        config.vocab_size
        if search_config.chains.num_candidates is None
        else min(search_config.chains.num_candidates, config.vocab_size)
    )
    found = [
        MemoryPart(
            f"policy {policy}", _parameters(config, AutoModelForCausalLM) * width, "parameters × bytes"
        ),
        *(
            MemoryPart(
                f"reward {name}",
                _parameters(_config(name), AutoModelForSequenceClassification) * width,
                "parameters × bytes",
            )
            for name in rewards
        ),
        MemoryPart(
            "prompts' states",
            requests * prompt_tokens * state,
            f"{requests} requests × {prompt_tokens} tokens × 2 × {layers} layers × {heads} heads × {size} × {width} bytes",
        ),
        MemoryPart(
            "drafts' states",
            requests * rows * moved * state,
            f"{requests} × {rows} rows × {moved} tokens × the same",
        ),
        MemoryPart(
            "drafts' logits",
            requests * rows * config.vocab_size * 4,
            f"{requests} × {rows} rows × {config.vocab_size} × 4 bytes",
        ),
        MemoryPart(
            "a step: activations",
            requests * search_config.chains.num_chains * moved * layers * _KEPT * hidden * width,
            f"{requests} × {search_config.chains.num_chains} chains × {moved} tokens × {layers} layers × {_KEPT} × {hidden} × {width} bytes",
        ),
        MemoryPart(
            "a step: logits and their gradient",
            requests
            * search_config.chains.num_chains
            * moved
            * (config.vocab_size * 4 + _GRADED * vocabulary * 4),
            f"{requests} × {search_config.chains.num_chains} × {moved} × ({config.vocab_size} + {_GRADED} × {vocabulary}) × 4 bytes",
        ),
    ]
    return [*found, MemoryPart("together", sum(part.size for part in found), "sum")]


def _config(name: str) -> Any:  # noqa: ANN401 - transformers' configurations share no type
    found = loading.where(name)
    path = None if found.path is None else Path(found.path)
    if path is not None and path.suffix == ".gguf":
        return AutoConfig.from_pretrained(path.parent, gguf_file=path.name)
    if path is None or not (path / "config.json").is_file():
        raise WeightsNotFoundError(f"no configuration of {name!r} is at hand: {found.advice or found.source}")
    config = AutoConfig.from_pretrained(path, local_files_only=True)
    return getattr(config, "text_config", config)


def _parameters(config: Any, kind: Any) -> int:  # noqa: ANN401 - as above
    """Counted on a model without storage; tied ones once."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in kind.from_config(config).parameters())
