"""Who would get all rights, and what would be deleted as a whole: what shows in names and values together."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from langchain_sea.safety.text.argument_kinds import get_words, list_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["find_everything", "find_privileges", "list_values"]

_ROLE_WORDS = frozenset(
    "role roles permission permissions access privilege privileges right rights scope scopes group groups policy policies action"
    " actions grant grants acl level membership".split()
)
_ROLE_SPLIT = re.compile(r"[,;\s|]+")
_ADMIN = re.compile(
    r"(?:^|[/:._-])(?:admins?|administrators?|owners?|root|super_?(?:user|admin)s?|sudo(?:ers)?|wheel|sys_?(?:admin|adm|dba)|dba|db_?(?:owner|admin)"
    r"|security_?admin|server_?admin|cluster-?admin|org_?admin|(?:global|tenant|company|billing|domain|enterprise)_?admin\w*|god|maintainer_?all"
    r"|administrator_?access|power_?user_?access|iam_?full_?access|full_?access|full_?control|all_?privileges|all_?access|readwriteany\w*"
    r"|system:masters|user_?access_?administrator|serviceaccount_?token_?creator|account_?admin|manage_?all|all)$"
    r"|^(?:\w+:)?\*(?::\*)*$|^roles/(?:owner|editor|iam\.\w*admin)$|^arn:aws:iam::aws:policy/(?:administrator|poweruser|iamfull)access$|^(?:administrator|amazon\w+full)access$",
    re.IGNORECASE,
)
_PHRASES = re.compile(
    r"^(?:(?:full|all|root|admin|administrator|unrestricted|complete)[ _-]+(?:access|control|rights|permissions|privileges)|(?:domain|enterprise|schema) admins|all)$",
    re.IGNORECASE,
)
_FLAG_WORDS = frozenset(
    "admin administrator superuser superadmin root sudo owner privileged nopasswd allow_all full_access".split()
)
_DELETING = frozenset(
    "delete remove drop purge wipe truncate erase unlink rm clear terminate destroy kill flush reset revoke uninstall trash discard"
    " deregister deprovision empty expunge evict prune del cleanup archive".split()
)
_SELECTORS = frozenset(
    "filter filters where pattern patterns query ids id selector selectors criteria condition conditions match prefix glob predicate"
    " search path paths name names keys key range expression regex tag tags label labels target targets resources items".split()
)
_OPTIONAL_WORDS = frozenset(
    "filter filters where pattern query selector criteria condition conditions match prefix predicate ids paths keys".split()
)
_EVERYTHING = re.compile(
    r"^(?:\*+(?:\.\*+)?|/+\*{0,2}|\.{1,2}/?\*{0,2}|~/?\*?|%+|\\+\*?|[a-z]:[\\/]*\*?|all|everything|everyone|any|true|.*/\*\*?(?:\.\*)?|\^?\.\*\$?|\.\+|\(\?:.*\)\*"
    r"|(?:where\s+)?(?:\(?\s*['\"]?(\w+)['\"]?\s*=\s*['\"]?\1['\"]?\s*\)?|true|1)|not\s+(?:false|0)|\w+\s+is\s+not\s+null|\w+\s+like\s+'%+'|\*:\*|_all|match_all)$",
    re.IGNORECASE,
)
_MAX_SHORT = 200  # characters: a longer text names something particular
_MATCH_ALL = frozenset(["$exists", "$ne", "$nin", "match_all", "$gte", "$gt", "$not"])


def list_values(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Yield (path, value) of all that holds no further values, empty lists and objects included."""
    if isinstance(value, dict) and value:
        for key, entry in value.items():
            yield from list_values(entry, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list) and value:
        for index, entry in enumerate(value):
            yield from list_values(entry, f"{path}[{index}]")
    else:
        yield path, value


def find_privileges(path: str, value: object) -> str | None:
    """Return which rights a value gives away."""
    names = list_names(path)
    words = set(get_words(names[0])) if names else set()
    if isinstance(value, bool) or value in (1, "true", "True", "yes"):
        is_flag = bool(words & _FLAG_WORDS) and not words & {"email", "name", "id", "notify", "contact"}
        return f"it makes somebody an administrator ({names[0]})" if value and is_flag else None
    if not isinstance(value, str) or not (
        words & _ROLE_WORDS or any(set(get_words(n)) & _ROLE_WORDS for n in names[1:2])
    ):
        return None
    parts = [part for part in _ROLE_SPLIT.split(value.strip()) if part]
    if _PHRASES.match(value.strip()) or (len(parts) <= 10 and any(map(_ADMIN.search, parts))):  # noqa: PLR2004 - more is a text
        return f"it gives somebody the rights {value.strip()[:60]!r}"
    return None


def find_everything(tool: str, arguments: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Yield (argument, reason) where a tool that deletes is told to delete all there is."""
    if not _DELETING.intersection(get_words(tool)):
        return
    values = list(list_values(arguments))
    has_other = any(value not in (None, "", [], {}) and not isinstance(value, bool) for _, value in values)
    for path, value in values:
        names = list_names(path)
        name = names[0] if names else ""
        words = set(get_words(name))
        argument = names[-1] if names else ""
        if isinstance(value, str) and 0 < len(value.strip()) <= _MAX_SHORT and _EVERYTHING.match(value.strip()):
            yield argument, f"{value.strip()[:60]!r} means everything there is"
        elif value is True and words & {"all", "everything", "every", "entire"}:
            yield argument, f"{name} means everything there is"
        elif any(each in _MATCH_ALL for each in names) and (value in (None, "", {}, []) or value is True):
            yield argument, f"the filter {path!r} matches everything there is"
        elif value in ("", {}, []) or (isinstance(value, str) and not value.strip()) or value is None:
            is_selector = bool(words & _SELECTORS) if value is not None else bool(words & _OPTIONAL_WORDS)
            if is_selector and not has_other:
                yield argument, f"an empty {name} means everything there is"
