"""What a system prompt holds beside the operator's words: documents that a middleware retrieved into it.

The prompt that an agent was made with is the operator's. What a middleware adds describes the agent's duties too, but
its values are nobody's, and from the first sign of a document on it is text that anybody may have written. Knows no
conversation.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["PromptParts", "split_prompt"]

_DOCUMENTS = re.compile(
    r"^[^\n]{0,120}\b(?:documents?|context|sources?|passages?|excerpts?|snippets?|articles?|search results?|retrieved"
    r"|retrieval|knowledge(?: base)?|references?|pages?|notes|memor(?:y|ies)|files?)\b[^\n]{0,40}:\s*$"
    r"|^\s*(?:\[\d+\]|#+ *(?:document|source|context|passage)s?\b)"
    r"|<\s*/?\s*(?:document|doc|source|context|passage|result|file|page)s?\b"
    r"|^\s*(?:source|title|url|content|page_content|metadata)\s*[:=]",
    re.IGNORECASE | re.MULTILINE,
)


class PromptParts(NamedTuple):
    """A system prompt by who wrote it.

    Attributes:
        operator: what the agent was made with.
        added: what middlewares added, apart from documents.
        documents: what was retrieved.
    """

    operator: str
    added: str
    documents: str


def split_prompt(given: str | None, prompt: str) -> PromptParts:
    """Split the prompt that the model gets.

    Args:
        given: the prompt that the agent was made with; None where that is not known, and all of the prompt is trusted.
        prompt: with what middlewares added.
    """
    if given is None:
        return PromptParts(prompt, "", "")
    kept = given if given.strip() and given in prompt else ""
    added = prompt.replace(kept, "\n", 1) if kept else prompt
    lines = {line.strip() for line in given.splitlines()}
    added = "\n".join(line for line in added.splitlines() if line.strip() not in lines).strip()
    match = _DOCUMENTS.search(added)
    if match is None:
        return PromptParts(given, added, "")
    return PromptParts(given, added[: match.start()].strip(), added[match.start() :].strip())
