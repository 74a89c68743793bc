"""Draft and answer word by word, safe to show: what a text says is seen, and never obeyed. Needs nothing."""

from __future__ import annotations

import difflib
import html
import re
import unicodedata
from typing import TYPE_CHECKING, Literal, NamedTuple, Self

if TYPE_CHECKING:
    from langchain_sea.core.trace import Trace

__all__ = ["Diff", "as_html", "inert"]

_WORD = re.compile(r"\s*\w+|\s*[^\w\s]|\s+")  # joined they are the text again
_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_TERMINAL = {"same": "", "gone": "\x1b[31;9m", "new": "\x1b[32;1m"}
_END = "\x1b[0m"
_TAG = {"same": "span", "gone": "del", "new": "ins"}
_STYLE = {"same": "", "gone": ' style="color:#b3261e"', "new": ' style="color:#1a7f37;text-decoration:none;font-weight:600"'}  # fmt: skip

Kind = Literal["same", "gone", "new"]


def inert(text: str) -> str:
    """The text with all that steers a terminal or turns the direction of writing written out as an escape."""
    return "".join(c if c in "\n\t" or unicodedata.category(c) not in _UNSEEN else _escape(c) for c in text)


def as_html(text: str) -> str:
    """The same for a page: no tag, attribute, formula or direction of its own."""
    return html.escape(inert(text))


class Diff(NamedTuple):
    """Pieces in order, each of both texts (`same`), of the draft alone (`gone`) or of the answer (`new`).

    Shows coloured where a terminal (`print`) or a notebook displays it.
    """

    pieces: tuple[tuple[Kind, str], ...]

    @classmethod
    def of(cls, trace: Trace) -> Self:
        """Between the trace's draft and its answer; empty where a reward failed."""
        before, after = trace.before, trace.after
        return cls.between(before.text if before else "", after.text if after else "")

    @classmethod
    def between(cls, draft: str, answer: str) -> Self:
        """Of any two texts."""
        old, new = _WORD.findall(draft), _WORD.findall(answer)
        pieces = list[tuple[Kind, str]]()
        for _, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
            if old[a:b] == new[c:d]:
                pieces.append(("same", "".join(old[a:b])))
            else:
                if b > a:
                    pieces.append(("gone", "".join(old[a:b])))
                if d > c:
                    pieces.append(("new", "".join(new[c:d])))
        return cls(tuple(pieces))

    @property
    def draft(self) -> str:
        """The text before."""
        return "".join(text for kind, text in self.pieces if kind != "new")

    @property
    def answer(self) -> str:
        """The text after."""
        return "".join(text for kind, text in self.pieces if kind != "gone")

    def __str__(self) -> str:
        """For a terminal: what went struck out and red, what came bold and green."""
        return "".join(
            f"{_TERMINAL[kind]}{inert(text)}{_END}" if _TERMINAL[kind] else inert(text)
            for kind, text in self.pieces
        )

    def to_html(self) -> str:
        """A `<p>` of `<del>` and `<ins>`, its text escaped."""
        body = "".join(f"<{_TAG[kind]}{_STYLE[kind]}>{as_html(text)}</{_TAG[kind]}>" for kind, text in self.pieces)  # fmt: skip
        # Notebooks set formulas in what they are shown, unless told not to.
        return f'<p class="tex2jax_ignore mathjax_ignore" style="white-space:pre-wrap">{body}</p>'

    def _repr_html_(self) -> str:
        return self.to_html()


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"  # noqa: PLR2004
