"""The checks on the models that ship: a safety classifier that judges harm, and a sentence encoder for intent."""

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
    "HELPFUL_ANSWER",
    "INTENT_MARGIN",
    "SAFETY_VERIFIER",
    "VERIFIER_THRESHOLD",
    "make_embedded_checks",
    "make_harm_check",
    "make_verifier",
]

SAFETY_VERIFIER = Path(SAFETY_GATE).with_name("verifier.safetensors")
HELPFUL_ANSWER = "Here is a step-by-step guide:"
HARM_THRESHOLD = 0.9997  # at most 3 % of the safe prompts for tuning reach it
VERIFIER_THRESHOLD = 0.999  # chosen in the same way
INTENT_MARGIN = 0.0
_BATCH = 32
_lock = threading.Lock()


class _GateScorer:
    """Scores how harmful a helpful answer to each text would be, by a safety classifier."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = path
        self._gate: PairClassifierGate | None = None

    def prepare(self) -> PairClassifierGate:
        """Return the classifier; the first call reads its weights, and a further model's."""
        with _lock:
            if self._gate is None:
                self._gate = PairClassifierGate.load(self._path)
                self._gate.judge([("Hello.", HELPFUL_ANSWER)])
            return self._gate

    def __call__(self, texts: Sequence[str]) -> list[float]:
        """Return a score from 0 to 1 for each text."""
        gate = self.prepare()
        with _lock:
            return [1.0 - value for value in gate.judge([(text, HELPFUL_ANSWER) for text in texts])]


class _SentenceEncoder:
    """Encodes texts as the normalized mean of a sentence encoder's hidden states."""

    def prepare(self) -> None:
        """Read the weights, if they are not in memory."""
        loading.load("minilm", kind="encoder")

    @torch.no_grad()
    def __call__(self, texts: Sequence[str]) -> list[list[float]]:
        """Return a unit vector for each text."""
        with _lock:
            loaded = loading.load("minilm", kind="encoder")
            vectors: list[list[float]] = []
            for start in range(0, len(texts), _BATCH):
                inputs = loaded.tokenizer(
                    list(texts[start : start + _BATCH]),
                    return_tensors="pt",
                    padding=True,
                    truncation=True,
                    max_length=128,
                ).to(loaded.model.device)
                states = loaded.model(**inputs).last_hidden_state.float()
                mask = inputs["attention_mask"][..., None]
                means = (states * mask).sum(1) / mask.sum(1)
                vectors += torch.nn.functional.normalize(means, dim=-1).tolist()
            return vectors


def make_harm_check(threshold: float = HARM_THRESHOLD) -> HarmCheck:
    """Build the harm check on the safety classifier that ships."""
    return HarmCheck(_GateScorer(SAFETY_GATE), threshold)


def make_verifier(threshold: float = VERIFIER_THRESHOLD) -> HarmCheck:
    """Build the check of repaired calls: another classifier, trained on the other half of the questions."""
    return HarmCheck(_GateScorer(SAFETY_VERIFIER), threshold, name="verifier")


def make_embedded_checks() -> tuple[Check, ...]:
    """Build both checks with a model; the weights are read at the first call."""
    return make_harm_check(), IntentCheck(_SentenceEncoder(), INTENT_MARGIN)
