"""Programs that awk, sed and interpreters of text run from within their own language. Runs nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from langchain_sea.safety.addresses.paths import find_bad_path
from langchain_sea.safety.commands.program_options import is_temporary
from langchain_sea.safety.commands.running_files import find_running_file
from langchain_sea.safety.text.patterns import Danger, compile_pattern

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["find_filter_program"]

_AWK = frozenset(["awk", "gawk", "mawk", "nawk"])
_HARMLESS = re.compile(
    r"\s*(?:sort|uniq|date|echo|printf|wc|head|tail|column|cut|tr|cat|tac|rev|nl|fmt|fold|paste|basename|dirname|seq|bc|md5sum|sha\d*sum|less|grep|test|stat|file|du|ls|tput|numfmt|shuf)\b[^|;&`$<>]*"
)
_AWK_RUNS = r"\bsystem\s*\(\s*(?:\"([^\"]{0,300})\")?|\"([^\"]{1,300})\"\s*\|&?\s*getline|\|&?\s*getline|\bprintf?\b[^|;}\n\"]{0,200}(?:\"[^\"]{0,200}\"[^|;}\n\"]{0,200}){0,4}\|&?\s*(?:\"([^\"]{1,300})\"|\w+)"
_AWK_WRITES = r">>?\s*\"([^\"]{1,300})\""
_AWK_LOADS = r"@load\b|/inet/(?:tcp|udp)/"
_SED_RUNS = re.compile(
    r"(?:^|[;{}\n])\s*(?:(?:\d+|\$|\\?/[^/]{0,100}/)(?:,(?:\d+|\$|/[^/]{0,100}/))?\s*!?\s*)?e(?:\s*$|\s+\S|\s*[;}])"
)
_SUBSTITUTION = re.compile(r"(?:^|[;{}\n\d$/,!])\s*s([^\w\s\\;])")
_SED_WRITES = re.compile(r"(?:^|[;{}\n/]|\d|\$)\s*[wW]\s+(\S{1,300})")
_MAX_PROGRAM = 4_000  # characters
_MAX_DELIMITED = 2_000


def find_filter_program(name: str, rest: Sequence[str], shown: str) -> Iterator[Danger]:
    """Yield what a program of awk or sed runs, and files that it writes outside of the project.

    Args:
        name: of the command.
        rest: its words.
        shown: the command, for a reader.
    """
    if name not in _AWK and name not in ("sed", "gsed"):
        return
    for text in (word[:_MAX_PROGRAM] for word in rest[:20]):
        if name in _AWK:
            yield from _judge_awk(text, shown)
        elif not text.startswith(("--", "/", "./")):
            yield from _judge_sed(re.sub(r"^(?:-e|--expression=)", "", text), shown)


def _judge_awk(text: str, shown: str) -> Iterator[Danger]:
    for number, match in enumerate(compile_pattern(_AWK_RUNS).finditer(text)):
        command = match[1] or match[2] or match[3] or ""
        if number >= 20 or not _HARMLESS.fullmatch(command):  # noqa: PLR2004 - commands of one program
            yield Danger(f"a filter in it runs a program ({match[0].strip()[:60]!r} in {shown})")
            break
    yield from _judge_written((match[1] for match in compile_pattern(_AWK_WRITES).finditer(text)), shown)
    if match := compile_pattern(_AWK_LOADS).search(text):
        yield Danger(f"a filter in it opens a connection or loads code ({match[0]!r} in {shown})")


def _judge_sed(text: str, shown: str) -> Iterator[Danger]:
    if _SED_RUNS.search(text) or any("e" in flags for flags in _list_flags(text)):
        yield Danger(f"a filter in it runs a program ({text[:60]!r} in {shown})")
    yield from _judge_written(_SED_WRITES.findall(text), shown)


def _list_flags(text: str) -> Iterator[str]:
    """Yield the flags of each `s/…/…/`, whatever stands between its parts."""
    place = 0
    while match := _SUBSTITUTION.search(text, place):
        mark, end = match[1], match.end()
        for _ in range(2):
            while end < len(text) and text[end] != mark and end - match.end() < _MAX_DELIMITED:
                end += 2 if text[end] == "\\" else 1
            end += 1
        if flags := re.match(r"[gpiIemM0-9]+", text[end : end + 10]):
            yield flags[0]
        place = max(end, match.end())


def _judge_written(files: Iterator[str] | Sequence[str], shown: str) -> Iterator[Danger]:
    for file in files:
        if danger := find_bad_path(file) or find_running_file(file):
            yield Danger(f"a filter in it writes a file ({danger.reason}, in {shown})")
        elif file.startswith("/") and not is_temporary(file) and not file.startswith("/dev/"):
            yield Danger(f"a filter in it writes a file elsewhere ({file[:60]!r} in {shown})")
