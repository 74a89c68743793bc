"""What a training run reads, step by step, decided by its seed; knows no model."""

from __future__ import annotations

import collections
import functools
import itertools
import multiprocessing
import random
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING

from tiny_model import data
from tiny_model.sample import Example, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from transformers import PreTrainedTokenizerBase

__all__ = ["batches"]

Steps = list[list[list[Example]]]

BLOCK = 16


def batches(
    tokenizer: PreTrainedTokenizerBase, sizes: dict[str, int], seed: int, step: int, workers: int = 0
) -> Iterator[list[list[Example]]]:
    """Endless steps' batches, one of each kind, from `step` on; `workers` processes write them ahead."""
    first = step // BLOCK
    build = functools.partial(_block, tokenizer, sizes, seed)
    blocks = _ahead(build, first, workers) if workers else map(build, itertools.count(first))
    yield from next(blocks)[step % BLOCK :]
    for steps in blocks:
        yield from steps


def _ahead(build: Callable[[int], Steps], first: int, workers: int) -> Iterator[Steps]:
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        waiting = collections.deque(pool.submit(build, block) for block in range(first, first + 2 * workers))
        for block in itertools.count(first + 2 * workers):
            waiting.append(pool.submit(build, block))
            yield waiting.popleft().result()


def _block(tokenizer: PreTrainedTokenizerBase, sizes: dict[str, int], seed: int, block: int) -> Steps:
    """The batches of `BLOCK` steps, of examples sorted by length."""
    rows = [_sorted_batches(tokenizer, kind, sizes[kind], f"{seed} {block}") for kind in sizes]
    return [list(row) for row in zip(*rows, strict=True)]


def _sorted_batches(tokenizer: PreTrainedTokenizerBase, kind: str, size: int, seed: str) -> list[list[Example]]:
    problems = itertools.islice(data.stream(kind, seed), size * BLOCK)
    encoded = (encode(tokenizer, problem, problem.answer) for problem in problems)
    examples = sorted(encoded, key=lambda example: len(example[0]))
    rows = [examples[start : start + size] for start in range(0, len(examples), size)]
    random.Random(seed).shuffle(rows)  # noqa: S311 - not for secrets
    return rows
