"""The control token that ends a model's turn, as its chat template writes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_sea.models.template_markers import WRITTEN_MARKERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_sea.models.chat_template import ChatTemplate

__all__ = ["find_turn_ends"]

_USER, _ASSISTANT = "Q7questionQ7", "Q7answerQ7"


def find_turn_ends(template: ChatTemplate) -> frozenset[int]:
    """Return the id of the control token that the template prints behind an assistant's words; none if it has none."""
    messages = [{"role": "user", "content": _USER}, {"role": "assistant", "content": _ASSISTANT}]
    behind = template.render_example(messages).rpartition(_ASSISTANT)[2].lstrip()
    ends = [
        (token, i) for i, token in template.control.items() if behind.startswith(token) and token not in WRITTEN_MARKERS
    ]
    if not ends or _is_harmony(template.control):
        return frozenset()
    return frozenset([max(ends, key=lambda pair: len(pair[0]))[1]])


def _is_harmony(control: Mapping[int, str]) -> bool:
    """Whether turns consist of channels (gpt-oss): what ends the first of them does not end the answer."""
    return "<|channel|>" in control.values()
