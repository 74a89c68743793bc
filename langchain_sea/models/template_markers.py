"""The control tokens that a model writes in its own turn: around calls and reasoning, and at the end. Loads no model.

In many tokenizers they are special tokens, which no user may write and which decoding leaves out. The model may write
them, decoding keeps them for the readers of calls and reasoning, and what the template prints behind an assistant's
words ends an answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_sea.models.chat_template import ChatTemplate

__all__ = ["THOUGHT_TAGS", "find_turn_ends", "find_written_markers"]

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
_WRITTEN = frozenset([*_CALL_TAGS, *(tag for tags in THOUGHT_TAGS for tag in tags)])
_USER, _ASSISTANT = "Q7questionQ7", "Q7answerQ7"


def find_written_markers(control: Mapping[int, str]) -> frozenset[int]:
    """Return the ids of the control tokens with which models mark calls and reasoning.

    Args:
        control: the control tokens of a tokenizer.
    """
    return frozenset(i for i, token in control.items() if token in _WRITTEN)


def find_turn_ends(template: ChatTemplate) -> frozenset[int]:
    """Return the id of the control token that the template prints behind an assistant's words; none if it has none."""
    messages = [{"role": "user", "content": _USER}, {"role": "assistant", "content": _ASSISTANT}]
    behind = template.render_example(messages).rpartition(_ASSISTANT)[2].lstrip()
    found = [(token, i) for i, token in template.control.items() if behind.startswith(token) and token not in _WRITTEN]
    if not found or _is_harmony(template.control):
        return frozenset()
    return frozenset([max(found, key=lambda pair: len(pair[0]))[1]])


def _is_harmony(control: Mapping[int, str]) -> bool:
    """Whether turns consist of channels (gpt-oss): what ends the first of them does not end the answer."""
    return "<|channel|>" in control.values()
