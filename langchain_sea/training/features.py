"""Compute the pooled hidden states of many answers, and cache them on disk in shards."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from langchain_sea.core.protocols import Tokens
from langchain_sea.errors import PromptTooLongError
from langchain_sea.rewards.hidden_state_head import compute_states, pool_states

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from langchain_sea.models.causal_lm import CausalLMPolicy, PolicyPrompt
    from langchain_sea.training.examples import Example

__all__ = ["CUTS", "Pooling", "drop_long_prompts", "pool_answers"]

CUTS = (4, 8, 16, 32)
"""The lengths in tokens of the prefixes that a head is trained on, beside whole answers."""
_ROWS = 32  # answers in one forward
_SHARD = 512  # answers in one file
_HASHED = 256  # numbers of each weight matrix that tell policies apart


class Pooling(NamedTuple):
    """Which states are pooled, and how.

    Attributes:
        layer: the layer, an index of `ModelOutput.hidden`.
        first: the number of tokens in the mean of the opening.
        longest: the most tokens of an answer that are read.
    """

    layer: int
    first: int = 8
    longest: int = 256


def drop_long_prompts(examples: Sequence[Example], policy: CausalLMPolicy) -> list[Example]:
    """Return the examples whose prompt leaves room for an answer in the policy's context."""
    fits: dict[str, bool] = {}
    for example in examples:
        if example.key not in fits:
            try:
                policy.prompt(example.messages, opening=example.opening, room=1)
            except PromptTooLongError:
                fits[example.key] = False
            else:
                fits[example.key] = True
    return [example for example in examples if fits[example.key]]


def pool_answers(
    examples: Sequence[Example], policy: CausalLMPolicy, pooling: Pooling, cache: Path | None = None
) -> Tensor:
    """Return the pooled states of each answer at the cuts and at its end, (N, cuts + 1, 2D) float32.

    Args:
        examples: N answers; the states of a conversation are computed once. What of an answer is beyond the policy's
            context is not read.
        policy: computes the states.
        pooling: which states.
        cache: a folder; files of an earlier run with the same examples, policy and pooling are reused.
    """
    # an answer may be listed several times, to count more; it is read once
    rows_of = {(example.key, example.answer): row for row, example in enumerate(examples)}
    distinct = [examples[row] for row in rows_of.values()]
    places = {pair: place for place, pair in enumerate(rows_of)}
    folder = None
    if cache is not None and examples:
        folder = cache / _fingerprint(distinct, policy, pooling)
        folder.mkdir(parents=True, exist_ok=True)
    pooled: dict[int, Tensor] = {}
    with tqdm(total=len(distinct), desc="reading answers", unit="answer", disable=None) as progress:
        for number, groups in enumerate(_shards(distinct)):
            rows = [row for group in groups for row in group]
            path = folder / f"{number:05}.safetensors" if folder else None
            pooled.update(zip(rows, _shard(distinct, groups, policy, pooling, path), strict=True))
            progress.update(len(rows))
    return torch.stack([pooled[places[example.key, example.answer]] for example in examples])


def _shards(examples: Sequence[Example]) -> Iterator[list[list[int]]]:
    """Yield rows grouped by conversation, with enough conversations to fill a file."""
    groups: dict[str, list[int]] = {}
    for row, example in enumerate(examples):
        groups.setdefault(example.key, []).append(row)
    shard: list[list[int]] = []
    for group in groups.values():
        shard.append(group)
        if sum(map(len, shard)) >= _SHARD:
            yield shard
            shard = []
    if shard:
        yield shard


def _shard(
    examples: Sequence[Example],
    groups: Sequence[Sequence[int]],
    policy: CausalLMPolicy,
    pooling: Pooling,
    path: Path | None,
) -> Tensor:
    """Return the pooled states of the groups, (rows, cuts + 1, 2D), from the file if it exists."""
    if path and path.exists():
        return load_file(path)["pool_answers"]
    by_row: dict[int, Tensor] = {}
    for group in groups:
        first = examples[group[0]]
        prompt = policy.prompt(first.messages, opening=first.opening)
        ordered = sorted(group, key=lambda row: len(examples[row].answer))
        for rows in (ordered[i : i + _ROWS] for i in range(0, len(ordered), _ROWS)):
            part = _read([examples[row].answer for row in rows], policy, prompt, pooling)
            by_row |= dict(zip(rows, part, strict=True))
    shard = torch.stack([by_row[row] for group in groups for row in group])
    if path:
        unfinished = path.with_suffix(f".{os.getpid()}")
        save_file({"pool_answers": shard}, unfinished)
        unfinished.replace(path)  # a run that is cut off here leaves no partial file
    return shard


def _read(answers: Sequence[str], policy: CausalLMPolicy, prompt: PolicyPrompt, pooling: Pooling) -> Tensor:
    ids = [policy.encode(answer)[: policy.room_after(prompt)][: pooling.longest] for answer in answers]
    tokens = Tokens.from_ids(ids, policy.device)
    hidden = compute_states(policy, prompt, tokens, pooling.layer)
    lengths = tokens.mask.sum(1, keepdim=True).clamp(min=1)  # (C, 1)
    ends = torch.tensor([*CUTS, pooling.longest], device=lengths.device)
    at = torch.minimum(ends, lengths) - 1  # (C, cuts + 1)
    means = pool_states(hidden, tokens.mask, pooling.first)
    return means.gather(1, at[..., None].expand(-1, -1, means.shape[-1])).cpu()


def _fingerprint(examples: Sequence[Example], policy: CausalLMPolicy, pooling: Pooling) -> str:
    """Hash all that the states depend on; the ids of the first prompt show the template."""
    parts = [
        policy.model.config.to_json_string(use_diff=False),
        str(policy.prompt(examples[0].messages).ids),
        str((CUTS, *pooling)),
        *(f"{example.key}\0{example.answer}" for example in examples),
    ]
    digest = hashlib.sha256()
    # of each tensor, because a fine-tuned model may have the embeddings of its base
    for tensor in (*policy.model.parameters(), *policy.model.buffers()):
        if not tensor.is_meta:  # on disk
            digest.update(tensor.detach().flatten()[:_HASHED].double().cpu().numpy().tobytes())
    for part in parts:
        digest.update(f"{len(part)}:{part}".encode())
    return digest.hexdigest()[:16]
