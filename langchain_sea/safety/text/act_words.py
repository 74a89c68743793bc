"""English words by which tools are named and acts are asked for. Data alone."""

from __future__ import annotations

__all__ = [
    "ACTS",
    "CERTAIN",
    "DETERMINERS",
    "DISTRUST",
    "ENGLISH",
    "HELPERS",
    "KEEPS",
    "MEMORY",
    "MONEY",
    "MOVES",
    "OFTEN_NOUNS",
    "OPEN_SOURCES",
    "READABLE",
    "READS",
    "REMEMBERS",
    "REPORTS",
]

DISTRUST = (
    r"\b(?:scam\w*|spam|fraud\w*|phish\w*|swindl\w*|fake[ds]?|suspicious|malicious|hack(?:s|ed|er|ers|ing)?|impost[eo]rs?"
    r"|spoof\w*|imperson\w*|untrust\w*|prompt injections?)\b"
)
"""A pattern of the words by which somebody says that a text or an account is a fraud."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


READS = _words(
    "get search read list find look lookup view show fetch query check count describe calculate compute think plan"
    " retrieve browse visit summarize summarise translate convert compare analyze analyse verify validate estimate"
    " inspect select is has preview note recall rank filter filtered parse detect identify explain predict"
    " recommend monitor track see tell navigate goto scroll geocode locate classify watch grep glob ls cat head"
    " tail tree exists whoami forecast screenshot wikipedia arxiv"
)
READABLE = _words(
    "page pages url urls link links web website websites site sites file files document documents doc docs tab article"
    " articles email emails mail mails message messages attachment image images folder pdf book news"
)
ACTS: dict[str, frozenset[str]] = {
    "send": _words(
        "send sends email mail message text dm notify notification forward reply respond response tell inform write"
        " post publish tweet announce contact call share invite let submit ask say comment congratulate thank greet"
        " answer dispatch deliver attach feedback broadcast ping remind"
    ),
    "pay": _words(
        "pay payment transfer wire refund donate donation purchase buy order spend money transaction funds charge"
        " checkout reimburse bill invoice trade sell bid deposit withdraw insure insurance certificate compensate"
        " compensation settle owe split tip fund reward"
    ),
    "book": _words("book reserve reservation booking register enroll subscribe schedule appointment rent hire"),
    "create": _words(
        "create add make new insert schedule set setup plan book append write upload save record build generate open"
        " draft start put log store download export import invite reserve arrange organize organise copy prepare"
        " collect compile document implement develop code program refactor"
    ),
    "delete": _words(
        "delete remove cancel drop erase clear purge uninstall wipe close revoke unsubscribe destroy discard return"
        " kick clean reject dismiss terminate stop end scrap trash bin undo retract abort abandon eliminate empty prune tidy"
    ),
    "update": _words(
        "update change modify edit set reset adjust move reschedule rename replace increase decrease enable disable"
        " switch turn upgrade downgrade correct apply fix mark assign exchange swap postpone shift extend sort merge"
        " append add reduce restore redeem toggle sync configure"
        " control manage handle operate lock unlock pause resume refactor debug"
        " improve rewrite clean resolve solve repair"
    ),
    "grant": _words("grant share invite add allow let give authorize authorise permit access unlock role promote"),
    "approve": _words("approve accept confirm sign endorse ratify authorize authorise"),
    "remember": _words("remember memorize memorise"),
    "execute": _words("run execute exec eval install deploy start launch restart kill shutdown compile test"),
}
CERTAIN: dict[str, frozenset[str]] = {
    "delete": _words("delete remove cancel drop erase purge wipe uninstall revoke destroy"),
    "pay": _words("pay wire refund reimburse purchase buy donate withdraw"),
    "grant": _words("grant promote"),
}
"""Verbs of tools that can mean nothing else, and whose effects cannot be undone."""
MONEY = _words(
    "money funds payment payments transaction transactions transfer balance cash crypto bitcoin"
    " refund refunds payout payouts withdrawal donation purchase reimbursement"
)
MOVES = _words(
    "send make create issue initiate schedule submit process execute convert move transfer exchange withdraw start"
)
"""With a noun of `MONEY` in a tool's name, these verbs pay: `send_money`, `convert_funds`."""
MEMORY = _words("memory memories")
KEEPS = _words("save store add upsert update create write append set put manage record")
"""With a noun of `MEMORY` in a tool's name, these verbs write what the agent will trust later."""
REMEMBERS = _words("remember memorize memorise note save store record keep forget prefer always memory preference")
HELPERS = _words("human humans escalate handoff supervisor operator")
REPORTS = _words("report block lock freeze flag ban mute blacklist deny dispute quarantine")
OFTEN_NOUNS = _words(
    "email mail message text call note order book post record change share schedule appointment notification response"
    " comment plan payment transfer transaction money funds charge bill invoice reservation booking donation deposit"
    " insurance certificate document log draft store copy test access role agent agents human trade purchase refund"
    " return exchange report answer update set start open end contact feedback split new build compensation bid sign"
    " refresh"
)
DETERMINERS = _words(
    "the a an my your our his her their its this that these those any all each every some no unread new newest latest"
    " last first next recent of in from which what same largest smallest many sent received draft"
)
OPEN_SOURCES = _words("web webpage page pages website url browser browse http https fetch scrape crawl rss news")
ENGLISH = _words(
    "the a is are to of and what when where who how my me i you please can for in on do does it ok okay thanks thank"
    " hi hello hey great cool perfect yes no yep nope bye sorry why continue more next another"
)
