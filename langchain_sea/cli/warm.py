"""Capture the CUDA graphs of a model before they are needed, and say what they cost: `doctor --warm`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_sea.cli.console import write_line, write_status
from langchain_sea.core.wording import count_of

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["show_warm_up"]

_MB = 1e6


def show_warm_up(name: str, rewards: Sequence[str], *, compile_layers: bool, max_tokens: int, requests: int) -> int:
    """Warm a model up, and print how long each capture took and how much memory it holds.

    What `compile_layers` compiles is kept on disk; graphs are not.

    Args:
        name: of the model.
        rewards: that judge its answers; without any the model's own.
        compile_layers: whether layers are compiled.
        max_tokens: of an answer.
        requests: that are answered together at most.
    """
    from langchain_sea.chat_models import SEAChatModel
    from langchain_sea.models.registry import load_model
    from langchain_sea.serving.warming import warm_up

    policy = load_model(name, compile_layers=compile_layers, report=write_status)
    if not policy.replays_graphs:
        write_line(f"{name} on {policy.device} replays no graphs, so that there is nothing to capture; a GPU does")
        return 0
    model = SEAChatModel(model=policy, rewards=list(rewards) or None, max_tokens=max_tokens)
    done = warm_up(model, requests, report=write_status)
    for capture in done.captures:
        write_line(f"{capture.name:64} {capture.seconds:6.2f} s {capture.num_bytes / _MB:8.0f} MB")
    total_seconds = sum(capture.seconds for capture in done.captures)
    total_bytes = sum(capture.num_bytes for capture in done.captures)
    write_line(f"{count_of(len(done.captures), 'capture'):64} {total_seconds:6.2f} s {total_bytes / _MB:8.0f} MB")
    answers = count_of(done.num_answers, "answer")
    write_line(f"{answers} took {done.seconds[0]:.2f} s cold and {done.seconds[-1]:.2f} s warm")
    return 0
