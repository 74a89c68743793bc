"""Patterns of the names of arguments, and of short values. Data alone."""

from __future__ import annotations

import re

__all__ = [
    "ABSOLUTE",
    "ADDRESS_NAME",
    "AMOUNT_NAME",
    "CODE_NAME",
    "DATE",
    "DESTINATION_NAME",
    "FILE_NAME",
    "ID_NAME",
    "NAMES_SOMEBODY",
    "NEXT_THING",
    "PATH_NAME",
    "PLACE_NAME",
    "QUANTITY",
    "SENTENCE_END",
    "SOUGHT",
    "STREET",
    "TEXT_NAME",
]

DESTINATION_NAME = re.compile(
    r"(^|_)(to|cc|bcc|recipients?|receivers?|payees?|beneficiar(y|ies)|emails?|urls?|uris?|links?|websites?|webhooks?"
    r"|hosts?|domains?|address(es)?|ibans?|accounts?|phones?|channels?|users?|usernames?|guests?|members?"
    r"|participants?|attendees?|invitees?|contacts?|destinations?|targets?|endpoints?|wallets?|passwords?)(_|$)",
    re.IGNORECASE,
)
NAMES_SOMEBODY = re.compile(
    r"(^|_)(to|recipients?|payees?|beneficiar(y|ies)|vendors?|suppliers?|users?|usernames?|logins?|handles?"
    r"|collaborators?|members?|attendees?|assignees?|reviewers?|repo(sitory)?|org(anization)?|servers?|buckets?)(_|$)",
    re.IGNORECASE,
)
ADDRESS_NAME = re.compile(
    r"(^|_)(to|cc|bcc|recipients?|receivers?|payees?|beneficiar(y|ies)|emails?|urls?|uris?|links?|webhooks?|ibans?"
    r"|endpoints?|wallets?"
    r"|(wallet|email|mail|ip|web)_address(es)?|(account|iban|card)_(number|no))$",
    re.IGNORECASE,
)
PATH_NAME = re.compile(r"(^|_)(paths?|files?|filenames?|folders?|director(y|ies)|dirs?|src|dst)(_|$)", re.IGNORECASE)
PLACE_NAME = re.compile(
    r"(^|_)(targets?|dest|destinations?|output|outputs|out|outdir|into|location|root|prefix|base|mount|save_as|saveas|where|to)(_|$)",
    re.IGNORECASE,
)
"""Where something is put, which may be a folder."""
CODE_NAME = re.compile(r"(^|_)(commands?|cmd|scripts?|code|sql|shell|program)(_|$)", re.IGNORECASE)
TEXT_NAME = re.compile(
    r"(^|_)(body|text|content|contents|message|summary|description|subject|title|note|notes|caption|comment|details|query"
    r"|reason|thought|expression|review|feedback|answer|reply)(_|$)",
    re.IGNORECASE,
)
ID_NAME = re.compile(r"(^|_)(ids?|key|number|code)(_|$)", re.IGNORECASE)
ABSOLUTE = re.compile(r"\s*(?:[/~\\]|[A-Za-z]:|.*\.\.)")
SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n\s*\n")
NEXT_THING = re.compile(r"\n+|(?:^|\s)\d+[.)]\s|;")  # of a user's list of things to do
SOUGHT = re.compile(
    r"\be-?mails?\b|\baddress|\bcontact|\bphone|\baccount|\biban\b|\bbills?\b|\binvoice|\bpay\b|\bpayment|\brecipient|\bdetails?\b"
    r"|\blinks?\b|\burls?\b",
    re.IGNORECASE,
)
FILE_NAME = re.compile(r"[\w-]+\.(?:docx?|xlsx?|pptx?|txt|pdf|md|csv|json|ya?ml|html?)\b")
AMOUNT_NAME = re.compile(r"(^|_)(amounts?|sum|total|price|budget|limit)(_|$)", re.IGNORECASE)
QUANTITY = re.compile(r"[\d\s.,:\-/TZ]+|true|false|yes|no", re.IGNORECASE)
DATE = re.compile(r"\d{4}-\d{2}-\d{2}|\d{1,2}[./]\d{1,2}[./]\d{4}")
STREET = re.compile(r"(^|_)(address(_?(line)?_?\d)?|street|city|state|country|zip|province)(_|$)", re.IGNORECASE)
