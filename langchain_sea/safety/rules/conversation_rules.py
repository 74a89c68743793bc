"""What is dangerous in an argument because of what was read or done before: values that strangers named, secrets that were read.

All of them are doubts.
"""

from __future__ import annotations

import json
import posixpath
import re
from functools import lru_cache
from typing import TYPE_CHECKING

from langchain_sea.safety.commands.packages import list_packages
from langchain_sea.safety.commands.shell import judge_command
from langchain_sea.safety.commands.shell_writes import is_root
from langchain_sea.safety.secrets.seen_secrets import find_passed_secret, list_read_secrets
from langchain_sea.safety.text.argument_kinds import Kind, get_words, list_names
from langchain_sea.safety.text.patterns import Danger
from langchain_sea.safety.text.typed_values import find_addresses, index_text
from langchain_sea.safety.text.values import get_argument

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from langchain_sea.safety.conversation.context import CallContext

__all__ = ["judge_conversation"]

_RUN_KINDS = (Kind.COMMAND, Kind.CODE)
_CODE_WORDS = frozenset(["code", "otp", "pin", "password", "token", "secret", "card", "payment", "cvv"])
"""Words in the names of arguments that a secret belongs into."""
_HOST = re.compile(r"(?<![\w@/-])\.?((?:[a-z0-9-]{1,63}\.){1,6}[a-z]{2,12})(?![\w(])", re.IGNORECASE)
_ENDINGS = frozenset(
    "com net org io dev app ai co info biz xyz site online top club example test me tv cloud tech store shop live pro us uk de fr nl eu ru cn jp in br au ca ch at it es pl se no"
    " fi dk be cz kr id vn ir to ly gg im fm sh link click page zone run work team space world today fun icu cc ws name mobi tel edu gov mil int local internal invalid".split()
)
_FILE_ENDINGS = frozenset(["sh", "pl", "cc", "app", "in", "id", "me", "name", "test"])
"""Endings of hosts that are endings of files, or of names in code, as well."""
_FIGURE = re.compile(r"(?<![\w.])\d{4,}(?:\.\d+)?|\d{4,}|[\w.+-]+@[\w-]+\.[\w.-]+")
_IMAGE = re.compile(
    r"!\[[^\]]{0,200}\]\(\s*<?(https?://[^)\s>]+)|<img\b[^>]{0,300}?\bsrc\s*=\s*['\"]?(https?://[^\s'\">]+)",
    re.IGNORECASE,
)
_ABSOLUTE = re.compile(r"(?:^|[\s\"'(`])((?:~|[A-Za-z]:)?/[\w.~/-]{1,300})")
_CD = re.compile(r"(?:^|[;&|\n]\s*)(?:cd|pushd)\s+([^\s;&|]+)")
_MIN_CARRIED = 2  # figures of a private result in one argument
_MAX_SENT = 30  # earlier calls over which a secret can be split


def judge_conversation(
    texts: Sequence[tuple[str, Kind, str]], context: CallContext, *, reads_only: bool
) -> Iterator[tuple[str, Danger]]:
    """Yield (argument, danger) of a call in its conversation.

    Args:
        texts: path, kind and text of each string in the arguments.
        context: of the call.
        reads_only: whether the tool changes nothing.
    """
    results = [message for message in context.messages if message.role == "tool"]
    secrets = list_read_secrets(tuple(message.text for message in results))
    secrets = tuple(each for each in secrets if not any(index.has_value(each) for index in context.trusted))
    folder = _find_last_folder(tuple(message.arguments for message in results))
    for where, kind, text in texts:
        argument = get_argument(where)
        if kind in _RUN_KINDS:
            yield from ((argument, danger) for danger in _judge_origins(text, context))
        if kind is Kind.COMMAND and is_root(folder):
            dangers = judge_command(f"cd {folder} && {text}", level=1)
            yield from ((argument, Danger(f"{each.reason} in the folder {folder!r}")) for each in dangers)
        if secrets and kind is not Kind.SECRET and not (reads_only and kind is Kind.PATH):
            yield from ((argument, danger) for danger in _judge_passed_on(where, text, secrets, texts, context))
        if context.has_injection:
            yield from ((argument, danger) for danger in _judge_carried(kind, text, context, reads_only=reads_only))
        if context.is_tainted and "://" in text:
            yield from ((argument, danger) for danger in _judge_images(text, context))
        if kind is Kind.PATH and not reads_only and (danger := _judge_other_place(text, context)):
            yield argument, danger


def _judge_origins(text: str, context: CallContext) -> Iterator[Danger]:
    """Yield hosts and packages in a command or in code that only strangers named."""
    for name in list_packages(text):
        texts = [each for each in context.untrusted if index_text(each.text).has_value(name)]
        if texts and not any(index.has_value(name) for index in context.trusted):
            yield Danger(f"it takes the package {name[:60]!r}, which was named only by {texts[0].origin}")
    hosts = {match[1].lower() for match in _HOST.finditer(text[:20_000]) if _is_host(match[1].lower())}
    trusted = {host for index in context.trusted for host in index.hosts}
    for host in sorted(hosts - trusted)[:40]:
        if any(f".{host}".endswith(f".{each}") for each in trusted):
            continue
        origin = next((e.origin for e in context.untrusted if host in index_text(e.text).hosts), None)
        if origin is not None:
            yield Danger(f"it names {host[:60]!r}, which was named only by {origin}")


def _is_host(name: str) -> bool:
    ending = name.rpartition(".")[2]
    return ending in _ENDINGS and (ending not in _FILE_ENDINGS or name.count(".") > 1)


def _judge_passed_on(
    where: str, text: str, secrets: Sequence[str], texts: Sequence[tuple[str, Kind, str]], context: CallContext
) -> Iterator[Danger]:
    """Yield a secret of a result that the call passes on, and that nobody who is trusted named."""
    names = list_names(where)
    if names and not _CODE_WORDS.isdisjoint(get_words(names[0])):
        return
    others = [*_list_sent(context), *(other for path, _, other in texts if path != where)]
    if passed := find_passed_secret(text, secrets, others):
        secret, how = passed
        yield Danger(f"it passes on what a result gave as a secret, {how} ({secret[:3]!r}…)")


def _list_sent(context: CallContext) -> list[str]:
    """List the arguments of the thread's earlier calls, the newest first."""
    return [message.arguments for message in reversed(context.messages) if message.role == "tool"][:_MAX_SENT]


def _judge_carried(kind: Kind, text: str, context: CallContext, *, reads_only: bool) -> Iterator[Danger]:
    """Yield data of results in names, addresses and searches, once a text spoke to the agent."""
    if kind in (Kind.PATH, Kind.ADDRESS) or (kind is Kind.PROSE and reads_only):
        figures = set(_FIGURE.findall(text[:2_000]))
        read = {each for each in figures if any(each in result for result in _list_private(context))}
        named = {each for each in read if any(index.has_value(each) for index in context.trusted)}
        if len(read - named) >= _MIN_CARRIED:
            yield Danger(f"it carries figures of a result ({', '.join(sorted(read - named)[:3])})")


def _judge_images(text: str, context: CallContext) -> Iterator[Danger]:
    """Yield images of hosts that no text named: whoever shows the text sends their names to the host."""
    for match in list(_IMAGE.finditer(text))[:20]:
        for address in find_addresses(match[1] or match[2]):
            texts = [*context.trusted, *(index_text(each) for each in context.untrusted_texts)]
            if not any(address.host in index.hosts for index in texts) and not context.is_field(address.text):
                yield Danger(f"it shows an image of {address.host[:60]!r}, which nobody named")


def _list_private(context: CallContext) -> list[str]:
    """List the results, and of those that speak to the agent also the data in them."""
    return [message.text for message in context.messages if message.role == "tool"]


def _judge_other_place(text: str, context: CallContext) -> Danger | None:
    """Return a doubt about a file whose name was said with another folder than this one."""
    path = text.strip().replace("\\", "/")
    if not path.startswith(("/", "~")) or context.is_field(text):
        return None
    said = [whole for whole, _ in context.request_texts]
    places = [each.rstrip("/.") for whole in said for each in _ABSOLUTE.findall(whole)]
    if not places or any(path == place or path.startswith(f"{place}/") for place in places):
        return None
    name = posixpath.basename(path.rstrip("/"))
    if name and any(name in whole for whole in said):
        return Danger(f"{text[:80]!r} lies elsewhere than {places[0][:60]!r}, which was named (path)")
    return None


@lru_cache(maxsize=64)
def _find_last_folder(arguments: tuple[str, ...]) -> str:
    """Return the folder to which the last earlier command with a `cd` went; empty where none did."""
    for text in reversed(arguments[-50:]):
        if "cd " not in text and "pushd " not in text:
            continue
        try:
            values = json.loads(text)
        except ValueError:
            values = {"": text}
        lines = [value for value in values.values() if isinstance(value, str)] if isinstance(values, dict) else []
        if folders := [match for line in lines for match in _CD.findall(line)]:
            return str(folders[-1])
    return ""
