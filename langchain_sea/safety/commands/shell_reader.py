"""The words of commands as bash reads them: a parser, quotes, and commands that only start another one. Runs nothing."""

from __future__ import annotations

import re
from bisect import bisect_left
from functools import lru_cache
from typing import Any

from langchain_sea.errors import ExtraMissingError
from langchain_sea.safety.commands.command_lists import POSITIONALS_BEFORE, RUNNERS, WRAPPER_VALUES, WRAPPERS
from langchain_sea.safety.text.caching import cache_short

__all__ = [
    "find_folder",
    "list_commands",
    "list_folders",
    "make_parser",
    "plain_name",
    "read_redirect",
    "read_words",
    "resolve_variables",
    "unwrap",
]

_MAX_RESOLVED = 16_000  # characters


def unwrap(words: tuple[str, ...]) -> tuple[tuple[str, ...], bool]:
    """Return the command without the commands that only start it, and whether one of them gives rights."""
    has_rights = False
    for _ in range(8):
        if not words:
            break
        name = plain_name(words[0])
        words = (name, *words[1:])
        if len(words) == 1 or _is_lookup(words):
            break
        if name in RUNNERS and (place := _find_run(words)):
            words = words[place:]
            continue
        if name not in WRAPPERS:
            break
        has_rights |= name in ("sudo", "doas", "pkexec", "run0")
        index = _skip_options(words, WRAPPER_VALUES.get(name, frozenset()))
        index += POSITIONALS_BEFORE.get(name, 0)
        words = words[min(index, len(words) - 1) :]
    return words, has_rights


def _is_lookup(words: tuple[str, ...]) -> bool:
    """Return whether `command -v` only asks where a program is."""
    return words[0] == "command" and words[1] in ("-v", "-V")


def _skip_options(words: tuple[str, ...], with_value: frozenset[str]) -> int:
    """Return where the command begins behind a wrapper's options, their values, and variables that are set."""
    index = 1
    while index < len(words) - 1:
        word = words[index]
        if word == "--":
            return index + 1
        if word in with_value:
            index += 2
        elif re.match(r"-|\w+=", word):
            index += 1
        else:
            break
    return index


def _find_run(words: tuple[str, ...]) -> int:
    """Return where the command begins behind `uv run`, `npm exec` or `npx`; 0 where none does."""
    verbs = RUNNERS[words[0]]
    index = _skip_options(words, WRAPPER_VALUES["npx"])
    if not verbs:
        return index if index < len(words) else 0
    if words[index] not in verbs or index + 1 >= len(words):
        return 0
    return index + _skip_options(words[index:], WRAPPER_VALUES["uv"])


@cache_short
def plain_name(word: str) -> str:
    """Return a command's name without quotes, backslashes and folder."""
    name = re.sub(r"[\"'\\]|\$@|\$\*|\$\{\w*\}|,.*", "", word).lstrip("@!(")
    name = re.split(r"[\\/]", name)[-1] if "/" in name else name
    return re.sub(r"^((?:python|perl|ruby|node|php)\d?)[\d.]*$", r"\1", name.removesuffix(".exe"))


def list_commands(node: Any) -> list[Any]:
    """List the simple commands of a pipe, in their order."""
    nodes, stack = [], [node]
    while stack:
        each = stack.pop()
        if each.type == "command":
            nodes.append(each)
        elif each.type in (
            "pipeline",
            "redirected_statement",
            "subshell",
            "compound_statement",
            "list",
            "negated_command",
        ):
            stack += reversed(each.children)
    return nodes


def read_words(node: Any) -> tuple[str, ...]:
    """Return a command's name and arguments as the shell would read them, without expanding variables."""
    words = []
    for child in node.children:
        if child.type in ("file_redirect", "herestring_redirect", "heredoc_redirect", "variable_assignment", "comment"):
            continue
        words.append(_unquote(child.text.decode("utf-8", "replace")))
    return tuple(words)


def read_redirect(node: Any) -> tuple[str, str, tuple[str, ...]]:
    """Return the file of a redirection, `<`, `>` or `>>`, and the words of its command; no file for `2>&1`."""
    text = node.text.decode("utf-8", "replace")
    operator = "<" if ">" not in text else ">>" if ">>" in text else ">"
    siblings = node.parent.children if node.parent else ()
    words = next((read_words(child) for child in siblings if child.type == "command"), ())
    return text.lstrip("0123456789<>&| ").strip("\"'"), operator, words


def list_folders(root: Any) -> list[tuple[int, str]]:
    """List (place, folder) of each `cd` in a text, as it is written, in their order."""
    if b"cd" not in root.text and b"pushd" not in root.text:
        return []
    folders, stack = [], [root]
    while stack:
        node = stack.pop()
        if node.type == "command" and (words := read_words(node))[:1] in (("cd",), ("pushd",)):
            folders.append((node.start_byte, next((word for word in words[1:] if not word.startswith("-")), "~")))
        stack += node.children
    return sorted(folders)


def find_folder(folders: list[tuple[int, str]], place: int) -> str:
    """Return the folder to which the last `cd` before a place went; empty where none did."""
    index = bisect_left(folders, (place, ""))
    return folders[index - 1][1] if index else ""


def _unquote(word: str) -> str:
    """Remove quotes and backslashes as bash does; escapes after a dollar sign are decoded."""
    if "'" not in word and '"' not in word and "\\" not in word:
        return word

    def decode_escape(match: re.Match[str]) -> str:
        return chr(int(match[1], 16) if match[1] else int(match[2], 8) & 255)

    def decode(match: re.Match[str]) -> str:
        return re.sub(r"\\x([0-9a-fA-F]{1,2})|\\([0-7]{1,3})", decode_escape, match[1])

    word = re.sub(r"\$'([^']*)'", decode, word)
    return re.sub(
        r"""'([^']*)'|"((?:[^"\\]|\\.)*)"|\\(.)""", lambda m: m[1] or m[2] or m[3] or "", word, flags=re.DOTALL
    )


@lru_cache(maxsize=1)
def _make_language() -> Any:
    try:
        import tree_sitter  # noqa: PLC0415 - an extra
        import tree_sitter_bash  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ExtraMissingError("commands are read by tree-sitter-bash: pip install 'langchain-sea[agents]'") from error
    return tree_sitter.Language(tree_sitter_bash.language())


def make_parser() -> Any:
    """Return a new parser of bash.

    Raises:
        ExtraMissingError: tree-sitter-bash is not installed.
    """
    language = _make_language()
    import tree_sitter  # noqa: PLC0415 - an extra

    return tree_sitter.Parser(language)


def resolve_variables(text: str) -> str:
    """Replace `$IFS` by a blank, and variables that the text itself sets by their values."""
    text = re.sub(r"\$\{?IFS\}?(?:\$\d)?", " ", text)
    values = dict(re.findall(r"(?:^|[;&\s])([A-Za-z_]\w{0,20})=([\w./-]{1,40})(?=[;&\s]|$)", text)[:20])
    for name, value in values.items():
        text = re.sub(rf"\$\{{?{name}\}}?(?!\w)", value, text)
    return text[:_MAX_RESOLVED]
