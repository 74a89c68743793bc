"""What commands of a shell write or empty, where, and what data they put into an address. Reads words, no text."""

from __future__ import annotations

import posixpath
import re
from itertools import pairwise
from typing import TYPE_CHECKING

from langchain_sea.safety.addresses.paths import find_bad_path, normalize_path
from langchain_sea.safety.commands import command_lists as lists
from langchain_sea.safety.commands.running_files import find_running_file
from langchain_sea.safety.text.patterns import Danger, compile_pattern

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "find_carried_data",
    "find_powershell",
    "is_build",
    "is_root",
    "join_folder",
    "judge_deletion",
    "judge_redirect",
    "judge_writes",
    "reads_as_windows",
]

_DATA_FILE = re.compile(
    r"\.(?:db|sqlite3?|mdb|accdb|rdb|aof|ibd|frm|dump|bak|backup|kdbx|pem|key|pfx|p12|jks|parquet|avro|orc|wal|ldb|realm|duckdb|tfstate)$",
    re.IGNORECASE,
)
_KEPT_FILE = re.compile(
    r"\.(?:csv|tsv|xlsx?|docx?|pptx?|pdf|sql|jsonl|npz?|pt|ckpt|safetensors|h5|jpe?g|png|mp[34]|mbox|pst|eml)$",
    re.IGNORECASE,
)
_SYSTEM_ROOT = re.compile(
    r"^/(?!var/tmp/)(?:srv|etc|usr|opt|lib\w*|s?bin|boot|root|mnt|media|sys|proc|var)(?:/|$)|^/data/"
)
_WRITERS = {"cp": -1, "mv": -1, "install": -1, "ln": -1, "rsync": -1, "scp": -1, "tee": 0}
_OUTPUT_FLAGS = {
    "curl": ("-o", "--output"),
    "wget": ("-O", "--output-document"),
    "sort": ("-o", "--output"),
    "gcc": ("-o",),
    "openssl": ("-out",),
    "tar": ("-C", "--directory"),
    "unzip": ("-d",),
}
_EMPTY = frozenset(["/dev/null", "/dev/zero"])
_HARMLESS_INNER = re.compile(
    r"\s*(?:date|nproc|pwd|basename|dirname|seq|uname|hostname|git\s+(?:rev-parse|describe|branch|symbolic-ref|config\s+--get|log\s+-1|show\s+-s)|cat\s+(?:\S*/)?(?:VERSION|version|\.nvmrc|\.python-version)\S*"
    r"|minikube\s+ip|docker-machine\s+ip|which|command\s+-v|uuidgen|mktemp|kubectl\s+version|node\s+-p|python3?\s+--version|gcloud\s+config\s+get-value|jq\s+-n|expr|echo\s+[\w. -]*\)?$)\b"
)
_SUBSTITUTION = re.compile(
    r"\$\((?!\()([^()]{0,300}(?:\([^()]*\))?[^()]{0,300})\)?|`([^`]{1,300})`|[<>]\(([^()]{0,300})\)"
)
_ASSIGNED = r"(?:^|[;&|\s(])([A-Za-z_]\w{0,40})=[\"']?(?:\$\(|`)([^()`]{0,200})"
_CARRYING = frozenset(
    "curl wget nc ncat netcat dig nslookup host ping http https xh telnet socat aria2c drill getent openssl ftp tftp sendmail mail scp rsync ssh".split()
)
_POWERSHELL = r"(?:^|[|;{(&=\n]|\bdo\s|-Command\s+[\"']?)\s*(?:\$\w+\s*=\s*)?([A-Za-z]{3,12})-([A-Z][A-Za-z]{2,40})\b"
_CHANGING_VERBS = frozenset(
    "remove clear stop disable uninstall reset set revoke unregister deny grant suspend dismount initialize unprotect protect block invoke restart format optimize repair restore limit lock unlock move backup publish send"
    " unpublish update enable install register submit approve complete confirm edit switch undo redo merge sync mount unblock save expand".split()
)
_HARMLESS_CMDLETS = re.compile(
    r"(?:set-(?:location|variable|strictmode|alias|psdebug|psreadlineoption|clipboard)|format-(?:table|list|wide|hex|custom)|clear-host|invoke-(?:pester|build|webrequest|restmethod|item|scriptanalyzer|expression|command|plaster)|update-(?:help|formatdata|typedata)"
    r"|install-module|expand-archive|enable-pstransport|move-item|send-mailmessage|restart-\w+|stop-transcript|save-help|save-module|stop-computer|stop-service|stop-process|set-executionpolicy|format-volume|remove-(?:variable|module|job|pssession))",
    re.IGNORECASE,
)
_POWERSHELL_CODE = r"\[(?:System\.)?IO\.(?:File|Directory|FileInfo|DirectoryInfo)\]::(?:Delete|Move|Replace|WriteAll\w+|SetAccessControl|Create)\b|\.Delete\(\s*(?:\$true)?\s*\)|(?:^|[|;&{]|\bdo\s)\s*(?:ri|clc|rdr|rni)\s+[^\s-]|(?:^|[|;&{]|\bdo\s)\s*(?:del|erase)\s+(?:/\w\s+)*[\w*.\\:%-]*[\\*.:]"


def find_powershell(text: str) -> Iterator[Danger]:
    """Yield commands of PowerShell whose verb changes or deletes something."""
    for number, match in enumerate(compile_pattern(_POWERSHELL).finditer(text)):
        if number >= 100:  # noqa: PLR2004 - commands of one text
            yield Danger("it holds more commands of PowerShell than are judged")
            return
        verb, whole = match[1].lower(), f"{match[1]}-{match[2]}"
        if verb in _CHANGING_VERBS and not _HARMLESS_CMDLETS.fullmatch(whole):
            yield Danger(f"it changes or deletes something ({whole!r})")
    if match := compile_pattern(_POWERSHELL_CODE).search(text):
        yield Danger(f"it deletes or overwrites files ({match[0].strip()[:60]!r})")


def reads_as_windows(text: str) -> bool:
    """Return whether a text is written for a shell of Windows, which the parser of bash cannot read."""
    return bool(re.search(r"\b[A-Za-z]:\\|\b[A-Z]\w+-[A-Z]\w+\b|\$env:|\s/[a-z]\b", text))


def is_root(word: str) -> bool:
    """Return whether a path is a folder without which a machine or its user has lost everything."""
    target = normalize_path(word).lower() if word.strip("/. *") else (word if word.startswith("/") else "")
    return compile_pattern(lists.ROOTS).search(target) is not None


def is_build(word: str) -> bool:
    """Return whether a path is one that a build makes again."""
    return ".." not in word and compile_pattern(lists.KNOWN_BUILDS).search(word.lower()) is not None


def join_folder(folder: str, word: str) -> str:
    """Return a path as seen from a folder that the shell went to before."""
    if not folder or word.startswith(("/", "~", "$", "-")) or re.match(r"[A-Za-z]:", word):
        return word
    return posixpath.join("/" if folder in ("/", "//") else folder, word)


def judge_deletion(flags: Sequence[str], targets: Sequence[str], shown: str, *, is_fed: bool) -> Iterator[Danger]:
    """Yield what `rm` and its kind delete.

    Args:
        flags: its options.
        targets: its other words, as seen from the root.
        shown: the command, for a reader.
        is_fed: whether it gets further names from another command.
    """
    is_deep = any(re.match(r"-[a-zA-Z]*[rR]|--(?:recursive|no-preserve-root|dir)", flag) for flag in flags)
    if is_fed:
        yield Danger(f"it deletes files whose names another command gives ({shown})")
    elif (
        is_deep
        or any(re.search(r"[*?]|\$\(|`|^\{\}|\$\{?(?!\w*(?:tmp|temp))\w", word, re.IGNORECASE) for word in targets)
    ) and not all(map(is_build, targets)):
        yield Danger(f"it deletes files ({shown})")
    elif kept := next(
        (w for w in targets if (_DATA_FILE.search(w) or _KEPT_FILE.search(w) or _is_elsewhere(w)) and not is_build(w)),
        None,
    ):
        yield Danger(f"it deletes {kept[:60]!r} ({shown})")


def judge_writes(name: str, rest: Sequence[str], shown: str) -> Iterator[Danger]:
    """Yield files that a command writes: those that run by themselves, and those that it empties."""
    words = [word for word in rest if not word.startswith("-")]
    targets = []
    if name in _WRITERS and words:
        targets = words[-1:] if _WRITERS[name] else words
        targets += [
            f"{words[-1].rstrip('/')}/{posixpath.basename(word)}"
            for word in words[:-1]
            if _WRITERS[name] and word.strip("/")
        ]
    flags = _OUTPUT_FLAGS.get(name, ())
    targets += [value for flag, value in pairwise(rest) if flag in flags]
    targets += [word[len("of=") :] for word in rest if name == "dd" and word.startswith("of=")]
    if name in ("sed", "perl", "awk", "gawk") and any(re.match(r"-\w*i|--in-place", word) for word in rest):
        targets += words[1:]
    if name in ("touch", "truncate", "chmod", "patch", "ed", "ex"):
        targets += words
    for target in targets[:40]:
        if danger := find_running_file(target):
            yield Danger(f"{danger.reason}, in {shown}")
    if name == "ln" and words and (is_root(words[0]) or find_bad_path(words[0])):
        yield Danger(f"it makes {words[0][:60]!r} reachable from another place ({shown})")
    if name in ("cp", "install", "ln", "mv") and words and (words[0] in _EMPTY or words[-1] in _EMPTY):
        yield Danger(f"it empties or throws away a file ({shown})")


def judge_redirect(target: str, operator: str, writer: Sequence[str]) -> Iterator[Danger]:
    """Yield what a redirection reads or overwrites.

    Args:
        target: the file; empty for `2>&1`.
        operator: `<`, `>` or `>>`.
        writer: the words of the command whose output goes there; empty where there is none.
    """
    danger = find_bad_path(target, is_path=operator != "<") if target else None
    if operator == "<":
        if danger and danger.is_certain:
            yield Danger(danger.reason)
        return
    if re.match(r"/dev/(?:sd|nvme|hd|vd|xvd|mmcblk|disk|mem)", target):
        yield Danger(f"it overwrites a disk ({target[:40]!r})", is_certain=True)
        return
    if danger:
        yield Danger(f"it writes to a file of the system ({danger.reason})")
    if danger or not target:
        return
    if running := find_running_file(target):
        yield Danger(running.reason)
    if operator == ">>" or re.match(r"/dev/|/tmp/|&|\$\(", target) or target.isdigit():
        return
    shown = repr(f"{' '.join(writer)[:30]} {operator} {target[:40]}".strip())
    is_silent = (
        not writer
        or writer[0] in (":", "true")
        or tuple(writer) in (("cat", "/dev/null"), ("echo", "-n"), ("printf", ""), ("echo", "-n", ""))
    )
    if is_silent and not target.endswith((".log", ".lock", ".gitkeep", "__init__.py")):
        yield Danger(f"it empties a file ({shown})")
    elif _DATA_FILE.search(target) or _is_elsewhere(target):
        yield Danger(f"it overwrites a file ({shown})")


def find_carried_data(name: str, rest: Sequence[str], text: str) -> Iterator[Danger]:
    """Yield what a command of the network puts into an address or a message: the output of other commands.

    Args:
        name: of the command.
        rest: its words.
        text: in which variables are set.
    """
    if name not in _CARRYING:
        return
    for word in rest:
        for match in _SUBSTITUTION.finditer(word[:2000]):
            inner = match[1] or match[2] or match[3] or ""
            if not _HARMLESS_INNER.match(inner):
                yield Danger(f"it sends what another command prints ({match[0][:60]!r})")
    used = set(re.findall(r"\$\{?(\w+)", " ".join(rest)[:4000]))
    for number, match in enumerate(compile_pattern(_ASSIGNED, match_case=True).finditer(text) if used else ()):
        if number < 40 and match[1] in used and not _HARMLESS_INNER.match(match[2]):  # noqa: PLR2004 - variables of one text
            yield Danger(f"it sends what another command prints ({match[0].strip()[:60]!r})")


def _is_elsewhere(path: str) -> bool:
    """Return whether a path lies in a folder of the system or of a service, not in a project."""
    return _SYSTEM_ROOT.match(path) is not None and not is_build(path)
