r"""The prompts of generative guards, and the words of their verdicts.

A guard reads a conversation in its own template and writes a verdict. A reward needs only the two or three tokens with
which a safe and an unsafe verdict begin, and the text that is always before them. The tokenizer's own chat template is
used if it has one, as the published ones do, with the format's options; else the template below. Sources: the models'
cards.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

__all__ = ["GRANITE_GUARDIAN", "GRANITE_GUARDIAN_3_3", "LLAMA_GUARD", "QWEN3_GUARD", "SHIELD_GEMMA",
           "GuardFormat", "format_for", "shield_gemma"]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardFormat:
    r"""The format of one family of guards.

    Attributes:
        name: of the family.
        template: Jinja source of the whole prompt, for tokenizers without a chat template.
        options: variables of the template, beside the messages.
        before: the text before the verdict in every reply, e.g. `\n\n` or `Safety: `.
        safe: the words with which a verdict of safe begins.
        unsafe: the words with which a verdict of unsafe begins.
        between: the words of a third verdict, if there is one.
        verdict: a regular expression whose first group is the verdict's word in a whole reply.
        categories: a regular expression whose first group is what is violated, separated by commas; None if the
            format does not say.
    """

    name: str
    template: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    before: str = ""
    safe: tuple[str, ...]
    unsafe: tuple[str, ...]
    between: tuple[str, ...] = ()
    verdict: str
    categories: str | None = None

    def source(self, own: str | None) -> str | None:
        """Return Jinja source with the options set; `own` is the tokenizer's template, used instead of the format's."""
        body = own or self.template
        if body is None:
            return None
        # JSON is valid in Jinja, and Jinja drops each of these lines
        assignments = [f"{{% set {name} = {json.dumps(value)} %}}\n" for name, value in self.options.items()]
        return "".join(assignments) + body

    def read(self, reply: str) -> tuple[Literal["safe", "unsafe", "between"] | None, tuple[str, ...]]:
        """Return the verdict of a whole reply, None if it has none, and the categories it names."""
        match = re.search(self.verdict, reply)
        tiers: dict[Literal["safe", "unsafe", "between"], tuple[str, ...]] = {
            "safe": self.safe, "unsafe": self.unsafe, "between": self.between,
        }  # fmt: skip
        word = match.group(1).strip().lower() if match else ""
        tier = next((t for t, words in tiers.items() if word in [w.strip().lower() for w in words]), None)
        named = re.search(self.categories, reply) if self.categories and tier != "safe" else None
        split = [c.strip() for c in named.group(1).split(",")] if named else []
        return tier, tuple(c for c in split if c and c.lower() != "none")


def _template(name: str) -> str:
    return (Path(__file__).parent / "guards" / f"{name}.jinja").read_text(encoding="utf-8")


LLAMA_GUARD = GuardFormat(
    name="Llama Guard 3",
    template=_template("llama_guard"),
    before="\n\n",
    safe=("safe",),
    unsafe=("unsafe",),
    verdict=r"^\s*(safe|unsafe)\b",
    categories=r"unsafe\s*\n\s*(.+)",
)
SHIELD_GEMMA = GuardFormat(
    name="ShieldGemma",
    template=_template("shield_gemma"),
    options={
        "guideline": '"No Dangerous Content": The chatbot shall not generate content that harms oneself '
        "and/or others, as access to weapons, promotion of terrorism, or instructions for suicide."
    },
    safe=("No",),
    unsafe=("Yes",),
    verdict=r"^\s*(Yes|No)\b",
)
GRANITE_GUARDIAN = GuardFormat(
    name="Granite Guardian 3.0 to 3.2",
    template=_template("granite_guardian"),
    options={"guardian_config": {"risk_name": "harm"}},
    safe=("No",),
    unsafe=("Yes",),
    verdict=r"^\s*(Yes|No)\b",
)
GRANITE_GUARDIAN_3_3 = GuardFormat(
    name="Granite Guardian 3.3",
    template=_template("granite_guardian"),
    options={"guardian_config": {"criteria_id": "harm"}, "think": False},
    before="<think>\n</think>\n<score> ",
    safe=("no",),
    unsafe=("yes",),
    verdict=r"<score>\s*(yes|no)\s*</score>",
)
QWEN3_GUARD = GuardFormat(
    name="Qwen3Guard-Gen",
    template=_template("qwen3_guard"),
    before="Safety: ",
    safe=("Safe",),
    unsafe=("Unsafe",),
    between=("Controversial",),
    verdict=r"Safety:\s*(Safe|Unsafe|Controversial)",
    categories=r"Categories:\s*(.+)",
)


def shield_gemma(guideline: str) -> GuardFormat:
    """Return the format of ShieldGemma with another guideline: it checks one at a time."""
    return replace(SHIELD_GEMMA, options={"guideline": guideline})


_FAMILIES = (
    (r"llama[-_ ]?guard", LLAMA_GUARD),
    (r"shield[-_ ]?gemma", SHIELD_GEMMA),
    (r"granite[-_ ]?guardian[-_ ]?(3\.[3-9]|4)", GRANITE_GUARDIAN_3_3),
    (r"granite[-_ ]?guardian", GRANITE_GUARDIAN),
    (r"qwen3[-_ ]?guard", QWEN3_GUARD),
)


def format_for(name: str) -> GuardFormat | None:
    """Return the published format of a model with this name, or None."""
    return next((fmt for pattern, fmt in _FAMILIES if re.search(pattern, name, re.IGNORECASE)), None)
