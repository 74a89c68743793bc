"""The shortest end of an answer that a grammar accepts, found by a search over single letters."""

from __future__ import annotations

import heapq
import string
from itertools import count
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    import llguidance

__all__ = ["find_letters", "find_shortest_end"]

_USUAL = '"}],:0a1@.-/PDTZ+_ '  # what closes a value comes first
_LETTERS = dict.fromkeys(_USUAL + string.printable[:95].replace("\\", ""))  # an escape makes nothing shorter
_NARROW, _WIDE = 32, 256  # states of each length
_MAX_STATES = 8000
_MAX_OTHER_TOKENS = 8
_State = tuple[int, int, tuple[int, ...], int, list[int], int, "llguidance.LLMatcher"]
"""Length, the number and the ranks of the chosen letters, a number, the tokens, the last choice before what
was forced last, and the matcher."""


def find_letters(guidance: llguidance.LLTokenizer) -> list[int]:
    """Return the tokens of printable ASCII letters, one each, those that close a value first."""
    tokens = [guidance.tokenize_bytes(letter.encode()) for letter in _LETTERS]
    return [ids[0] for ids, text in zip(tokens, _LETTERS, strict=True) if guidance.decode_bytes(ids) == text.encode()]


def find_shortest_end(matcher: llguidance.LLMatcher, letters: Sequence[int], max_new_tokens: int) -> list[int] | None:
    """Search for the fewest tokens after which an answer may end.

    The search is by breadth, over single letters. Of equally long continuations that allow the same next tokens one is
    kept: `a` and `b` in an address lead to the same ends. What the grammar forces is taken in one step.

    Args:
        matcher: after what is written; it is not changed.
        letters: from `find_letters`. The search is limited to them where the grammar leaves a choice, and tries the
            usual ones first.
        max_new_tokens: the longest continuation.

    Returns:
        The tokens; None if no end was found.
    """
    usual = letters[: len(_USUAL)]
    for tried, width in ((usual, _NARROW), (usual, _WIDE), (letters, _NARROW)):
        if (end := _search(matcher, tried, max_new_tokens, width)) is not None:
            return end
    return None


def _search(matcher: llguidance.LLMatcher, letters: Sequence[int], max_new_tokens: int, width: int) -> list[int] | None:
    order = count()  # so that matchers are never compared
    states: list[_State] = [(0, 0, (), next(order), [], 0, matcher.deep_copy())]
    seen: dict[int, set[tuple[int, int, bytes]]] = {}
    for _ in range(_MAX_STATES):
        if not states:
            return None
        length, num_choices, choices, _, path, last_forced, state = heapq.heappop(states)
        if state.is_accepting():
            return path
        # a mask does not tell how far an answer is; what was forced, its keys and brackets, does
        known, mask = seen.setdefault(length, set()), bytes(state.compute_bitmask())
        key = (num_choices, last_forced, mask)
        if key in known or len(known) == width:
            continue
        known.add(key)
        forced = state.compute_ff_tokens()
        if forced:
            steps = [(choices, forced)]
        else:
            steps = [((*choices, rank), [token]) for rank, token in _allowed(mask, letters)]
        behind = num_choices if forced else last_forced
        for taken, step in steps:
            following = state.deep_copy()
            if length + len(step) <= max_new_tokens and following.consume_tokens(step):
                longer = [*path, *step]
                heapq.heappush(states, (len(longer), len(taken), taken, next(order), longer, behind, following))
    return None


def _allowed(mask: bytes, letters: Sequence[int]) -> list[tuple[int, int]]:
    """Return the letters that may come next with their ranks; a few other tokens where none may."""
    words = torch.frombuffer(bytearray(mask), dtype=torch.int32)
    allowed = [pair for pair in enumerate(letters) if (int(words[pair[1] // 32]) >> (pair[1] % 32)) & 1]
    if allowed:
        return allowed
    positions = torch.arange(32 * len(words))
    bits = (words[positions // 32] >> (positions % 32)) & 1
    return list(enumerate(bits.nonzero().flatten()[:_MAX_OTHER_TOKENS].tolist()))
