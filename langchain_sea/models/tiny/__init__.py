"""Loads the three checkpoints of the tiny model that ships, for tests and examples.

May import nothing of the package. Knows no rewards and no chains.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["TIERS", "WEIGHTS", "load"]

TIERS = ("expert", "early_30", "early_03")
WEIGHTS = Path(__file__).parent / "weights"


def load(tier: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load one checkpoint, in float32 and frozen, and the tokenizer that all checkpoints share.

    Raises:
        ValueError: `tier` is not one of `TIERS`.
    """
    if tier not in TIERS:
        raise ValueError(f"no tier {tier!r}; the tiers are {', '.join(TIERS)}")
    model = LlamaForCausalLM(LlamaConfig.from_pretrained(WEIGHTS))
    model.load_state_dict(load_file(WEIGHTS / f"{tier}.safetensors"), strict=False)
    model.tie_weights()
    model.eval().requires_grad_(False)  # type: ignore[no-untyped-call]
    return model, PreTrainedTokenizerFast.from_pretrained(WEIGHTS)
