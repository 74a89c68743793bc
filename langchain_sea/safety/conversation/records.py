"""Which records of a lookup the user did not mean: the address of Carol, where the user asked for a mail to Ann.

A directory or an inbox lists many people, and a stranger's text can send an agent to any of them. Where the user's
words select one of a result's records, the addresses and accounts of the others endorse nothing. Words such as "all" or
"team" select every record. Knows no conversation and no policy.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

from langchain_sea.safety.conversation.results import is_field, parse_result
from langchain_sea.safety.text.name_patterns import DESTINATION_NAME
from langchain_sea.safety.text.typed_values import find_accounts, find_addresses, is_account, to_compact
from langchain_sea.safety.text.values import list_scalars

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_sea.safety.text.typed_values import TextIndex

__all__ = [
    "leaves_open",
    "list_ambiguous",
    "list_left_out",
    "list_others",
    "list_remarks",
    "list_unmeant",
    "means_everybody",
]

T = TypeVar("T")
_CACHED_RESULTS = 256
_MAX_RECORDS = 2_000  # of one result
_MAX_REQUEST = 20_000  # characters
_MIN_RECORDS = 2
_MIN_WORD = 2  # characters
_MIN_NUMBER = 3  # digits
_MIN_REMARK = 4  # words
_EVERYBODY = re.compile(
    r"\b(?:all|every|everyone|everybody|each|both|team|group|participants?|attendees?|members?|guests?|contacts|customers"
    r"|invitees?|colleagues|employees|people|them|they|recipients|others|rest|subscribers|clients|users|friends|family)\b",
    re.IGNORECASE,
)
_MORE = re.compile(
    r"\b(?:another|also|too|as well|additional|additionally|plus|any|ones?|two|three|four|five|six|several|few|multiple"
    r"|couple|various|duplicates?|whichever|remaining|same|similar|related|similarly|else|e\.g|such as|for example"
    r"|for instance|etc|(?:the|my|our|your|these|those|old|of|new|some) (?:[\w-]+ )?"
    r"(?!status|address|access|analysis|business|process|basis)[a-z]{2,}(?<![su])s)\b",
    re.IGNORECASE,
)
"""Words by which more things can be meant than are named; nouns in the plural are among them."""
_REMARK = re.compile(
    r"(^|_)(messages?|notes?|comments?|remarks?|hints?|bio|preview|head|feedback|repl(?:y|ies)|reviews?)(_|$)",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W_]+")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}\S*|\d{1,2}:\d{2}\S*|\d+[.,]\d*")


def means_everybody(text: str) -> bool:
    """Return whether a request speaks about all of several people."""
    return _EVERYBODY.search(text) is not None


def leaves_open(text: str) -> bool:
    """Return whether a request may mean more records than it names: "my orders", "the other one", "both"."""
    text = text[:_MAX_REQUEST]
    return _EVERYBODY.search(text) is not None or _MORE.search(text) is not None


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


@lru_cache(maxsize=_CACHED_RESULTS)
def list_ambiguous(document: str) -> frozenset[str]:
    """List the accounts of a document that has several for one kind of money; records of a list do not count."""
    value = parse_result(document)
    if isinstance(value, dict):
        texts = [
            text for entry in value.values() if not isinstance(entry, (list, tuple)) for text in list_scalars(entry)
        ]
    else:
        texts = [value] if isinstance(value, str) else []
    accounts = frozenset[str]().union(*map(find_accounts, texts))
    counts = Counter(map(_get_currency, accounts))
    return frozenset(account for account in accounts if counts[_get_currency(account)] > 1)


@lru_cache(maxsize=_CACHED_RESULTS)
def list_remarks(result: str) -> tuple[str, ...]:
    """List the remarks in a structured result: texts of a few words, or more, that somebody wrote beside the fields."""
    remarks, stack = list[str](), [parse_result(result)]
    while stack:
        node = stack.pop()
        if isinstance(node, (list, tuple)):
            stack += node
        elif isinstance(node, dict):
            stack += node.values()
            own = [each for key, each in node.items() if _REMARK.search(str(key))]
            remarks += [each for each in own if isinstance(each, str) and len(each.split()) >= _MIN_REMARK]
    return tuple(remarks)


def _get_currency(account: str) -> str:
    """Return what money an account is for, as far as its form shows it."""
    if account[:2].isalpha() and account[2:4].isdigit():
        return "bank"
    return "bitcoin" if account[0] in "b13" else account[0]


@lru_cache(maxsize=_CACHED_RESULTS)
def list_left_out(result: str, named: tuple[TextIndex, ...]) -> frozenset[str]:
    """List the ids and files of records beside one that the user named by its id, without punctuation."""
    left: set[str] = set()
    for group in _read_groups(result):
        counts = Counter(to_compact(value) for record in group for value in {*record})
        ids = [{to_compact(v) for v in record if _is_id(v) and counts[to_compact(v)] == 1} for record in group]
        chosen = [any(index.has_value(value) for index in named for value in record) for record in ids]
        if any(chosen):
            left |= {value for row, is_named in zip(ids, chosen, strict=True) if not is_named for value in row}
    return frozenset(left)


def _read_groups(result: str) -> list[list[list[str]]]:
    """Return the lists of a result, with the fields of each entry; lines of a text are a list, too."""
    value = parse_result(result)
    if isinstance(value, str):
        lines = [line.strip(" \t-*") for line in value.splitlines() if line.strip()]
        is_list = _MIN_RECORDS <= len(lines) <= _MAX_RECORDS and all(map(is_field, lines))
        return [[[*{line, *line.split()}] for line in lines]] if is_list else []
    groups: list[list[list[str]]] = []
    _collect(value, groups, lambda entry: [text for text in list_scalars(entry) if is_field(text)])
    return groups


def _is_id(value: str) -> bool:
    """Return whether a value names one record: an id, a file, or a short name."""
    text = value.strip()
    if _DATE.fullmatch(text) or len(text) < _MIN_NUMBER:
        return False
    return not text.isdigit() or len(text) > _MIN_WORD


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
    _collect(parse_result(text), groups, _make_record)
    records = []
    for group in groups:
        counts = Counter(word for record in group for word in record.words)
        for record in group:
            record.words = {word for word in record.words if counts[word] <= len(group) // 2}
        records += group
    return tuple(records)


def _make_record(entry: object) -> _Record:
    """Return a record; names of fields and remarks of others select none, unless the record is listed under the name."""
    record = _Record(list_scalars(entry))
    if isinstance(entry, dict) and len(entry) > 1:
        own = [value for key, value in entry.items() if not _REMARK.search(str(key))]
        record.words = _Record([each for value in own for each in list_scalars(value)]).words
    return record


def _collect(value: object, groups: list[list[T]], make: Callable[[object], T]) -> None:
    """Collect each list whose entries are records, the innermost lists first."""
    if isinstance(value, dict):
        entries = [(key, entry) for key, entry in value.items()]
        if len(entries) >= _MIN_RECORDS and all(_is_named_record(key, entry) for key, entry in entries):
            groups.append([make({key: entry}) for key, entry in entries[:_MAX_RECORDS]])
            return
        for _, entry in entries:
            _collect(entry, groups, make)
    elif isinstance(value, (list, tuple)):
        if len(value) >= _MIN_RECORDS and not any(_has_lists(entry) for entry in value):
            groups.append([make(entry) for entry in value[:_MAX_RECORDS]])
            return
        for entry in value:
            _collect(entry, groups, make)


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
