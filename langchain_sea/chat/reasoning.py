"""The reasoning before an answer, within the tags in which models think. Knows no model."""

from __future__ import annotations

from typing import NamedTuple

from langchain_sea.models.template_markers import THOUGHT_TAGS

__all__ = ["SplitAnswer", "begins_with_thought", "split_reasoning"]


class SplitAnswer(NamedTuple):
    """A text without its reasoning; None where it has none."""

    reasoning: str | None
    text: str


def begins_with_thought(text: str) -> bool:
    """Return whether a text begins with a tag in which models think."""
    return text.lstrip().startswith(tuple(opening for opening, _ in THOUGHT_TAGS))


def split_reasoning(text: str, *, is_open: bool = False, is_cut: bool = False) -> SplitAnswer:
    """Separate the reasoning from the answer behind it.

    Args:
        text: what the model wrote.
        is_open: whether the prompt ends with the opening tag.
        is_cut: whether a limit ended the text. If its reasoning was open then, all of it is reasoning.
    """
    bare = text.lstrip()
    for opening, closing in THOUGHT_TAGS:
        if bare.startswith(opening):
            thought, _, answer = bare.removeprefix(opening).partition(closing)
            return SplitAnswer(thought.strip(), answer.lstrip())
    if not is_open:
        return SplitAnswer(None, text)
    ends = [(text.find(closing), closing) for _, closing in THOUGHT_TAGS if closing in text]
    if ends:
        at, closing = min(ends)
        return SplitAnswer(text[:at].strip(), text[at + len(closing) :].lstrip())
    return SplitAnswer(text.strip(), "") if is_cut else SplitAnswer(None, text)
