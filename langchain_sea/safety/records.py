"""Which records of a lookup the user did not mean: the address of Carol, where the user asked for a mail to Ann.

A directory or an inbox lists many people, and a stranger's text can send an agent to any of them. Where the user's
words select one of a result's records, the addresses and accounts of the others endorse nothing. Words such as "all" or
"team" select every record. Knows no conversation and no policy.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING

from langchain_sea.safety.name_patterns import DESTINATION_NAME
from langchain_sea.safety.results import is_field, parse_result
from langchain_sea.safety.typed_values import find_addresses, is_account, to_compact
from langchain_sea.safety.values import list_scalars

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_sea.safety.typed_values import TextIndex

__all__ = ["list_others", "list_unmeant", "means_everybody"]

_CACHED_RESULTS = 256
_MAX_RECORDS = 2_000  # of one result
_MIN_RECORDS = 2
_MIN_WORD = 2  # characters
_MIN_NUMBER = 3  # digits
_EVERYBODY = re.compile(
    r"\b(?:all|every|everyone|everybody|each|both|team|group|participants?|attendees?|members?|guests?|contacts|customers"
    r"|invitees?|colleagues|employees|people|them|they|recipients|others|rest|subscribers|clients|users|friends|family)\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W_]+")


def means_everybody(text: str) -> bool:
    """Return whether a request speaks about all of several people."""
    return _EVERYBODY.search(text) is not None


def list_unmeant(result: str, named: Sequence[TextIndex], *, is_suspicious: bool = False) -> frozenset[str]:
    """List the addresses and accounts of a result's records that the user's words leave out, without punctuation.

    Args:
        result: of a lookup.
        named: indexes of the texts that select records.
        is_suspicious: whether all records are left out where the words select none.
    """
    records = _read_records(result)
    if len({value for record in records for value in record.addresses}) < _MIN_RECORDS:
        return frozenset()
    records = tuple(record for record in records if record.addresses)
    is_meant = [_is_meant(record, named) for record in records]
    if not any(is_meant) and not is_suspicious:
        return frozenset()
    meant = {value for record, chosen in zip(records, is_meant, strict=True) if chosen for value in record.addresses}
    return frozenset(value for record in records for value in record.addresses if value not in meant)


def list_others(result: str, named: Sequence[TextIndex]) -> frozenset[str]:
    """List what stands in the records alone that the user's words leave out: names and ids, without punctuation."""
    records = _read_records(result)
    chosen = [record for record in records if _is_meant(record, named)]
    if not chosen:
        return frozenset()
    meant = {value for record in chosen for value in record.values}
    return frozenset(
        value for record in records if record not in chosen for value in record.values if value not in meant
    )


def _is_meant(record: _Record, named: Sequence[TextIndex]) -> bool:
    return any(index.has_value(word) for index in named for word in record.words)


class _Record:
    """One record: its fields, the addresses and accounts among them, and the words that name it."""

    __slots__ = ("addresses", "values", "words")

    def __init__(self, values: Sequence[str]) -> None:
        fields = [value for value in values if is_field(value)]
        self.values = [to_compact(value) for value in fields]
        self.addresses = [to_compact(value) for value in fields if is_account(value) or _has_mail(value)]
        self.words = {
            word
            for value in fields
            for word in _WORD.findall(value.casefold())
            if len(word) >= (_MIN_NUMBER if word.isdigit() else _MIN_WORD)
        }


@lru_cache(maxsize=_CACHED_RESULTS)
def _read_records(text: str) -> tuple[_Record, ...]:
    """Return the records; words that most records share are left out, since they select none."""
    groups: list[list[_Record]] = []
    _collect(parse_result(text), groups)
    records = []
    for group in groups:
        counts = Counter(word for record in group for word in record.words)
        for record in group:
            record.words = {word for word in record.words if counts[word] <= len(group) // 2}
        records += group
    return tuple(records)


def _collect(value: object, groups: list[list[_Record]]) -> None:
    """Collect each list whose entries are records, the innermost lists first."""
    if isinstance(value, dict):
        entries = [(key, entry) for key, entry in value.items()]
        if len(entries) >= _MIN_RECORDS and all(_is_named_record(key, entry) for key, entry in entries):
            groups.append([_Record(list_scalars({key: entry})) for key, entry in entries[:_MAX_RECORDS]])
            return
        for _, entry in entries:
            _collect(entry, groups)
    elif isinstance(value, (list, tuple)):
        if len(value) >= _MIN_RECORDS and not any(_has_lists(entry) for entry in value):
            groups.append([_Record(list_scalars(entry)) for entry in value[:_MAX_RECORDS]])
            return
        for entry in value:
            _collect(entry, groups)


def _is_named_record(key: object, entry: object) -> bool:
    """Return whether an entry of a dict is a record under its own name: `{"Ann": "ann@home.example"}`."""
    if isinstance(entry, dict):
        return not _has_lists(entry)
    return isinstance(entry, str) and _has_mail(entry) and DESTINATION_NAME.search(str(key)) is None


def _has_lists(value: object) -> bool:
    if isinstance(value, dict):
        return any(_has_lists(entry) or isinstance(entry, (list, tuple)) for entry in value.values())
    return isinstance(value, (list, tuple)) and any(isinstance(entry, (dict, list, tuple)) for entry in value)


def _has_mail(value: str) -> bool:
    return "@" in value and any(each.kind == "email" for each in find_addresses(value))
