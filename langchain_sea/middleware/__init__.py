"""The agent middleware that checks every tool call before it runs."""

from __future__ import annotations

from langchain_sea.middleware.guard import ToolCallSafetyMiddleware, with_guard
from langchain_sea.middleware.opening import SafetyState

__all__ = ["SafetyState", "ToolCallSafetyMiddleware", "with_guard"]
