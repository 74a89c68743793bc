"""Commands in values that are none: what a shell would run if a program wrote the value into a command."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from langchain_sea.safety.commands import command_lists as lists
from langchain_sea.safety.commands.shell import judge_command
from langchain_sea.safety.commands.shell_reader import plain_name
from langchain_sea.safety.commands.shell_signs import REVERSE_SHELLS, find_fork_bomb
from langchain_sea.safety.text.patterns import Danger, compile_pattern, search_patterns

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["find_injection"]

_MAX_WINDOWS = 20  # places in a value that are parsed
_MAX_SEPARATORS = 8_000  # of a value that are looked at
_WINDOW = 300  # characters
_BEGINNING = re.compile(r"(\$\(|[<>]\(|^|[;&|\n\r]|`)[\s{(!]{0,20}+([^\s;&|<>()`]{1,60})", re.ASCII)
"""Where a shell begins a command. Every repetition is bounded, so that the time grows linearly here as well."""


def find_injection(text: str) -> Iterator[Danger]:
    """Yield each command that a shell would run if it got this value: after a separator, or as the whole value."""
    number = end = 0
    judged: set[str] = set()
    for index, match in enumerate(_BEGINNING.finditer(text)):
        if index >= _MAX_SEPARATORS:
            yield Danger(f"it holds more than {_MAX_SEPARATORS} places where a shell would begin a command")
            return
        separator, start = match[1], match.start(2)
        name = plain_name(match[2])
        if separator == "`" and (
            text[match.start() - 1 : match.start()] == "`" or text[match.end() : match.end() + 1] == ""
        ):
            continue  # a fence of Markdown, or a closing quote
        if name not in lists.COMMANDS and not text.startswith(("mkfs", ":()"), start):
            continue
        if separator and _looks_like_command(name, _cut(text, start, separator), separator):
            yield Danger(f"a shell would run a command in it ({text[start : start + 60].strip()!r})")
        if start < end:
            continue  # it lies in a window that was judged as a whole
        number += 1
        if number > _MAX_WINDOWS:
            yield Danger(f"it holds more than {_MAX_WINDOWS} commands, which are not all judged")
            return
        window = _cut(text, start, separator)
        end = start + len(window)
        if window not in judged:
            judged.add(window)
            yield from (danger for danger in judge_command(window, level=1) if danger.is_certain)
    if compile_pattern(r"\$\{?IFS\b").search(text):
        yield Danger("a shell would read blanks in it ('$IFS')")
    yield from find_fork_bomb(text)
    yield from search_patterns(text, (*lists.WINDOWS_CERTAIN, *REVERSE_SHELLS), is_certain=True)


def _looks_like_command(name: str, window: str, separator: str) -> bool:
    """Return whether a known command after a separator is one, and no ordinary word after a semicolon."""
    rest = re.split(r"[;&|)\n`]", window, maxsplit=1)[0].split()[1:]
    if separator in ("$(", "<(", ">("):
        return True
    if not rest:
        return name not in lists.AMBIGUOUS or separator == "|"
    signs = any(re.match(r"""[-/~.$"'*\\+]|https?:|\w+[./=:]\S""", word) for word in rest[:3])
    if name in ("sleep", "kill", "ping") and rest[0].isdigit():
        return True
    return signs or (name not in lists.AMBIGUOUS and len(rest) <= 2)  # noqa: PLR2004 - more words are a sentence


def _cut(text: str, start: int, separator: str) -> str:
    """Return what a shell would read from a place on, up to the end of the line or the closing quote."""
    return re.split(r"[`\n]" if separator == "`" else r"\n", text[start : start + _WINDOW], maxsplit=1)[0]
