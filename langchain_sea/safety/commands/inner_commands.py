"""Commands and programs that are written inside of a command: `bash -c '…'`, `docker exec … psql`, `python3 -c '…'`."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from langchain_sea.safety.commands import command_lists as lists
from langchain_sea.safety.commands.shell_reader import plain_name

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["has_own_program", "has_program", "list_inner_commands", "list_inner_words", "list_input", "list_programs"]

_REMOTE = frozenset(["ssh", "docker", "podman", "nerdctl", "docker-compose", "kubectl", "oc", "lxc", "vagrant", "adb", "nsenter", "incus", "heroku", "fly", "flyctl", "aws", "gcloud", "az", "wsl", "machinectl", "crictl", "multipass", "distrobox", "toolbox", "limactl", "ansible"])  # fmt: skip
_STARTERS = frozenset("tmux screen expect xterm gnome-terminal konsole concurrently hyperfine entr nodemon watchexec reflex dbus-run-session".split())  # fmt: skip
"""Programs that start others, whose commands are single words or follow their options."""
_STARTS_COMMAND = frozenset(["exec", "run", "--", "shell", "ssh", "-c", "-e", "console", "-a"])
_KNOWN = (
    (lists.COMMANDS | lists.DATABASE_CLIENTS | lists.SHELLS)
    - lists.AMBIGUOUS
    - frozenset(["docker", "exec", "run", "shell"])
)
_MAX_SUFFIXES = 3  # beginnings of a command that are tried
_PROGRAM_FLAGS = {
    "python": ("-c",), "python2": ("-c",), "python3": ("-c",), "perl": ("-e", "-E", "-ne", "-pe", "-ple", "-lne"), "ruby": ("-e",), "node": ("-e", "--eval", "-p", "--print", "-pe"),
    "nodejs": ("-e",), "php": ("-r",), "lua": ("-e",), "deno": ("eval",), "bun": ("-e", "eval"), "osascript": ("-e",), "Rscript": ("-e",), "ipython": ("-c",),
}  # fmt: skip


def list_inner_commands(whole: tuple[str, ...], name: str, rest: tuple[str, ...]) -> Iterator[str]:
    """Yield texts that a command gives to a shell.

    Args:
        whole: the words with the commands that only start it.
        name: of the command that is started.
        rest: its words.
    """
    for flag, value in pairwise(whole):
        if flag in ("-S", "--split-string") and plain_name(whole[0]) == "env":
            yield value
    if name in lists.SHELLS | {"su", "script", "wsl", "cmd", "cmd.exe", "npx", "sg", "runuser"}:
        for index, word in enumerate(rest[:-1]):
            if re.fullmatch(r"-\w*c|--command|/[ck]|-Command|--call", word, re.IGNORECASE):
                yield rest[index + 1] if name in lists.SHELLS else " ".join(rest[index + 1 :])
        if name == "busybox" and rest:
            yield " ".join(rest)
    elif name in ("eval", "trap"):
        yield " ".join(rest)
    elif name in _REMOTE:
        yield from (word for word in rest if " " in word and not word.startswith(("{", "[", "<")))
    elif name == "parallel":
        yield " ".join(rest[: rest.index(":::")] if ":::" in rest else rest)
    elif name == "alias":
        yield from (word.partition("=")[2] for word in rest if "=" in word)
    elif name == "-c":  # behind `flock FILE`
        yield " ".join(rest[:1])
    elif name in _STARTERS:
        yield from (word.removeprefix("spawn ") for word in rest if " " in word)
        words = [word for word in rest if not word.startswith("-")]
        yield from (" ".join(words[place:]) for place in (0, 1))  # a session's name may stand before the command
    elif name == "git" and "rebase" in rest:
        yield from (value for option, value in pairwise(rest) if option in ("-x", "--exec"))
        yield from (word[len("--exec=") :] for word in rest if word.startswith("--exec="))
    elif name == "git" and {"foreach", "filter-branch", "bisect"} & set(rest):
        yield " ".join(
            rest[next(i for i, w in enumerate(rest) if w in ("foreach", "filter-branch", "bisect")) + 1 :]
        ).removeprefix("run ")
    elif name in ("awk", "gawk", "mawk", "vim", "vi", "nvim", "ed", "sed", "tar", "rsync", "less", "man", "zip"):
        for word in rest:
            yield from (
                match[1] or match[2]
                for match in re.finditer(
                    r"""(?:system|popen|exec\w*|spawn\w*|run|call|checkpoint-action=exec)\s*[(=]+\s*(?:\[?\s*"([^"]{2,300})"|\[?\s*'([^']{2,300})')""",
                    word[:2000],
                )
            )
            if match := re.match(
                r"(?:--checkpoint-action=exec|--to-command|--use-compress-program|-I|--rsh)=?(.{2,300})", word[:400]
            ):
                yield match[1].strip("='\" ")
            if name in ("vim", "vi", "nvim") and (match := re.search(r"!(.{2,300})", word[:400])):
                yield match[1]


def list_inner_words(name: str, rest: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield commands whose words follow those of another one: `docker exec NAME rm -rf x`, `ssh host rm x`."""
    if name in ("find", "fd"):
        flags = ("-exec", "-execdir", "-x", "-X", "-ok", "-okdir")
        yield from (
            tuple(w for w in rest[i + 1 :] if w not in (";", "+")) for i, word in enumerate(rest) if word in flags
        )
    if name not in _REMOTE:
        return
    starts = [index for index, word in enumerate(rest) if word in _STARTS_COMMAND] or (
        [0] if name in ("ssh", "nsenter", "wsl", "adb") else []
    )
    if not starts:
        return
    number = 0
    for index in range(starts[0] + (rest[starts[0]] in _STARTS_COMMAND), len(rest)):
        if plain_name(rest[index]) in _KNOWN or rest[index] in (
            "find",
            "dd",
            "kill",
            "redis-cli",
            "dropdb",
            "rmdir",
            "shutdown",
        ):
            number += 1
            yield rest[index:]
        if number >= _MAX_SUFFIXES:
            return


def list_programs(name: str, rest: tuple[str, ...]) -> Iterator[str]:
    """Yield what an interpreter gets as a program in its arguments."""
    flags = _PROGRAM_FLAGS.get(name, ())
    for flag, value in pairwise(rest):
        if flag in flags or (flags and re.fullmatch(r"-[a-zA-Z]{1,4}[ecr]", flag)):
            yield value
    for word in rest:
        if flags and re.match(r"-[cer][^a-zA-Z-]", word):
            yield word[2:]


def has_program(words: tuple[str, ...]) -> bool:
    """Return whether an interpreter has a program of its own, so that its input is data: `python -m json.tool`."""
    if not words or words[0] in lists.SHELLS:
        return any(word == "-c" for word in words)
    return words[0] == "awk" or any(
        word in ("-m", "-c", "-e", "-n", "-ne", "-pe", "-p") or re.search(r"\.(?:py|pl|rb|js|php)$", word)
        for word in words[1:]
    )


def has_own_program(words: tuple[str, ...]) -> bool:
    """Return whether an interpreter gets a file or a program of its own, and no more than a place for its input."""
    texts = [word for word in words if not word.startswith("-")]
    return bool(texts) and re.fullmatch(r"""["']?(?:\{\}|%|\$[@*0-9]|\$\{?\w\}?)["']?""", texts[0]) is None


def list_input(node: Any) -> Iterator[str]:
    """Yield the texts of `<<< text` and `<<EOF` of a statement."""
    for child in node.children:
        if child.type == "herestring_redirect":
            yield child.text.decode("utf-8", "replace").lstrip("< ").strip("\"'$")
        elif child.type == "heredoc_redirect":
            yield from (each.text.decode("utf-8", "replace") for each in child.children if each.type == "heredoc_body")
