"""The agent middleware that checks every tool call before it runs."""

from __future__ import annotations

from langchain_sea.middleware.guard import ToolCallSafetyMiddleware
from langchain_sea.middleware.opening import SafetyState
from langchain_sea.middleware.order import with_guard

__all__ = ["SafetyState", "ToolCallSafetyMiddleware", "with_guard"]
