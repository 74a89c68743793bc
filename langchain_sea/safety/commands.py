"""What a command for a shell does, read by a parser of bash.

Runs nothing, and expands no variables.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from langchain_sea.safety import command_lists as lists
from langchain_sea.safety.paths import find_bad_path, normalize_path
from langchain_sea.safety.patterns import Danger, compile_pattern, search_patterns
from langchain_sea.safety.shell_reader import list_commands, make_parser, read_words, resolve_variables, unwrap
from langchain_sea.safety.sql import judge_sql

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["REVERSE_SHELLS", "find_fork_bomb", "judge_command"]

_MAX_COMMAND = 8_000  # characters that are parsed
_MAX_NESTED = 4  # levels of commands inside of arguments
_FORK_BOMB = r"(\S{1,20})\s*\(\s*\)\s*\{\s*(\S{1,20})\s*\|\s*(\S{1,20})\s*&"
REVERSE_SHELLS = (
    ("it opens a shell to another machine", r"/dev/(?:tcp|udp)/[^\s/]+/\d+|\b(?:nc|ncat|netcat)\b[^\n|;]{0,120}\s(?:-\w*[ec]\b|--(?:sh-)?exec)|\bsocat\b[^\n]{0,200}\b(?:exec|system):"
     r"|\bmkfifo\b[^\n]{0,200}\b(?:nc|ncat|netcat|openssl|telnet)\b|\bsocket\b[^\n]{0,300}\b(?:dup2|pty\.spawn|subprocess|fsockopen|/bin/(?:ba)?sh)|\bfsockopen\b[^\n]{0,200}\bexec|\bTCPSocket\b[^\n]{0,200}\bexec"
     r"|\bNew-Object\s+(?:System\.)?Net\.Sockets\.TCPClient|\bIO::Socket::INET\b[^\n]{0,300}\bexec"),
)  # fmt: skip
_DECODERS = frozenset(["base64", "base32", "xxd", "openssl", "gunzip", "zcat", "rev", "uudecode"])


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
    source = resolve_variables(text[:_MAX_COMMAND]).encode("utf-8", "replace")
    tree = make_parser().parse(source)
    stack = [tree.root_node]
    while stack:
        node = stack.pop()
        if node.type in ("pipeline", "redirected_statement"):
            dangers += _judge_pipeline(node, level)
        elif node.type == "command":
            dangers += _judge_words(read_words(node), level)
        elif node.type == "file_redirect":
            dangers += _judge_redirect(node)
        elif node.type == "declaration_command":
            dangers += _judge_line(" ".join(read_words(node)))
        stack += node.children
    if tree.root_node.has_error and level == 0 and not dangers and not _reads_as_windows(text):
        dangers.append(Danger(f"it cannot be read as a command ({text[:60]!r})"))
    return list(dict.fromkeys(dangers))


def _judge_words(words: tuple[str, ...], level: int) -> Iterator[Danger]:
    """Yield what is dangerous in one simple command."""
    line = " ".join(words)
    words, has_rights = unwrap(words)
    if has_rights:
        yield from _judge_line(line)
    if not words:
        return
    name, rest = words[0], words[1:]
    line = " ".join(words)
    yield from _judge_destruction(name, rest, line)
    yield from _judge_paths(name, rest, line)
    if level < _MAX_NESTED:
        for inner in _list_inner_commands(name, rest):
            yield from judge_command(inner, level + 1)
    if name in lists.DATABASE_CLIENTS:
        for word in rest:
            query = re.sub(r"^--?(?:command|execute|query|e|c|Q)=?", "", word)
            yield from judge_sql(query) if " " in query else ()
    if name in lists.INTERPRETERS and any(
        re.search(r"\$\(\s*(?:curl|wget|fetch)|<\(\s*(?:curl|wget|fetch)", word) for word in rest
    ):
        yield Danger(f"it runs what it downloads ({line[:60]!r})", is_certain=True)
    if name in ("eval", "source", ".") and re.search(r"(?:\$|<)\(\s*(?:curl|wget|fetch)", line):
        yield Danger(f"it runs what it downloads ({line[:60]!r})", is_certain=True)


def _judge_destruction(name: str, rest: tuple[str, ...], line: str) -> Iterator[Danger]:
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
        roots = [
            w for w in (targets[:-1] if name == "mv" else targets) if compile_pattern(lists.ROOTS).search(_to_target(w))
        ]
        if roots and is_deep:
            yield Danger(f"it deletes or changes everything in {roots[0]!r} ({shown})", is_certain=True)
        elif (
            name in ("rm", "srm", "trash")
            and (is_deep or any("*" in w for w in targets))
            and not all(_is_build(w) for w in targets)
        ):
            yield Danger(f"it deletes files ({shown})")
        elif name not in ("rm", "mv", "trash", "rmdir"):
            yield from _judge_line(line)
    elif name == "find" and (
        "-delete" in rest or re.search(r"-(?:exec|execdir|ok)\s+(?:\S*/)?(?:rm|shred|unlink)\b", line)
    ):
        roots = [w for w in _take_until_flag(rest) if compile_pattern(lists.ROOTS).search(_to_target(w))]
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
        if name in ("export", "echo", "grep", "printf") and "/" not in part:
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
        if name in lists.INTERPRETERS and has_download and not _has_program(words):
            yield Danger(f"it runs what it downloads or decodes ({text})", is_certain=True)
        if name in lists.NETWORK and has_secret:
            yield Danger(f"it sends secrets away ({text})", is_certain=True)
        has_download |= name in lists.DOWNLOADERS or name in _DECODERS
        has_secret |= name in ("printenv", "history") or whole == ("env",) or any(map(_holds_secrets, words[1:20]))
    names = [words[0] for _, words in commands if words]
    if level < _MAX_NESTED and len(names) > 1 and names[-1] in lists.SHELLS and names[0] in ("echo", "printf"):
        yield Danger(f"it runs text as a program ({text})")
        yield from judge_command(" ".join(commands[0][1][1:]), level + 1)


def _holds_secrets(word: str) -> bool:
    danger = find_bad_path(word, is_path=False)
    return danger is not None and danger.is_certain


def _has_program(words: tuple[str, ...]) -> bool:
    """Return whether an interpreter has a program of its own, so that its input is data: `python -m json.tool`."""
    if not words or words[0] in lists.SHELLS:
        return any(word == "-c" for word in words)
    return words[0] == "awk" or any(
        word in ("-m", "-c", "-e", "-n", "-ne", "-pe", "-p") or re.search(r"\.(?:py|pl|rb|js|php)$", word)
        for word in words[1:]
    )


def _judge_redirect(node: Any) -> Iterator[Danger]:
    target = node.text.decode("utf-8", "replace").lstrip("0123456789<>&| ")
    if ">" not in node.text.decode("utf-8", "replace"):
        if (danger := find_bad_path(target, is_path=False)) and danger.is_certain:
            yield Danger(danger.reason)
        return
    if re.match(r"/dev/(?:sd|nvme|hd|vd|xvd|mmcblk|disk|mem)", target):
        yield Danger(f"it overwrites a disk ({target[:40]!r})", is_certain=True)
    elif danger := find_bad_path(target):
        yield Danger(f"it writes to a file of the system ({danger.reason})")
    elif re.search(r"\.(?:bashrc|zshrc|profile|bash_profile|zprofile|gitconfig)$|/\.git/hooks/|/cron", target):
        yield Danger(f"it changes what runs at each start ({target[:60]!r})")


def _list_inner_commands(name: str, rest: tuple[str, ...]) -> Iterator[str]:
    """Yield commands that are written inside of an argument: `bash -c '…'`, `ssh host '…'`, `find -exec …`."""
    if name in lists.SHELLS | {"su", "script", "wsl", "cmd", "cmd.exe"}:
        for index, word in enumerate(rest[:-1]):
            if re.fullmatch(r"-\w*c|--command|/[ck]|-Command", word, re.IGNORECASE):
                yield rest[index + 1] if name in lists.SHELLS else " ".join(rest[index + 1 :])
        if name == "busybox" and rest:
            yield " ".join(rest)
    elif name in ("eval", "trap"):
        yield " ".join(rest)
    elif name in ("ssh", "docker", "podman", "kubectl", "oc", "lxc", "vagrant", "adb", "nsenter"):
        yield from (word for word in rest if " " in word)
        place = next((i for i, word in enumerate(rest) if word in ("sh", "bash", "--", "rm", "sudo")), None)
        if place is not None:
            yield " ".join(w if " " not in w else f"'{w}'" for w in rest[place + (rest[place] == "--") :])
    elif name in ("find", "fd", "parallel"):
        place = next((i for i, word in enumerate(rest) if word in ("-exec", "-execdir", "-x", "-ok")), None)
        if place is not None:
            yield " ".join(rest[place + 1 :]).rstrip("\\;+ ")
    elif name in ("python", "python2", "python3", "perl", "ruby", "node", "php", "nodejs", "awk", "gawk", "vim", "tar"):
        for word in rest:
            yield from (
                match[1] or match[2]
                for match in re.finditer(
                    r"""(?:system|popen|exec\w*|spawn\w*|run|call|checkpoint-action=exec)\s*[(=]+\s*(?:\[?\s*"([^"]{2,300})"|\[?\s*'([^']{2,300})')""",
                    word[:2000],
                )
            )


def _reads_as_windows(text: str) -> bool:
    return bool(re.search(r"\b[A-Za-z]:\\|\b[A-Z]\w+-[A-Z]\w+\b|\$env:|\s/[a-z]\b", text))


def _to_target(word: str) -> str:
    return normalize_path(word).lower() if word.strip("/. *") else (word if word.startswith("/") else "")


def _is_build(word: str) -> bool:
    return ".." not in word and compile_pattern(lists.KNOWN_BUILDS).search(word.lower()) is not None


def _take_until_flag(words: tuple[str, ...]) -> list[str]:
    index = next((i for i, word in enumerate(words) if word.startswith("-")), len(words))
    return list(words[:index])


def find_fork_bomb(text: str) -> Iterator[Danger]:
    """Yield a function of a shell that calls itself twice: it fills the machine."""
    if (bomb := compile_pattern(_FORK_BOMB).search(text)) and bomb[1] == bomb[2] == bomb[3]:
        yield Danger(f"it starts itself again and again ({bomb[0][:40]!r})", is_certain=True)
