"""Whether somebody asked for what a call does: a write after untrusted text was read must be somebody's wish.

A text that a stranger wrote can make an agent act on values that the user named. So once a thread has read such text,
the act itself is compared: `delete_email` needs a trusted text that asks for deleting something. Before that, the
values of a call decide alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_sea.safety.checks import Action, Finding, PerCallCheck
from langchain_sea.safety.tool_effects import find_requested_acts, find_tool_acts

if TYPE_CHECKING:
    from langchain_sea.safety.context import CallContext
    from langchain_sea.safety.tool_call import ToolCall

__all__ = ["RequestCheck"]


class RequestCheck(PerCallCheck):
    """Asks about a write of a kind that no trusted text asks for, once the thread has read untrusted text."""

    name = "request"

    def check(self, call: ToolCall, context: CallContext) -> list[Finding]:
        """Return a finding where nobody asked for this kind of act."""
        if context.effect_of(call.name) == "read" or not context.is_tainted:
            return []
        acts = find_tool_acts(call.name)
        if acts <= {"execute"}:  # no verb that is known, or a tool for anything, whose commands other checks judge
            return []
        requested: set[str] = set()
        for text, is_description in context.request_texts:
            of_text = find_requested_acts(text, with_nouns=is_description)
            if of_text is None:
                return []
            requested |= of_text
        if acts & requested:
            return []
        reason = f"nobody who is trusted asked for anything like {call.name}, and the agent has read untrusted text"
        return [Finding(action=Action.ASK, check=self.name, reason=reason)]
