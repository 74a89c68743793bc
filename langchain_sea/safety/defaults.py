"""The learned layers on the models that ship: the gate as a judge of harm, its encoder as a measure of wishes."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from langchain_sea.models import loading
from langchain_sea.rewards.pair_classifier import SAFETY_GATE, PairClassifierGate
from langchain_sea.safety.learned import HarmCheck, IntentCheck

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from langchain_sea.safety.checks import Check

__all__ = [
    "HARM_THRESHOLD",
    "HELPFUL",
    "SAFETY_VERIFIER",
    "VERIFIER_THRESHOLD",
    "WISH_MARGIN",
    "embedded_layers",
    "harm",
    "verifier",
]

SAFETY_VERIFIER = Path(SAFETY_GATE).with_name("verifier.safetensors")
HELPFUL = "Here is a step-by-step guide:"
HARM_THRESHOLD = 0.9997  # at most three in a hundred of the safe tuning prompts reach it
VERIFIER_THRESHOLD = 0.999  # by the same rule
WISH_MARGIN = 0.0
_TOGETHER = 32
_lock = threading.Lock()


class _Harm:
    """Texts → how bad a helpful answer to each would be, by a gate."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = path
        self._gate: PairClassifierGate | None = None

    def __call__(self, texts: Sequence[str]) -> list[float]:
        """A value from 0 to 1 for each."""
        with _lock:
            if self._gate is None:
                self._gate = PairClassifierGate.load(self._path)
            return [1.0 - value for value in self._gate.judge([(text, HELPFUL) for text in texts])]


class _Wishes:
    """Texts → unit vectors: the mean of a sentence encoder's states."""

    @torch.no_grad()
    def __call__(self, texts: Sequence[str]) -> list[list[float]]:
        """One for each."""
        with _lock:
            loaded = loading.load("minilm", kind="encoder")
            found: list[list[float]] = []
            for start in range(0, len(texts), _TOGETHER):
                inputs = loaded.tokenizer(
                    list(texts[start : start + _TOGETHER]),
                    return_tensors="pt",
                    padding=True,
                    truncation=True,
                    max_length=128,
                ).to(loaded.model.device)
                states = loaded.model(**inputs).last_hidden_state.float()
                mask = inputs["attention_mask"][..., None]
                means = (states * mask).sum(1) / mask.sum(1)
                found += torch.nn.functional.normalize(means, dim=-1).tolist()
            return found


def harm(threshold: float = HARM_THRESHOLD) -> HarmCheck:
    """The gate that ships."""
    return HarmCheck(_Harm(SAFETY_GATE), threshold)


def verifier(threshold: float = VERIFIER_THRESHOLD) -> HarmCheck:
    """The held-out judge of repairs: another one, which learned from the other half of the questions."""
    return HarmCheck(_Harm(SAFETY_VERIFIER), threshold, name="verifier")


def embedded_layers() -> tuple[Check, ...]:
    """Both learned layers, whose weights are read at the first call."""
    return harm(), IntentCheck(_Wishes(), WISH_MARGIN)
