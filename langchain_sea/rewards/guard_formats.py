r"""How generative guards are asked, and what their first words mean. Knows no model.

A guard reads a conversation in its own template and writes a verdict. Only two or three tokens matter to a
reward: those with which a safe and an unsafe verdict begin, behind what always stands before them. Where a
tokenizer brings its own chat template, as the published ones do, that is used, with the format's options; the
templates below serve those that bring none. Sources: the models' cards.
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
    r"""One family's format.

    Attributes:
        name: of the family.
        template: Jinja source of the whole prompt, where the tokenizer has none.
        options: what the template is given beside the messages.
        before: what stands before the verdict in every reply, as `\n\n` or `Safety: `.
        safe: the words with which a verdict of safe begins.
        unsafe: of unsafe.
        between: of neither, where there is a third tier.
        verdict: finds the verdict's word in a whole reply, as its first group.
        categories: finds what is violated, separated by commas; None where the format does not say.
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
        """Jinja with the options set, over the tokenizer's own template if it has one."""
        body = own or self.template
        if body is None:
            return None
        # on a line of its own, which Jinja drops
        given = "".join(f"{{% set {name} = {_jinja(value)} %}}\n" for name, value in self.options.items())
        return given + body

    def read(self, reply: str) -> tuple[Literal["safe", "unsafe", "between"] | None, tuple[str, ...]]:
        """The verdict of a whole reply, None if there is none in it, and the categories it names."""
        found = re.search(self.verdict, reply)
        tiers: dict[Literal["safe", "unsafe", "between"], tuple[str, ...]] = {
            "safe": self.safe, "unsafe": self.unsafe, "between": self.between,
        }  # fmt: skip
        word = found.group(1).strip().lower() if found else ""
        tier = next((t for t, words in tiers.items() if word in [w.strip().lower() for w in words]), None)
        named = re.search(self.categories, reply) if self.categories and tier != "safe" else None
        split = [c.strip() for c in named.group(1).split(",")] if named else []
        return tier, tuple(c for c in split if c and c.lower() != "none")


def _jinja(value: Any) -> str:  # noqa: ANN401 - JSON's values
    """A JSON value as Jinja writes it."""
    return json.dumps(value)  # true and false are Jinja's too


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
    """ShieldGemma judges one principle at a time; this is the text of it."""
    return replace(SHIELD_GEMMA, options={"guideline": guideline})


_FAMILIES = (
    (r"llama[-_ ]?guard", LLAMA_GUARD),
    (r"shield[-_ ]?gemma", SHIELD_GEMMA),
    (r"granite[-_ ]?guardian[-_ ]?(3\.[3-9]|4)", GRANITE_GUARDIAN_3_3),
    (r"granite[-_ ]?guardian", GRANITE_GUARDIAN),
    (r"qwen3[-_ ]?guard", QWEN3_GUARD),
)


def format_for(name: str) -> GuardFormat | None:
    """The published format of a model of that name, or None."""
    return next((fmt for pattern, fmt in _FAMILIES if re.search(pattern, name, re.IGNORECASE)), None)
