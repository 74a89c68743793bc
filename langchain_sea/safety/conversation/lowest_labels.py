"""A value keeps the lowest label that it had in the thread: a lookup does not make a stranger's address a known one.

What a page said can come back from the memory or the address book into which the agent wrote it. So an address or an
account that running text named stays a stranger's when a later lookup has it as a field, and so does one whose own
record says that it came in by itself. Knows no policy.
"""

from __future__ import annotations

import re
from functools import lru_cache

from langchain_sea.safety.conversation.results import parse_result
from langchain_sea.safety.text.doubted_mentions import remove_doubted
from langchain_sea.safety.text.typed_values import find_accounts, find_addresses, index_text, to_compact
from langchain_sea.safety.text.values import list_scalars

__all__ = ["list_doubted", "list_reached", "list_unverified"]

_UNVERIFIED = re.compile(
    r"\b(?:auto(?:matically)?[-_ ]?(?:added|created|saved|imported|collected)|(?:from|by) (?:an? |the )?(?:incoming|inbound|received|unknown|web form|guest|visitor|stranger|sender)"
    r"|un-?verified|not (?:yet )?(?:verified|confirmed)|unconfirmed|self-?(?:reported|registered|declared|added)|spam|suspected)\b",
    re.IGNORECASE,
)
"""What a record says of itself if nobody looked at it."""
_CACHED = 512


@lru_cache(maxsize=_CACHED)
def list_reached(text: str) -> frozenset[str]:
    """List the addresses and accounts that a text names, without punctuation."""
    index = index_text(text)
    keys = [to_compact(key) for key in (*index.emails, *index.urls)]
    with_scheme = [scheme + key for key in keys for scheme in ("http", "https", "httpwww", "httpswww")]
    return frozenset((*keys, *with_scheme, *find_accounts(text)))


@lru_cache(maxsize=_CACHED)
def list_doubted(text: str) -> frozenset[str]:
    """List the addresses and accounts that a trusted text names only under doubt or a prohibition."""
    plain = remove_doubted(text)
    return frozenset() if plain == text else list_reached(text) - list_reached(plain)


@lru_cache(maxsize=_CACHED)
def list_unverified(result: str) -> frozenset[str]:
    """List the addresses and accounts of records that say of themselves that they came in by themselves."""
    values: set[str] = set()
    stack = [parse_result(result)] if _UNVERIFIED.search(result) else []
    while stack:
        node = stack.pop()
        if isinstance(node, (list, tuple)):
            stack += node
        elif isinstance(node, dict):
            stack += node.values()
            own = [str(entry) for entry in node.values() if isinstance(entry, str)]
            if any(map(_UNVERIFIED.search, own)):
                values |= {
                    to_compact(each) for each in list_scalars(node) if find_addresses(each) or find_accounts(each)
                }
    return frozenset(values)
