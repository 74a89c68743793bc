"""Capture the CUDA graphs of a model before they are needed, and say what they cost: `doctor --warm`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from langchain_sea.cli.console import write_line, write_status

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["warm_up"]

_QUESTIONS = (
    "What should I pack for a weekend in the mountains?",
    "How do rainbows form?",
    "Write a short thank-you note to a neighbour who watered my plants while I was away for two weeks in July.",
)
_MB = 1e6


def warm_up(name: str, rewards: Sequence[str], *, compile_layers: bool, max_tokens: int) -> int:
    """Answer a few questions twice, and print how long each capture took and how much memory it holds.

    Graphs belong to a process, so that another one captures its own. What `compile_layers` compiles is kept on disk.

    Args:
        name: of the model.
        rewards: that judge its answers; without any the model's own.
        compile_layers: whether layers are compiled.
        max_tokens: of an answer.
    """
    from langchain_sea.chat_models import SEAChatModel
    from langchain_sea.models.registry import load_model

    policy = load_model(name, compile_layers=compile_layers, report=write_status)
    if policy.device.type != "cuda":
        write_line(f"{name} is on {policy.device}: only a CUDA GPU replays graphs, so that there is nothing to capture")
        return 0
    model = SEAChatModel(model=policy, rewards=list(rewards) or None, max_tokens=max_tokens)
    seconds = []
    for turn in ("first", "second"):
        write_status(f"answering {len(_QUESTIONS)} questions for the {turn} time …")
        started = time.monotonic()
        for question in _QUESTIONS:
            model.invoke(question)
        seconds.append(time.monotonic() - started)
    for capture in policy.captures:
        write_line(f"{capture.name:64} {capture.seconds:6.2f} s {capture.num_bytes / _MB:8.0f} MB")
    total_seconds = sum(capture.seconds for capture in policy.captures)
    total_bytes = sum(capture.num_bytes for capture in policy.captures)
    write_line(f"{f'{len(policy.captures)} captures':64} {total_seconds:6.2f} s {total_bytes / _MB:8.0f} MB")
    write_line(f"{len(_QUESTIONS)} answers took {seconds[0]:.2f} s cold and {seconds[1]:.2f} s warm")
    return 0
