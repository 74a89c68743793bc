"""What a command does because of an earlier call: it runs a file that the agent wrote, or works in another folder.

Each call alone can look harmless: a script is written as a text, and then run by its name. Knows no policy.
"""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING

from langchain_sea.safety.commands.code import judge_program
from langchain_sea.safety.commands.shell import judge_command
from langchain_sea.safety.text.name_patterns import CODE_NAME, PATH_NAME
from langchain_sea.safety.text.values import get_field, list_strings, to_snake_case

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["find_doubt_of_command", "read_arguments"]

_SHELLS = frozenset(["sh", "bash", "zsh", "dash", "ksh", "source", ".", "exec", "sudo", "nohup", "time", "env"])
_INTERPRETERS = frozenset(["python", "python3", "node", "ruby", "perl", "php", "deno", "bun"])
_CHANGE = re.compile(r"(?:^|[;&|\n]\s*)cd\s+([^\s;&|]+)")
_MAX_CALLS = 200  # the newest ones
_MAX_COMMAND = 8_000  # characters that are read as words


def read_arguments(text: str) -> dict[str, object]:
    """Read the arguments of an earlier call; none where they cannot be read."""
    try:
        value = json.loads(text) if text else {}
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def find_doubt_of_command(command: str, earlier: Sequence[dict[str, object]]) -> str | None:
    """Return what a command does beside what its own words say.

    Args:
        command: of a shell.
        earlier: arguments of the thread's calls, oldest first.
    """
    words = _split(command[:_MAX_COMMAND])
    for arguments in reversed(earlier[-_MAX_CALLS:]):
        for path, content in _list_files(arguments):
            if reason := _judge_script(words, path, content):
                return reason
    folder = next((match for each in reversed(earlier[-_MAX_CALLS:]) if (match := _find_folder(each))), None)
    return _judge_folder(words, folder) if folder else None


def _list_files(arguments: dict[str, object]) -> Iterator[tuple[str, str]]:
    """Yield (path, content) of what a call wrote: the path it names with each longer text."""
    texts = [(to_snake_case(get_field(path)), value) for path, value in list_strings(arguments) if path]
    paths = [value for name, value in texts if PATH_NAME.search(name)]
    for path in paths:
        yield from ((path, value) for _, value in texts if value != path)


def _judge_script(words: list[str], path: str, content: str) -> str | None:
    """Return what is dangerous in a script that the words run."""
    name = path.replace("\\", "/").rstrip("/").rpartition("/")[2]
    for place, word in enumerate(words):
        if word.replace("\\", "/").rpartition("/")[2] != name or not name:
            continue
        before = words[place - 1].rpartition("/")[2] if place else ""
        if before in _INTERPRETERS:
            dangers = judge_program(content, judge_command)
        elif before in _SHELLS or place == 0 or words[place - 1] in (";", "&&", "||", "|"):
            dangers = judge_command(content)
        else:
            continue
        if dangers:
            return f"it runs {name}, which the agent wrote: {dangers[0].reason}"
    return None


def _find_folder(arguments: dict[str, object]) -> str | None:
    """Return the folder into which a command changed."""
    for path, value in list_strings(arguments):
        if path and CODE_NAME.search(to_snake_case(get_field(path))) and (folders := _CHANGE.findall(value)):
            return str(folders[-1]).strip("'\"")
    return None


def _judge_folder(words: list[str], folder: str) -> str | None:
    """Return what the words destroy for certain in the folder that an earlier command changed into."""
    if not folder.startswith(("/", "~")):
        return None
    moved = [
        word if place == 0 or word.startswith(("-", "/", "~", "$")) else f"{folder.rstrip('/')}/{word}"
        for place, word in enumerate(words)
    ]
    dangers = [danger for danger in judge_command(shlex.join(moved).replace("'", "")) if danger.is_certain]
    return f"in {folder}, into which an earlier command changed, {dangers[0].reason}" if dangers else None


def _split(command: str) -> list[str]:
    try:
        return shlex.split(command, comments=True)
    except ValueError:
        return command.split()
