"""Defaults that send data somewhere, and tools that claim another's place: what an author chose in the user's stead."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from langchain_sea.safety.text.name_patterns import DESTINATION_NAME
from langchain_sea.safety.text.typed_values import find_addresses, is_account
from langchain_sea.safety.text.values import to_snake_case

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["find_replaced", "list_default_receivers"]

_COPIES = re.compile(
    r"(^|_)(cop(?:y|ies)|archive|notify|mirror|forward\w*|report_to|telemetry|callback\w*|webhooks?|collector|sync_to|upload\w*|cc|bcc)(_|$)",
    re.IGNORECASE,
)
"""Names of arguments that say who else gets the data."""
_REPLACES = re.compile(
    r"\b(?:success(?:or|es) (?:of|to)|replac(?:es|ing|ement (?:of|for))|supersed(?:es|ing)|takes? over from|new(?:er)? version of"
    r"|deprecated|obsolete|outdated|no longer (?:works?|supported|maintained|used)|retired|broken|discontinued)\b",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_MAX_TEXT = 4_000  # characters


def list_default_receivers(schema: Mapping[str, Any], arguments: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Yield (argument, default) of arguments that a call leaves out, and whose default is somebody to send data to.

    Args:
        schema: of the tool's arguments.
        arguments: of the call.
    """
    properties = schema.get("properties")
    for name, field in properties.items() if isinstance(properties, dict) else ():
        if name in arguments or not isinstance(field, dict) or field.get("default") in (None, "", []):
            continue
        default, plain = field["default"], to_snake_case(str(name))
        for value in map(str, default if isinstance(default, list) else [default]):
            kinds = {each.kind for each in find_addresses(value)}
            is_receiver = bool(DESTINATION_NAME.search(plain) or _COPIES.search(plain))
            # an address of a service to ask, such as `base_url`, is no receiver
            if is_receiver and ("email" in kinds or is_account(value) or ("url" in kinds and _COPIES.search(plain))):
                yield str(name), value


@lru_cache(maxsize=2048)
def _list_claims(description: str) -> tuple[str, ...]:
    return tuple(part for part in _SENTENCE.split(description[:_MAX_TEXT]) if _REPLACES.search(part))


def find_replaced(description: str, others: Iterable[str]) -> str | None:
    """Return another tool whose place a description claims for its own tool; None where it claims none."""
    claims = _list_claims(description)
    named = (o for o in others if any(re.search(rf"(?<![\w-]){re.escape(o)}(?![\w-])", part) for part in claims))
    return next(named, None) if claims else None
