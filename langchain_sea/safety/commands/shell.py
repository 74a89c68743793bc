"""What a command for a shell does, read by a parser of bash.

Runs nothing, and expands no variables.
"""

from __future__ import annotations

import re
from itertools import pairwise, takewhile
from typing import TYPE_CHECKING, Any

from langchain_sea.safety.addresses.paths import find_bad_path
from langchain_sea.safety.commands import command_lists as lists
from langchain_sea.safety.commands.code import judge_program
from langchain_sea.safety.commands.inner_commands import (
    has_own_program,
    has_program,
    list_inner_commands,
    list_inner_words,
    list_input,
    list_programs,
)
from langchain_sea.safety.commands.program_options import find_program_of_options, find_temporary_program
from langchain_sea.safety.commands.program_verbs import name_effect
from langchain_sea.safety.commands.shell_reader import (
    find_folder,
    list_commands,
    list_folders,
    make_parser,
    plain_name,
    read_redirect,
    read_words,
    resolve_variables,
    unwrap,
)
from langchain_sea.safety.commands.shell_signs import REVERSE_SHELLS, find_fork_bomb
from langchain_sea.safety.commands.shell_variables import judge_variables
from langchain_sea.safety.commands.shell_writes import (
    find_carried_data,
    find_powershell,
    is_root,
    join_folder,
    judge_deletion,
    judge_redirect,
    judge_writes,
    reads_as_windows,
)
from langchain_sea.safety.commands.text_filters import find_filter_program
from langchain_sea.safety.queries.sql_clients import judge_client_query
from langchain_sea.safety.text.patterns import Danger, compile_pattern, search_patterns

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["judge_command"]

_MAX_COMMAND = 8_000  # characters that are parsed
_MAX_COMMANDS = 500  # simple commands of one text that are judged
_MAX_WORD = 1_000  # characters of a word without quotes: the parser's time grows with their square
_LONG_WORD = rf"[^\s\"'`]{{{_MAX_WORD}}}"
_MAX_NESTED = 4  # levels of commands inside of arguments
_DECODERS = frozenset(["base64", "base32", "xxd", "openssl", "gunzip", "zcat", "rev", "uudecode"])
_HIDDEN = re.compile(r"\b(?:base64|base32|xxd|openssl|gunzip|zcat|rev|uudecode|curl|wget|fetch)\b")
_RECEIVERS = frozenset("ssh nc ncat netcat telnet socat mail mailx sendmail ftp sftp".split())
_FEEDERS = frozenset(["xargs", "parallel"])


def judge_command(text: str, level: int = 0) -> list[Danger]:
    """List why a command should not run, or not without a human; the list is empty for ordinary work.

    Args:
        text: one or more commands for a shell.
        level: how many commands it is nested in.
    """
    dangers = list(search_patterns(text, (*lists.WINDOWS_CERTAIN, *REVERSE_SHELLS), is_certain=True))
    dangers += search_patterns(text, lists.TEXT_CERTAIN, is_certain=True)
    dangers += search_patterns(text, lists.WINDOWS_DOUBTFUL)
    dangers += find_fork_bomb(text)
    if len(text) > _MAX_COMMAND:
        dangers.append(Danger(f"of its {len(text)} characters only {_MAX_COMMAND} were read as a command"))
    dangers += find_powershell(text)
    part = text[:_MAX_COMMAND]
    if long := compile_pattern(_LONG_WORD).search(part):
        dangers.append(Danger(f"a word of more than {_MAX_WORD} characters in it is not read as a command"))
        part = part[: long.start()]
    resolved = resolve_variables(part)
    tree = make_parser().parse(resolved.encode("utf-8", "replace"))
    folders = list_folders(tree.root_node)
    stack, num_judged = [tree.root_node], 0
    while stack:
        node = stack.pop()
        num_judged += node.type == "command"
        if num_judged > _MAX_COMMANDS:
            dangers.append(Danger(f"of its commands only {_MAX_COMMANDS} were read"))
            break
        if node.type in ("pipeline", "redirected_statement"):
            dangers += _judge_pipeline(node, level)
            dangers += _judge_input(node, level)
        elif node.type == "command":
            words = read_words(node)
            dangers += _judge_input(node, level)
            dangers += judge_variables(node, words)
            dangers += _judge_words(words, level, folder=find_folder(folders, node.start_byte))
            dangers += find_carried_data(next(iter(unwrap(words)[0]), ""), words[1:], resolved)
        elif node.type == "file_redirect":
            dangers += judge_redirect(*read_redirect(node))
        elif node.type in ("declaration_command", "variable_assignment"):
            dangers += judge_variables(node, ())
            dangers += _judge_line(" ".join(read_words(node))) if node.type == "declaration_command" else ()
        stack += node.children
    if tree.root_node.has_error and level == 0 and not dangers and not reads_as_windows(text):
        dangers.append(Danger(f"it cannot be read as a command ({text[:60]!r})"))
    return list(dict.fromkeys(dangers))


def _judge_words(words: tuple[str, ...], level: int, *, folder: str = "") -> Iterator[Danger]:
    """Yield what is dangerous in one simple command, which runs in a folder."""
    line, whole = " ".join(words), words
    words, has_rights = unwrap(words)
    if has_rights:
        yield from _judge_line(line)
    if not words:
        return
    name, rest = words[0], words[1:]
    line = " ".join(words)
    before = whole[: len(whole) - len(rest) - 1]
    is_fed = any(plain_name(word) in _FEEDERS for word in before)
    for place, word in enumerate(before):
        yield from find_program_of_options(plain_name(word), before[place + 1 :], repr(" ".join(whole)[:60]))
    if is_fed and name in lists.INTERPRETERS and not has_own_program(rest):
        yield Danger(f"it runs what another command or a file gives ({' '.join(whole)[:60]!r})")
    if name.startswith("python") and rest[:1] == ("-m",) and rest[1:2] in (("pip",), ("uv",), ("pipx",)):
        yield from _judge_words(rest[1:], level + 1)
    yield from _judge_destruction(name, tuple(join_folder(folder, word) for word in rest), line, is_fed=is_fed)
    yield from judge_writes(name, rest, repr(line[:60]))
    yield from find_program_of_options(name, rest, repr(line[:60]))
    yield from find_temporary_program(whole, name, rest)
    yield from find_filter_program(name, rest, repr(line[:60]))
    if reason := name_effect(name, rest):
        yield Danger(reason)
    yield from _judge_paths(name, rest, line)
    if level < _MAX_NESTED:
        for inner in list_inner_commands(whole, name, rest):
            yield from judge_command(inner, level + 1)
        for inner_words in list_inner_words(name, rest):
            yield from _judge_words(inner_words, level + 1)
        for program in list_programs(name, rest):
            yield from judge_program(program, lambda text: judge_command(text, level + 1))
    if name in lists.DATABASE_CLIENTS:
        for word in rest:
            query = re.sub(r"^--?(?:command|execute|query|e|c|Q)=?", "", word)
            yield from judge_client_query(query) if " " in query else ()
    if name.startswith(("$(", "`", "<(")) or whole[0].startswith(("$(", "`")):
        yield Danger(f"it runs what another command prints ({line[:60]!r})")
    yield from _judge_substitution(name, rest, line)


def _judge_substitution(name: str, rest: tuple[str, ...], line: str) -> Iterator[Danger]:
    """Yield what an interpreter reads from another command: `bash <(…)`, `sh -c "$(curl …)"`, `source <(…)`."""
    if name in lists.INTERPRETERS and any(re.search(r"\$\(\s*(?:curl|wget|fetch)", word) for word in rest):
        yield Danger(f"it runs what it downloads ({line[:60]!r})", is_certain=True)
    if name not in lists.INTERPRETERS and name not in ("eval", "source", "."):
        return
    for word in rest:
        if word.startswith("<(") or (name in ("eval", "source", ".") and word.startswith(("$(", "`"))):
            if _HIDDEN.search(word):
                yield Danger(f"it runs what it downloads or decodes ({line[:60]!r})", is_certain=True)
            elif not re.search(r"\b(?:completion|hook|activate|shellenv|init|env)\b", word) and not has_program(
                (name, *rest)
            ):
                yield Danger(f"it runs what another command prints ({line[:60]!r})")


def _judge_input(node: Any, level: int) -> Iterator[Danger]:
    """Yield what a program does with a text that the line itself gives it: `bash <<< …`, `python3 <<EOF`, `echo … | psql`."""
    if node.type == "pipeline":
        commands = [unwrap(read_words(child))[0] for child in list_commands(node)]
        pairs = [
            (after, " ".join(before[1:]))
            for before, after in pairwise(commands)
            if before[:1] in (("echo",), ("printf",))
        ]
    else:
        words = next((unwrap(read_words(child))[0] for child in list_commands(node)), tuple[str, ...]())
        pairs = [(words, text) for text in list_input(node)]
    for words, text in pairs:
        name = words[0] if words else ""
        if name in lists.DATABASE_CLIENTS:
            yield from judge_client_query(text)
        elif name.startswith(("redis-cli", "mongo")):
            yield from _judge_words((name, *text.split()), level + 1)
        elif name in lists.SHELLS and level < _MAX_NESTED and node.type != "pipeline":
            yield from judge_command(text, level + 1)
        elif name in lists.INTERPRETERS and not has_program(words) and level < _MAX_NESTED:
            yield from judge_program(text, lambda inner: judge_command(inner, level + 1))


def _judge_destruction(name: str, rest: tuple[str, ...], line: str, *, is_fed: bool) -> Iterator[Danger]:
    """Yield what the command deletes or overwrites."""
    flags = [word for word in rest if word.startswith("-")]
    targets = [word for word in rest if not word.startswith("-")]
    shown = repr(line[:60])
    if name.startswith("mkfs") or name in ("wipefs", "blkdiscard", "newfs"):
        yield Danger(f"it formats a disk ({shown})", is_certain=True)
    elif name in ("dd", "tee", "cp", "cat", "mv", "shred") and any(
        re.match(r"(?:of=)?/dev/(?:sd|nvme|hd|vd|xvd|mmcblk|disk|rdisk|mem|kmem)", w)
        for w in targets[-1:] + [w for w in targets if w.startswith("of=")]
    ):
        yield Danger(f"it overwrites a disk ({shown})", is_certain=True)
    elif name in ("rm", "srm", "trash", "unlink", "shred", "rmdir", "chmod", "chown", "mv"):
        is_deep = (
            any(re.match(r"-[a-zA-Z]*[rR]|--(?:recursive|no-preserve-root)", flag) for flag in flags) or name == "mv"
        )
        roots = [w for w in (targets[:-1] if name == "mv" else targets) if is_root(w)]
        if roots and is_deep:
            yield Danger(f"it deletes or changes everything in {roots[0]!r} ({shown})", is_certain=True)
        elif name in ("rm", "srm", "trash"):
            yield from judge_deletion(flags, targets, shown, is_fed=is_fed)
        elif name not in ("rm", "mv", "trash", "rmdir"):
            yield from _judge_line(line)
    elif name == "find" and (
        "-delete" in rest or re.search(r"-(?:exec|execdir|ok)\s+(?:\S*/)?(?:rm|shred|unlink)\b", line)
    ):
        roots = [w for w in takewhile(lambda word: not word.startswith("-"), rest) if is_root(w)]
        yield Danger(f"it deletes what it finds ({shown})", is_certain=bool(roots) and "-name" not in rest)
    elif name == "kill" and "-1" in targets + flags[1:]:
        yield Danger(f"it stops every program ({shown})", is_certain=True)
    elif name == "rsync" and any(flag.startswith("--delete") for flag in flags):
        yield Danger(f"it deletes files ({shown})")
    else:
        yield from _judge_line(line)


def _judge_line(line: str) -> Iterator[Danger]:
    yield from search_patterns(line[:2000], lists.DOUBTFUL)


def _judge_paths(name: str, rest: tuple[str, ...], line: str) -> Iterator[Danger]:
    """Yield files of secrets that the command names; one that sends them away is certain."""
    for word in rest[:200]:
        part = (
            re.sub(r"^(?:-\w|--[\w-]+=|\w+=)?[@<]?(?:file=@)?", "", word)
            if not word.startswith(("/", "~", ".", "$"))
            else word
        )
        if name in ("export", "echo", "grep", "printf", "jq", "yq") and "/" not in part:
            continue
        danger = find_bad_path(part, is_path=False)
        if (
            danger
            and (danger.is_certain or name not in ("cd", "ls", "echo", "mkdir"))
            and "another machine" not in danger.reason
        ):
            yield Danger(f"{danger.reason}, in {line[:60]!r}", is_certain=danger.is_certain and name in lists.NETWORK)


def _judge_pipeline(node: Any, level: int) -> Iterator[Danger]:
    """Yield what the parts of a pipe do together: what was downloaded runs, or what is secret is sent."""
    commands = [(read_words(child), *unwrap(read_words(child))[:1]) for child in list_commands(node)]
    text = repr(node.text.decode("utf-8", "replace")[:60])
    has_download = has_secret = False
    for whole, words in commands:
        if not words:
            continue
        name = words[0]
        if name in lists.INTERPRETERS and has_download and not has_program(words):
            yield Danger(f"it runs what it downloads or decodes ({text})", is_certain=True)
        if name in lists.NETWORK and has_secret:
            yield Danger(f"it sends secrets away ({text})", is_certain=True)
        is_silent = commands[0][1][:1] in (("echo",), ("printf",), ("true",), (":",), ("yes",), ("sleep",))
        if name == "openssl" and "s_client" in words and whole != commands[0][0] and not is_silent:
            yield Danger(f"it sends what another command prints ({text})")
        if name in _RECEIVERS and whole != commands[0][0]:
            yield Danger(f"it sends what another command prints ({text})")
        has_download |= name in lists.DOWNLOADERS or name in _DECODERS
        has_secret |= name in ("printenv", "history") or whole == ("env",) or any(map(_holds_secrets, words[1:20]))
    names = [words[0] for _, words in commands if words]
    if level < _MAX_NESTED and len(names) > 1 and names[-1] in lists.SHELLS and names[0] in ("echo", "printf"):
        yield Danger(f"it runs text as a program ({text})")
        yield from judge_command(" ".join(commands[0][1][1:]), level + 1)


def _holds_secrets(word: str) -> bool:
    danger = find_bad_path(word, is_path=False)
    return danger is not None and danger.is_certain
