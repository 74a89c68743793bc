"""A word diff of draft and answer, and the escaping of texts that are shown. Needs nothing else."""

from __future__ import annotations

import difflib
import html
import re
import unicodedata
from typing import Literal, NamedTuple, Self

__all__ = ["Diff", "escape_control", "escape_html"]

_WORD = re.compile(r"\s*\w+|\s*[^\w\s]|\s+")  # the pieces joined are the text
_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # Unicode categories
_TERMINAL = {"same": "", "removed": "\x1b[31;9m", "added": "\x1b[32;1m"}
_END = "\x1b[0m"
_TAG = {"same": "span", "removed": "del", "added": "ins"}
_STYLE = {"same": "", "removed": ' style="color:#b3261e"', "added": ' style="color:#1a7f37;text-decoration:none;font-weight:600"'}  # fmt: skip
_LATIN_1_END, _BMP_END = 0x100, 0x10000

Kind = Literal["same", "removed", "added"]


def escape_control(text: str) -> str:
    r"""Write control, format and invisible characters as escapes such as `\x1b`.

    Those would move a terminal's cursor or change the direction of writing.
    """
    return "".join(c if c in "\n\t" or unicodedata.category(c) not in _INVISIBLE else _escape(c) for c in text)


def escape_html(text: str) -> str:
    """Escape control characters and HTML, so that the text adds no tag and no attribute to a page."""
    return html.escape(escape_control(text))


class Diff(NamedTuple):
    """Pieces of two texts in order: in both (`same`), in the draft alone (`removed`), in the answer alone (`added`).

    It is coloured where a terminal (`print`) or a notebook displays it.
    """

    pieces: tuple[tuple[Kind, str], ...]

    @classmethod
    def between(cls, draft: str, answer: str) -> Self:
        """Compare two texts word by word."""
        old, new = _WORD.findall(draft), _WORD.findall(answer)
        pieces = list[tuple[Kind, str]]()
        for _, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
            if old[a:b] == new[c:d]:
                pieces.append(("same", "".join(old[a:b])))
            else:
                if b > a:
                    pieces.append(("removed", "".join(old[a:b])))
                if d > c:
                    pieces.append(("added", "".join(new[c:d])))
        return cls(tuple(pieces))

    @property
    def draft(self) -> str:
        """The first text."""
        return "".join(text for kind, text in self.pieces if kind != "added")

    @property
    def answer(self) -> str:
        """The second text."""
        return "".join(text for kind, text in self.pieces if kind != "removed")

    def __str__(self) -> str:
        """For a terminal: removed words struck out and red, added words bold and green."""
        return "".join(
            f"{_TERMINAL[kind]}{escape_control(text)}{_END}" if _TERMINAL[kind] else escape_control(text)
            for kind, text in self.pieces
        )

    def to_html(self) -> str:
        """Return a `<p>` of `<del>` and `<ins>` with escaped text."""
        body = "".join(f"<{_TAG[kind]}{_STYLE[kind]}>{escape_html(text)}</{_TAG[kind]}>" for kind, text in self.pieces)  # fmt: skip
        # These classes keep MathJax from typesetting `$…$` in a notebook.
        return f'<p class="tex2jax_ignore mathjax_ignore" style="white-space:pre-wrap">{body}</p>'

    def _repr_html_(self) -> str:
        return self.to_html()


def _escape(character: str) -> str:
    code = ord(character)
    if code < _LATIN_1_END:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < _BMP_END else f"\\U{code:08x}"
