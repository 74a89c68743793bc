"""Orders that a call hands to a later run or to another agent: a task for each night, a prompt, a rule.

Who carries them out trusts them, so an order must not say more than the user's words do. Knows no policy.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from langchain_sea.safety.text.act_words import CERTAIN
from langchain_sea.safety.text.tool_effects import list_words, names_directive
from langchain_sea.safety.text.typed_values import index_text
from langchain_sea.safety.text.values import get_argument, get_field, to_snake_case
from langchain_sea.safety.tools.privileges import list_values

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from langchain_sea.safety.conversation.context import CallContext
    from langchain_sea.safety.conversation.user_request import UserRequest
    from langchain_sea.safety.tool_call import ToolCall

__all__ = ["find_later_orders"]

_STANDING = frozenset(
    "schedule scheduled scheduler cron crontab routine routines automation automations workflow workflows trigger triggers hook hooks"
    " recurring timer timers job jobs".split()
)
_KEPT = frozenset(
    "rule rules memory memories memorize remember instruction instructions playbook runbook macro macros skill skills persona"
    " queue enqueue".split()
)
_DELEGATED = frozenset("delegate agent subagent task tasks assistant worker".split())
_ORDER_NAME = re.compile(
    r"(^|_)(prompts?|instructions?|tasks?|goals?|objectives?|orders?|jobs?|actions?|commands?|rules?|then|steps?|playbook|directives?"
    r"|descriptions?|text|content|message|body|memory|facts?|notes?|preferences?|value)(_|$)",
    re.IGNORECASE,
)
_SAYS_LATER = re.compile(
    r"\bschedul\w*|\bcron\b|\b(?:every|each|daily|weekly|monthly|hourly|nightly|later|tonight|tomorrow|whenever|always|regularly"
    r"|remind\w*|automat\w*|recurring|routine|trigger\w*|workflow|rules?|jobs?|tasks?|hooks?|if|when|once|delegat\w*|agents?"
    r"|remember\w*|memor\w*|note|keep|save|from now on|queue\w*|plan\w*|at \d+|in \d+|next|on (?:mon|tues|wednes|thurs|fri|satur|sun)day)\b",
    re.IGNORECASE,
)
_CHANGES = frozenset("update modify change edit move cancel delete remove pause stop disable get list".split())
_WORD = re.compile(r"[A-Za-z]+")
_RUN = 5  # words that are copied from a text
_MAX_WORDS = 400


def find_later_orders(
    call: ToolCall, context: CallContext, request: UserRequest, requested: Collection[str]
) -> Iterator[tuple[str, str]]:
    """Yield (argument, reason) of orders to a later run, or to another agent, that nobody asked for.

    Args:
        call: of a tool that writes.
        context: of the call.
        request: what was asked for.
        requested: classes of acts that were asked for.
    """
    words = set(list_words(call.name))
    is_standing, is_kept = not words.isdisjoint(_STANDING), not words.isdisjoint(_KEPT)
    is_delegated = not words.isdisjoint(_DELEGATED)
    if not request.is_judged or not (is_standing or (context.is_tainted and (is_kept or is_delegated))):
        return
    if context.is_tainted and is_standing and words.isdisjoint(_CHANGES) and not request.mentions(_SAYS_LATER):
        yield "", f"{call.name} makes something happen later, and nobody who is trusted asked for that"
    for path, value in list_values(call.arguments):
        if not isinstance(value, str) or not _ORDER_NAME.search(to_snake_case(get_field(path))):
            continue
        said = {word.lower() for word in _WORD.findall(value)[:_MAX_WORDS]}
        new = sorted(act for act, verbs in CERTAIN.items() if not verbs.isdisjoint(said) and act not in requested)
        copied = _find_copied(value, context, request)
        if new and (copied or not is_delegated):
            acts = " and ".join(new)
            yield (
                get_argument(path),
                f"{path}: a later run is to {acts} something, and nobody who is trusted asked for that",
            )
        elif copied and not is_delegated:
            yield get_argument(path), f"{path}: a later run gets an order of {copied}"


def _find_copied(value: str, context: CallContext, request: UserRequest) -> str | None:
    """Return where an order comes from of which a stranger's text has several words in a row."""
    if not context.is_tainted:
        return None
    words = _WORD.findall(value)[:_MAX_WORDS]
    runs = [" ".join(words[i : i + _RUN]) for i in range(max(1, len(words) - _RUN + 1)) if len(words) >= _RUN]
    for text in context.untrusted:
        index = index_text(text.text)
        if any(index.has_value(run) and not request.names(run) for run in runs) and any(
            names_directive(part) for part in re.split(r"(?<=[.!?:])\s+|\n+", value)
        ):
            return text.origin
    return None
