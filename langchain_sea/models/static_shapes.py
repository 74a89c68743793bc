"""The sizes of batches of fixed shape. What is smaller is padded, so that few shapes serve all requests."""

from __future__ import annotations

from typing import NamedTuple

__all__ = [
    "BatchShape",
    "round_up_capacity",
    "round_up_keys",
    "round_up_power",
    "round_up_prompt",
    "round_up_rows",
    "round_up_tokens",
]

_ROWS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)  # or a power of two
_TOKENS = ((8, 1), (64, 4), (128, 16), (256, 32))  # up to so many, a multiple of; or a multiple of 64
_PROMPT = ((512, 64), (1024, 128))  # or a multiple of 256
_KEY_MULTIPLE = 8  # attention kernels read keys in groups of so many
_SMALLEST_CAPACITY = 64


class BatchShape(NamedTuple):
    """The sizes of a batch."""

    prompts: int
    rows: int  # of each prompt
    tokens: int  # of each row
    prompt_tokens: int  # of the longest prompt, or 0


def round_up_rows(count: int) -> int:
    """Return the size that holds so many rows of a prompt."""
    return next((size for size in _ROWS if size >= count), round_up_power(count))


def round_up_power(count: int) -> int:
    """Return the power of two that holds so many prompts, rows of all prompts, or positions of all rows."""
    return 1 << (count - 1).bit_length()


def round_up_tokens(count: int) -> int:
    """Return the size that holds so many tokens of a row: one for the token before them, and a round number."""
    return count if count <= 1 else 1 + _round_up(count - 1, _TOKENS, 64)


def round_up_keys(count: int) -> int:
    """Return the number of keys that a row gets; those beyond its tokens are seen by nobody."""
    return count if count == 1 else -(-count // _KEY_MULTIPLE) * _KEY_MULTIPLE


def round_up_capacity(count: int) -> int:
    """Return the size that holds so many positions of a row while it grows."""
    power = max(_SMALLEST_CAPACITY, round_up_power(count))
    between = 3 * power // 4
    return between if _SMALLEST_CAPACITY < count <= between else power


def round_up_prompt(count: int) -> int:
    """Return the size that holds so many tokens of a prompt; 0 stays 0."""
    return _round_up(count, _PROMPT, 256)


def _round_up(count: int, steps: tuple[tuple[int, int], ...], largest_step: int) -> int:
    step = next((step for limit, step in steps if count <= limit), largest_step)
    return -(-count // step) * step
