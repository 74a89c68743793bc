"""The sizes of batches of fixed shape. What is smaller is padded, so that few shapes serve all requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "BatchShape",
    "plan_batches",
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
_FEW_TOKENS = 256  # of a batch, whose padding costs less than a further pass
_MAX_PADDING = 3  # another batch may have so many times as many tokens as what it holds
_MAX_PROMPT_PADDING = 2  # and so many times as many positions of prompts
_FEW_PROMPT_POSITIONS = 2**16  # which attention copies into the rows; their padding costs less, too


class BatchShape(NamedTuple):
    """The sizes of a batch."""

    prompts: int
    rows: int  # of each prompt
    tokens: int  # of each row
    prompt_tokens: int  # of the longest prompt, or 0

    @property
    def num_tokens(self) -> int:
        """Of all rows."""
        return self.prompts * self.rows * self.tokens

    @property
    def num_prompt_positions(self) -> int:
        """That the rows would hold if each had a copy of its prompt."""
        return self.prompts * self.rows * self.prompt_tokens


def plan_batches(sizes: Sequence[BatchShape], max_tokens: int | None = None) -> list[tuple[list[int], BatchShape]]:
    """Divide sequences into batches without much padding: where there is too much, those that are alike go together.

    Args:
        sizes: of each sequence, as a batch of one.
        max_tokens: of a batch of several sequences, padding included; None for any number.

    Returns:
        The numbers of the sequences of each batch, and its shape.
    """
    batches, waiting = [], [list(range(len(sizes)))] if sizes else []
    while waiting:
        numbers = waiting.pop()
        own = [sizes[i] for i in numbers]
        shape = _shape_of_all(own)
        is_large = max_tokens is not None and shape.num_tokens > max_tokens
        is_ragged = shape.num_tokens > max(_FEW_TOKENS, _MAX_PADDING * sum(size.num_tokens for size in own))
        if len(own) == 1 or not (is_large or is_ragged or _pads_prompts(own, shape)):
            batches.append((numbers, shape))
            continue
        by_tokens = is_large or is_ragged
        numbers.sort(key=lambda i: sizes[i].num_tokens if by_tokens else sizes[i].prompt_tokens)
        middle = len(numbers) // 2
        waiting += [numbers[:middle], numbers[middle:]]
    return batches


def _pads_prompts(sizes: Sequence[BatchShape], shape: BatchShape) -> bool:
    """Whether the prompts of a batch are long and many, and mostly padding."""
    lengths = [size.prompt_tokens for size in sizes]
    padded = len(lengths) * max(lengths)
    return shape.num_prompt_positions > _FEW_PROMPT_POSITIONS and padded > _MAX_PROMPT_PADDING * sum(lengths)


def _shape_of_all(sizes: Sequence[BatchShape]) -> BatchShape:
    """Return the shape of a batch of all."""
    return BatchShape(
        round_up_power(len(sizes)),
        round_up_rows(max(size.rows for size in sizes)),
        round_up_tokens(max(size.tokens for size in sizes)),
        round_up_prompt(max(size.prompt_tokens for size in sizes)),
    )


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
