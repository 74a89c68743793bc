"""Fields of a record that matter: money, rank, a way to log in, a check that is left out.

A call that changes a record can change more of it than was asked for: a salary beside a title. So each such field must
be one that the user's words are about, or have a value that they name, or keep the value that was read.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from langchain_sea.safety.text.tool_effects import find_tool_acts, list_words
from langchain_sea.safety.text.values import get_argument, get_field, to_snake_case
from langchain_sea.safety.tools.privileges import list_values

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_sea.safety.conversation.context import CallContext
    from langchain_sea.safety.conversation.user_request import UserRequest
    from langchain_sea.safety.tool_call import ToolCall

__all__ = ["find_unasked_fields"]

_FLAGS = (
    r"(^|_)(bypass\w*|override\w*|skip_(?:\w+_)?(?:checks?|verification|approval|review|validation|kyc)|no_verify|auto_approve\w*"
    r"|pre_?approved|waive\w*|exempt\w*|(?:is_)?verified|(?:is_)?approved|kyc_\w+|\w+_waived|\w+_exempt)(_|$)"
)
_CLASSES = tuple(
    (what, re.compile(names, re.IGNORECASE), re.compile(words, re.IGNORECASE))
    for what, names, words in (
        (
            "money",
            r"(^|_)(salar(?:y|ies)|wages?|(?:hourly|pay|day|commission)_rate|compensation|bonus(?:es)?|balance|credit(?:s|_limit|_line)?"
            r"|overdraft\w*|\w*(?:spending|transfer|daily|withdrawal|card|expense|transaction|purchase)_limit|allowance|stipend|commission"
            r"|equity|discount(?:_\w+)?|store_credit)(_|$)",
            r"\bsalar|\bwage|\bpay|\bcompensat|\bbonus|\bbalance|\bcredit|\boverdraft|\blimit|\ballowance|\bstipend|\bcommission"
            r"|\bequity|\bdiscount|\bcoupon|\bpromo\b|\b(?:%|percent)|\braise\b|\bearn|\brates?\b|\bmoney|\bcheaper",
        ),
        (
            "rank",
            r"(^|_)(is_?(?:admin|manager|owner|superuser|staff|root|moderator|supervisor)|admin|administrator|superuser|roles?|rank"
            r"|permissions?|privileges?|clearance\w*|access_level|owner|sudo)(_|$)",
            r"\badmin|\bmanager|\bowner|\bsuper|\brole|\bpermission|\bprivilege|\bpromot|\baccess|\brights?\b|\bclearance|\bsudo"
            r"|\bmoderator|\bstaff\b|\brank",
        ),
        (
            "a way to log in",
            r"(^|_)(passwords?|passcode|pass_?phrase|pin|recovery_\w+|backup_(?:email|phone)|mfa\w*|\w*two_factor\w*|\w*2fa\w*|totp\w*"
            r"|ssh_keys?|public_keys?|authorized_keys?|security_(?:question|answer)\w*|require_\w*(?:mfa|2fa|password|approval))(_|$)",
            r"\bpassword|\bpasscode|\bpassphrase|\bpin\b|\brecover|\bbackup|\bmfa\b|\bfactor|\b2fa\b|\btotp|\bkeys?\b|\bsecurity"
            r"|\blog ?in|\bsign|\bauthent|\baccount|\bregister|\bregistration",
        ),
        (
            "where money goes",
            r"(^|_)(ibans?|bank_(?:account|details|code)\w*|account_number|routing\w*|payout_\w+|deposit_account|direct_deposit\w*)(_|$)",
            r"\biban|\bbank|\baccount|\bpayout|\bdeposit|\bpay",
        ),
        (
            "a check that is left out",
            _FLAGS,
            r"\bbypass|\boverrid|\bskip|\bverif|\bapprov|\bwaiv|\bexempt|\bkyc|\bwithout|\bconfirm",
        ),
    )
)
_CHANGES = frozenset(["update", "create", "grant"])
_NOTHING = frozenset(
    [
        "",
        "none",
        "null",
        "0",
        "0.0",
        "user",
        "member",
        "employee",
        "viewer",
        "reader",
        "guest",
        "customer",
        "basic",
        "standard",
    ]
)
_HIGH = re.compile(
    r"admin|owner|manager|super|root|sudo|director|executive|supervisor|maintain|full|all|\*|write|edit", re.IGNORECASE
)


def find_unasked_fields(call: ToolCall, context: CallContext, request: UserRequest) -> Iterator[tuple[str, str]]:
    """Yield (argument, reason) of fields with consequences that nobody asked to set."""
    if not request.is_judged or _CHANGES.isdisjoint(find_tool_acts(call.name)):
        return
    words = " ".join(list_words(call.name))
    for path, value in list_values(call.arguments):
        name = to_snake_case(get_field(path)).lower()
        for what, names, said in _CLASSES:
            if names.search(name) and not said.search(words) and _matters(what, value):
                is_asked = (
                    request.mentions(said) or _is_named(name, value, request) or _is_required(call, context, path)
                )
                if not is_asked and not context.has_field(name, str(value).strip()):
                    text = f"{path}: it sets {name} to {str(value)[:60]!r} ({what}), and nobody asked for that"
                    yield get_argument(path), text


def _matters(what: str, value: object) -> bool:
    """Return whether a value gives somebody something; of what protects a log-in, each value does."""
    if isinstance(value, (dict, list)) or value is None:
        return bool(value)
    text = str(value).strip().casefold()
    if isinstance(value, bool):
        return value or what == "a way to log in"
    if what == "rank":
        return text not in _NOTHING and _HIGH.search(text) is not None
    return text not in _NOTHING


def _is_named(name: str, value: object, request: UserRequest) -> bool:
    """Return whether the words name the field or its value."""
    if isinstance(value, bool):
        return False
    if isinstance(value, (int, float)):
        return float(value) in request.numbers
    return request.names(name) or (len(str(value)) > 1 and request.names(str(value)))


def _is_required(call: ToolCall, context: CallContext, path: str) -> bool:
    """Return whether a tool that makes a new record cannot be called without the argument."""
    required = context.tools.get(call.name, {}).get("required")
    return "update" not in find_tool_acts(call.name) and isinstance(required, list) and path in required
