"""What is dangerous in the arguments of one call about files together: folder and name, path and content."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from langchain_sea.safety.addresses.paths import find_bad_path
from langchain_sea.safety.commands.code import judge_program
from langchain_sea.safety.commands.program_options import find_mounted_folder
from langchain_sea.safety.commands.running_files import find_running_file, find_running_manifest, is_build_file
from langchain_sea.safety.commands.shell import judge_command
from langchain_sea.safety.text.argument_kinds import Kind, get_words, list_names
from langchain_sea.safety.text.patterns import Danger
from langchain_sea.safety.text.values import get_argument

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["judge_files", "judge_script"]

_FOLDER_WORDS = frozenset("folder directory dir path root base parent location cwd workdir prefix".split())
_MOUNT_WORDS = frozenset("symlink hardlink junction mount mounts volume volumes bind binds hostpath".split())
_MAX_PATH = 300  # characters
_NAME_WORDS = frozenset("name file filename basename key target item entry".split())
_MAX_CODE = 100_000  # characters of a program that are judged
_MAX_FILES = 8  # folders and names of one call that are joined
_SHELL_SCRIPT = re.compile(
    r"\.(?:sh|bash|zsh|ksh|command|bats)$|(?:^|/)(?:makefile|gnumakefile|justfile)$", re.IGNORECASE
)
_DOCKER_FILE = re.compile(r"(?:^|/)(?:dockerfile|containerfile)(?:\.[\w-]+)?$", re.IGNORECASE)
_SHELL_LINE = re.compile(r"#!\s*\S*(?:/|env\s+)(?:ba|z|da|k|a)?sh\b")
_CODE_FILE = re.compile(r"\.(?:py|js|mjs|cjs|ts|rb|pl|php|ps1|bat|cmd|lua|r|rs|go|gyp)$", re.IGNORECASE)


def judge_files(tool: str, texts: Sequence[tuple[str, Kind, str]], *, reads_only: bool) -> Iterator[tuple[str, Danger]]:
    """Yield (argument, danger) of folders with names, and of paths with what is written there.

    Args:
        tool: its name.
        texts: path, kind and text of each string in the arguments.
        reads_only: whether the tool changes nothing.
    """
    yield from _judge_joined(texts, reads_only=reads_only)
    for where, _, text in texts:
        if len(text) <= _MAX_PATH and any(
            not _MOUNT_WORDS.isdisjoint(get_words(name)) for name in (tool, *list_names(where))
        ):
            source = text.partition(":")[0] if re.match(r"[/~.]", text) else text
            yield from ((get_argument(where), danger) for danger in find_mounted_folder(source, where))
    if reads_only:
        return
    paths = [text for _, kind, text in texts if kind is Kind.PATH][:_MAX_FILES]
    for where, kind, content in texts:
        if kind is Kind.PATH or len(content) < 4:  # noqa: PLR2004 - characters of the shortest command
            continue
        for path in paths:
            dangers = [*find_running_manifest(path, content), *judge_script(path, content)]
            yield from ((get_argument(where), danger) for danger in dangers)


def judge_script(path: str, content: str) -> list[Danger]:
    """List what a file does once somebody runs it; nothing runs yet, so each is a doubt."""
    path = path.strip()[-_MAX_PATH:]  # the ending says what it is
    if _DOCKER_FILE.search(path):
        text = "\n".join(re.findall(r"(?im)^\s*RUN\s+((?:[^\\\n]|\\.|\\\n){1,2000})", content[:_MAX_CODE]))
        dangers = [each for each in judge_command(text) if each.is_certain]
    elif _SHELL_SCRIPT.search(path) or _SHELL_LINE.match(content):
        text = re.sub(r"(?m)^[\w./-]+\s*:(?!=).*$|^\t@?", "", content) if "akefile" in path else content
        dangers = [each for each in judge_command(text) if "characters only" not in each.reason]
    elif _CODE_FILE.search(path):
        suspects = judge_program(content[:_MAX_CODE], lambda text: judge_command(text, level=1))
        dangers = [each for each in suspects if each.is_certain or is_build_file(path)]
    else:
        return []
    return [Danger(f"when {path[:40]!r} is run: {danger.reason}") for danger in dangers]


def _judge_joined(texts: Sequence[tuple[str, Kind, str]], *, reads_only: bool) -> Iterator[tuple[str, Danger]]:
    """Yield what is dangerous in a folder and a name of a file together, which a tool joins."""
    short = [(where, text) for where, _, text in texts if 0 < len(text) <= 300 and "\n" not in text]  # noqa: PLR2004 - characters
    folders = [(where, text) for where, text in short if _has_word(where, _FOLDER_WORDS)][:_MAX_FILES]
    names = [(where, text) for where, text in short if _has_word(where, _NAME_WORDS)][:_MAX_FILES]
    for folder_where, folder in folders:
        for where, name in names:
            if where == folder_where or find_bad_path(folder) or find_bad_path(name, is_path=False):
                continue
            joined = f"{folder.rstrip('/')}/{name.lstrip('/')}"
            danger = find_bad_path(joined)
            if danger is None and not reads_only and not find_running_file(folder):
                danger = find_running_file(joined)
            if danger is not None:
                yield get_argument(where), danger


def _has_word(where: str, words: frozenset[str]) -> bool:
    names = list_names(where)
    return bool(names) and not words.isdisjoint(get_words(names[0]))
