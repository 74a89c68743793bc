"""What code for an interpreter does: the commands, paths and programs in its strings. Runs nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from langchain_sea.safety.addresses.paths import find_bad_path
from langchain_sea.safety.queries.sql import judge_sql
from langchain_sea.safety.text.patterns import Danger, compile_pattern, search_patterns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["find_destructive_code", "judge_program"]

_MAX_STRINGS = 200  # of one text that are judged
_MAX_STRING = 2_000  # characters
_STRING = r"\"((?:[^\"\\\n]|\\.)+)\"|'((?:[^'\\\n]|\\.)+)'|`((?:[^`\\]|\\.)+)`"
_LIST = r"\[\s*((?:(?:\"[^\"\n]*\"|'[^'\n]*')\s*,?\s*)+)\]"
_RUNS = r"\b(?:system|popen\d?|subprocess|check_output|check_call|run|call|exec\w*|spawn\w*|shell_exec|passthru|proc_open|getoutput|getstatusoutput|startfile|Runtime|ProcessBuilder|Popen|qx|backticks)\b|`|%x|^\s*!"
_ROOT = r"[\"'](?:/|/\*|~|/home(?:/\w+)?|/etc|/usr|/var|[A-Za-z]:[\\/]*|\*)[\"']"
_CERTAIN = (
    ("it deletes everything", rf"\b(?:rmtree|rmdirSync|rmSync|rm_rf|remove_dir_all|deleteDirectory|RemoveAll|rimraf|removedirs)\s*\(\s*(?:os\.path\.expanduser\(\s*|Path\(\s*)?{_ROOT}"),
    ("it opens a shell to another machine", r"\bsocket\b(?s:.){0,400}\b(?:dup2|pty\.spawn|/bin/(?:ba)?sh)|\bfsockopen\b(?s:.){0,200}\b(?:exec|proc_open)|\bTCPSocket\b(?s:.){0,200}\bexec|/dev/(?:tcp|udp)/[^\s/]+/\d+|\bnet\.(?:Socket|connect)\b(?s:.){0,300}\bchild_process|\bchild_process\b(?s:.){0,300}\bnet\.(?:Socket|connect)"),
    ("it starts itself again and again", r"\bwhile\s*(?:\(?\s*(?:True|1|true)\s*\)?)\s*[:{]?\s*(?:os\.)?fork\s*\(|\bfork\s+while\b"),
    ("it runs what it downloads", r"\b(?:exec|eval)\s*\(\s*(?:\w+\.)*(?:urlopen|requests\.get|get|urlretrieve|fetch)\s*\("),
)  # fmt: skip
_DOUBTFUL = (
    ("it deletes folders or files", r"\b(?:rmtree|rmdirSync|rmSync|rm_rf|remove_dir_all|deleteDirectory|RemoveAll|rimraf|unlinkSync|os\.(?:remove|unlink|removedirs|truncate)|unlink|fs\.(?:promises\.)?(?:rm|rmdir|truncate)\w*|FileUtils\.(?:rm|remove)\w*|(?:File|Dir)\.(?:delete|unlink|rmdir)|send2trash|deleteSync|DeleteFile|remove_file|delete_(?:many|one|bucket|object|table|database)|deleteMany|drop_(?:all|table|database|collection)|dropDatabase|flush(?:all|db))\s*\(|\bopen\s*\([^)\n]{1,80}['\"]w[bt+]?['\"]\s*\)\.close\(|(?:^|[;{\s])unlink\s+(?:glob|<|\$|@|['\"])"),
    ("it runs hidden text as a program", r"\b(?:exec|eval|compile|Function|assert|create_function|instance_eval)\s*\((?s:.){0,120}(?:b64decode|fromhex|decode\(|atob|base64|decompress|unhexlify|codecs|rot13|Buffer\.from|gzinflate|chr\()"),
    ("it gets round what an interpreter allows", r"__(?:subclasses|globals|builtins|mro|bases|import)__|\bgetattr\s*\(\s*(?:os|sys|__builtins__)|\bctypes\b|\bimport_module\s*\(\s*['\"](?:os|subprocess|pty|socket)"),
    ("reading it back runs code", r"\b(?:pickle|cPickle|dill|marshal|shelve|jsonpickle)\.loads?\s*\(|\byaml\.(?:unsafe_)?load\s*\(\s*[^)]*(?:UnsafeLoader|Loader=yaml\.Loader)|\bunserialize\s*\(|\bObjectInputStream\b"),
    ("it sends all settings away", r"\b(?:os\.environ|process\.env|ENV)\b(?s:.){0,200}\b(?:requests\.|urlopen|fetch\s*\(|axios|http\.|post\()|\b(?:requests\.\w+|urlopen|fetch|axios[.\w]*)\s*\((?s:.){0,200}\b(?:os\.environ|process\.env)\b"),
    ("it looks a name up that it makes from data", r"\b(?:gethostbyname(?:_ex)?|getaddrinfo|create_connection|dns\.(?:lookup|resolve\w*)|resolver\.\w+|nslookup|getfqdn)\s*\(\s*\(?[^\n]{0,300}(?:\+|\.join|format\(|%\s|f['\"]|\$\{|hex\(|encode\()|\b(?:gethostbyname|getaddrinfo)\s*\(\s*f['\"]"),
    ("it stops programs or the machine", r"\bos\.(?:kill|killpg|abort)\s*\(|\bos\.system\s*\(\s*['\"](?:shutdown|reboot|halt)|\bprocess\.kill\s*\("),
)  # fmt: skip


_READS_FILE = r"\bopen\s*\(\s*[^)\n,]{1,120}(?:,\s*['\"]r[bt]?['\"])?\s*\)|\bread_(?:text|bytes|csv|json|parquet|excel)\s*\(|\breadFile(?:Sync)?\s*\(|\bFile\.read\b|\bfile_get_contents\s*\(|\bos\.environ\b|\bprocess\.env\b"
_SENDS = (
    r"\b(?:requests|httpx|session|client|aiohttp|axios|http)\.(?:post|put|patch)\s*\(|\burlopen\s*\([^)\n]{0,200}(?:data\s*=|\+|%|format|f['\"])|\.sendall?\s*\(|\.sendto\s*\(|\bsendmail\s*\(|\bsend_message\s*\(|\bstorbinary\s*\("
    r"|\bmethod\s*[:=]\s*['\"](?:POST|PUT)['\"]|\bupload_file(?:obj)?\s*\(|\bput_object\s*\(|\b(?:requests|httpx)\.get\s*\([^)\n]{0,200}(?:\+|%\s|\.format|f['\"][^'\"\n]*\{)"
)
"""Code that reads files, and code that sends something, or puts it into an address."""


def find_destructive_code(text: str) -> Iterator[Danger]:
    """Yield what is certain in code, wherever it is written: also in a command such as `python -c '…'`."""
    yield from search_patterns(text, _CERTAIN, is_certain=True)


def judge_program(text: str, judge_command: Callable[[str], list[Danger]]) -> list[Danger]:
    """List why code should not run, or not without a human.

    Args:
        text: the code.
        judge_command: judges the commands of a shell in its strings.
    """
    dangers = [*find_destructive_code(text), *search_patterns(text, _DOUBTFUL)]
    if compile_pattern(_READS_FILE).search(text) and (match := compile_pattern(_SENDS).search(text)):
        dangers.append(Danger(f"it reads files and sends something away ({match[0].strip()[:60]!r})"))
    runs_commands = bool(compile_pattern(_RUNS).search(text))
    for string in _list_strings(text):
        findings = judge_command(string) if runs_commands or re.search(r"[;&|]|\brm\b", string) else []
        dangers += [danger for danger in findings if danger.is_certain or runs_commands]
        if re.match(r"\s*(?:drop|delete|truncate|grant|alter|update|copy|exec)\s", string, re.IGNORECASE):
            dangers += judge_sql(string)
        if " " not in string and (danger := find_bad_path(string, is_path=False)) and danger.is_certain:
            dangers.append(Danger(danger.reason))
    return list(dict.fromkeys(dangers))


def _list_strings(text: str) -> Iterator[str]:
    """Yield the strings of a program, and its lists of strings as one command each."""
    for number, match in enumerate(compile_pattern(_LIST).finditer(text)):
        if number >= _MAX_STRINGS:
            break
        yield " ".join(
            first or second for first, second in re.findall(r"\"([^\"]*)\"|'([^']*)'", match[1][:_MAX_STRING])
        )
    for number, match in enumerate(compile_pattern(_STRING).finditer(text)):
        if number >= _MAX_STRINGS:
            break
        yield (match[1] or match[2] or match[3])[:_MAX_STRING]
