"""What a second worker gives where the reward waits, and what Ray costs over a plain loop."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from langchain_sea import Budget, SEAChatModel
from langchain_sea.presets import PRESETS

if TYPE_CHECKING:
    from pathlib import Path

WAIT = 0.05  # seconds a call of the judge
_WINDOW = replace(
    PRESETS["default"].search_config,
    drafts=replace(PRESETS["default"].search_config.drafts, num_drafts=2, num_kept=1),
    chains=replace(PRESETS["default"].search_config.chains, num_chains=1),
)
_LIGHT = replace(PRESETS["default"], name="light", search_config=_WINDOW)
_TURNS = 3


def remote_judge(prompt: str, completions: list[str]) -> list[float]:
    """Shorter is better; it takes its time, as a judge on another machine does."""
    del prompt
    time.sleep(WAIT)
    return [-float(len(text)) for text in completions]


def _ray(cpus: int) -> Any:
    import ray
    import ray.data

    ray.init(num_cpus=cpus, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    return ray


def _arrivals(ray: Any, model: SEAChatModel, prompts: list[str], size: int) -> list[float]:
    """When each block's answers came; nothing is fetched ahead, which would hold the first ones back."""
    from langchain_sea.serving.ray_data import refine_dataset

    dataset = ray.data.from_items([{"prompt": p} for p in prompts], override_num_blocks=len(prompts) // size)
    found, rows = [], 0
    answers = refine_dataset(dataset, model, workers=1, batch_size=size)
    for table in answers.iter_batches(batch_size=size, prefetch_batches=0, batch_format="pyarrow"):
        assert table["error"].null_count == len(table)
        found.append(time.monotonic())
        rows += len(table)
    assert rows == len(prompts)
    return found


def _seconds(ray: Any, model: SEAChatModel, prompts: list[str], workers: int, size: int) -> float:
    from langchain_sea.serving.ray_data import refine_dataset

    dataset = ray.data.from_items([{"prompt": p} for p in prompts], override_num_blocks=max(1, len(prompts) // size))
    began = time.monotonic()
    rows = refine_dataset(dataset, model, workers=workers, batch_size=size).take_all()
    assert len(rows) == len(prompts)
    assert not [row["error"] for row in rows if row["error"]]
    return time.monotonic() - began


def two_workers(_folder: Path) -> dict[str, Any]:
    """Rows per second, two ÷ one, of what rows beyond the first few cost: starting is not counted."""
    model = SEAChatModel(
        model="tiny", rewards=[remote_judge], preset=_LIGHT, budget=Budget(max_steps=0, max_time=None), max_tokens=6
    )
    few, many = ([f"What is {n} + 11?" for n in range(10, 10 + count)] for count in (16, 176))
    ray = _ray(2)
    try:
        paces = {}
        for workers in (1, 2):
            spans = [
                _seconds(ray, model, many, workers, 4) - _seconds(ray, model, few, workers, 4) for _ in range(_TURNS)
            ]
            paces[workers] = (len(many) - len(few)) / sorted(spans)[_TURNS // 2]
    finally:
        ray.shutdown()
    return {"value": round(paces[2] / paces[1], 3), "rows_per_second": {str(k): round(v, 2) for k, v in paces.items()}}


def ray_overhead() -> dict[str, Any]:
    """Seconds from the first block's answers to the last one's, over the same in a plain loop of batches, less one."""
    model = SEAChatModel(budget=Budget(max_steps=1, max_time=None), max_tokens=24)
    prompts = [f"Name {n} things that people take to a picnic." for n in range(3, 15)]
    size = 4
    torch.set_num_threads(2)
    ray = _ray(2)
    try:
        spans, plains = [], []
        model.batch(prompts[:size])
        for _ in range(_TURNS):
            began = time.monotonic()
            for at in range(size, len(prompts), size):
                model.batch(prompts[at : at + size])
            plains.append(time.monotonic() - began)
            came = _arrivals(ray, model, prompts, size)
            spans.append(came[-1] - came[0])
    finally:
        ray.shutdown()
    span, plain = sorted(spans)[_TURNS // 2], sorted(plains)[_TURNS // 2]
    return {
        "value": round(span / plain - 1, 4),
        "ray_seconds": [round(s, 2) for s in spans],
        "plain_seconds": [round(s, 2) for s in plains],
    }
