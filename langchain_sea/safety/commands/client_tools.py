"""Tools that are themselves a program of the command line: their arguments are judged behind the program's name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_sea.safety.commands.git_commands import name_git_loss
from langchain_sea.safety.commands.program_verbs import CLIENTS
from langchain_sea.safety.commands.shell import judge_command
from langchain_sea.safety.commands.shell_reader import plain_name
from langchain_sea.safety.text.argument_kinds import Kind, get_words, list_names
from langchain_sea.safety.text.patterns import Danger
from langchain_sea.safety.text.values import get_argument

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["judge_client_tool"]

_LINE_WORDS = frozenset(
    "command commands cmd args arguments argv input line script subcommand operation action verb params parameters".split()
)
_MAX_LINE = 2_000  # characters
_MAX_WORD = 200


def judge_client_tool(tool: str, texts: Sequence[tuple[str, Kind, str]]) -> Iterator[tuple[str, Danger]]:
    """Yield (argument, danger) of a tool such as `kubectl(command)` or `git_push(refspec)`.

    Args:
        tool: its name.
        texts: path, kind and text of each string in the arguments.
    """
    words = get_words(tool)
    program = next((CLIENTS[word] for word in words if word in CLIENTS), None)
    if program is None:
        return
    lines: dict[str, list[str]] = {}
    for where, _, text in texts:
        names = list_names(where)
        if names and not _LINE_WORDS.isdisjoint(get_words(names[-1])):
            lines.setdefault(get_argument(where), []).append(text)
    for argument, parts in lines.items():
        line = " ".join(parts)[:_MAX_LINE]
        if line.strip() and plain_name(line.split()[0]) != program:
            yield from ((argument, Danger(danger.reason)) for danger in judge_command(f"{program} {line}", level=1))
    if program == "git" and not lines and words[0] == "git":
        values = tuple(text for _, kind, text in texts if kind is not Kind.PROSE and len(text) <= _MAX_WORD)
        if reason := name_git_loss((*words[1:], *values), is_guess=True):
            yield "", Danger(reason)
