"""The control tokens that a model writes in its own turn, around calls and reasoning. Loads no model.

In many tokenizers they are special tokens, which no user may write and which decoding leaves out. The model may write
them, and decoding keeps them for the readers of calls and reasoning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


__all__ = ["THOUGHT_TAGS", "WRITTEN_MARKERS", "find_written_markers"]

THOUGHT_TAGS = (
    ("<think>", "</think>"),  # DeepSeek R1, Qwen 3, SmolLM3
    ("[THINK]", "[/THINK]"),  # Magistral
    ("<|START_THINKING|>", "<|END_THINKING|>"),  # Command A
)
"""The tags in which models think."""
_CALL_TAGS = (
    *("[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"),  # Mistral
    *("<|tool_call|>", "<|/tool_call|>", "<tool_call>", "</tool_call>"),  # Granite, Phi, Qwen
    *("<|python_tag|>", "<|python_start|>", "<|python_end|>"),  # Llama 3 and 4
    *("<|START_ACTION|>", "<|END_ACTION|>"),  # Command-R and Command A
    *(
        "<｜tool▁calls▁begin｜>",
        "<｜tool▁call▁begin｜>",
        "<｜tool▁sep｜>",
        "<｜tool▁call▁end｜>",
        "<｜tool▁calls▁end｜>",
    ),
)
WRITTEN_MARKERS = frozenset([*_CALL_TAGS, *(tag for tags in THOUGHT_TAGS for tag in tags)])
"""The control tokens that a model may write within its turn."""


def find_written_markers(control: Mapping[int, str]) -> frozenset[int]:
    """Return the ids of the control tokens with which models mark calls and reasoning.

    Args:
        control: the control tokens of a tokenizer.
    """
    return frozenset(i for i, token in control.items() if token in WRITTEN_MARKERS)
