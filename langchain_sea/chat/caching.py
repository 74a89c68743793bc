"""What LangChain's cache keeps of a model's answers: those that another call would give again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.caches import BaseCache
from langchain_core.globals import get_llm_cache
from langchain_core.outputs import ChatGeneration

from langchain_sea.budget import ENDED_FROM_OUTSIDE, StopReason

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.outputs import Generation

__all__ = ["CompleteAnswersCache", "find_cache", "is_complete"]


class CompleteAnswersCache(BaseCache):
    """Another cache, in which no answer is stored that something outside the search spoiled.

    Attributes:
        inner: the cache.
    """

    def __init__(self, inner: BaseCache) -> None:
        self.inner = inner

    def lookup(self, prompt: str, llm_string: str) -> Sequence[Generation] | None:
        """Return what the inner cache holds."""
        return self.inner.lookup(prompt, llm_string)

    async def alookup(self, prompt: str, llm_string: str) -> Sequence[Generation] | None:
        """Return what the inner cache holds."""
        return await self.inner.alookup(prompt, llm_string)

    def update(self, prompt: str, llm_string: str, return_val: Sequence[Generation]) -> None:
        """Store the answers of a call, if all of them are complete."""
        if all(map(_is_kept, return_val)):
            self.inner.update(prompt, llm_string, return_val)

    async def aupdate(self, prompt: str, llm_string: str, return_val: Sequence[Generation]) -> None:
        """Store the answers of a call, if all of them are complete."""
        if all(map(_is_kept, return_val)):
            await self.inner.aupdate(prompt, llm_string, return_val)

    def clear(self, **kwargs: Any) -> None:
        """Clear the inner cache."""
        self.inner.clear(**kwargs)


def find_cache(cache: BaseCache | bool | None) -> BaseCache | bool | None:  # noqa: FBT001 - LangChain's field
    """Return the value of a model's field `cache` with which incomplete answers are not stored.

    Args:
        cache: the field: a cache, whether LangChain's global one is used, or None for that one if there is one.
    """
    inner = cache if isinstance(cache, BaseCache) else get_llm_cache()
    return cache if cache is False or inner is None else CompleteAnswersCache(inner)


def is_complete(sea: Mapping[str, Any]) -> bool:
    """Return whether nothing outside the search spoiled an answer: nothing failed, and it was not ended early.

    Args:
        sea: of the answer, as in `response_metadata["sea"]`.
    """
    has_failed = sea["failure"] or sea["draft_model_error"] or "error" in (sea["gate"] or {})
    return not has_failed and sea["stop_reason"] not in {*ENDED_FROM_OUTSIDE, StopReason.OUT_OF_MEMORY}


def _is_kept(generation: Generation) -> bool:
    sea = generation.message.response_metadata.get("sea") if isinstance(generation, ChatGeneration) else None
    return sea is None or is_complete(sea)
