"""The gate: a small encoder that judges a question with its answer, apart from what was optimised.

It shares neither trunk, prompts nor tokenizer with the head that steers, so that what fools the one need
not fool the other. Knows no policy.
"""

from __future__ import annotations

import copy
import json
import threading
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from langchain_sea.errors import WeightsCorruptError
from langchain_sea.models import loading

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["SAFETY_GATE", "GateInfo", "LoraLinear", "PairClassifierGate", "PairClassifier"]

SAFETY_GATE = Path(__file__).parent / "safety" / "gate.safetensors"
_FORMAT = "langchain-sea pair-classifier gate 1"
_ROWS = 32  # pairs in one forward


@dataclass(frozen=True, slots=True, kw_only=True)
class GateInfo:
    """What a gate was made of, and what is known of it.

    Attributes:
        trunk: the encoder's name for `weights.load`.
        threshold: an answer whose probability is below it is blocked.
        rank: of the deltas.
        scale: their factor.
        longest: tokens of question and answer together; of longer ones the end is not read.
        members: M ≥ 1 judges, made apart; the probability is their mean.
        figures: what was measured, for reports.
    """

    trunk: str
    threshold: float = 0.5
    rank: int = 16
    scale: float = 2.0
    longest: int = 128
    members: int = 1
    figures: dict[str, Any] = field(default_factory=dict)


class LoraLinear(nn.Module):
    """A frozen linear layer with a trainable delta of low rank: y = Wx + b + s · B(Ax) (arXiv 2106.09685)."""

    def __init__(self, linear: nn.Linear, rank: int, scale: float) -> None:
        """At first the delta is zero, so that nothing changes."""
        super().__init__()
        self.linear, self.scale = linear, scale
        where = linear.weight.device
        self.A = nn.Parameter(torch.empty(rank, linear.in_features, device=where))
        self.B = nn.Parameter(torch.zeros(linear.out_features, rank, device=where))
        nn.init.kaiming_uniform_(self.A, a=5**0.5)

    def forward(self, states: Tensor) -> Tensor:
        """(…, in) → (…, out)."""
        found: Tensor = self.linear(states) + self.scale * (states @ self.A.T @ self.B.T)
        return found


class PairClassifier(nn.Module):
    """A copy of an encoder, its states' mean over the pair, and one linear output."""

    def __init__(self, encoder: PreTrainedModel) -> None:
        """Copy the encoder: the one given is shared and stays as it is."""
        super().__init__()
        self.encoder = copy.deepcopy(encoder)
        self.output = nn.Linear(encoder.config.hidden_size, 1)
        self.to(torch.float32)  # a probability near a threshold needs all its digits

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Token ids of pairs, (N, L) each → (N,) log-odds of a good answer."""
        hidden = self.encoder(**inputs).last_hidden_state  # (N, L, D)
        mask = inputs["attention_mask"][..., None]
        logits: Tensor = self.output((hidden * mask).sum(1) / mask.sum(1)).squeeze(-1)
        return logits

    def linears(self) -> dict[str, nn.Linear]:
        """The encoder's linear layers by name, without the pooler, which no mean reads."""
        stack = self._stack()
        return {name: layer for name, layer in stack.named_modules() if isinstance(layer, nn.Linear)}

    def add_deltas(self, rank: int, scale: float) -> None:
        """Make all but the deltas and the output frozen."""
        self.encoder.requires_grad_(False)
        for name, linear in self.linears().items():
            parent, _, child = name.rpartition(".")
            setattr(self._stack().get_submodule(parent), child, LoraLinear(linear, rank, scale))

    def _stack(self) -> nn.Module:
        return self.encoder.get_submodule("encoder")

    def deltas(self) -> dict[str, Tensor]:
        """What training changed."""
        return {name: value.detach() for name, value in self.named_parameters() if value.requires_grad}

    @torch.no_grad()
    def merge(self, deltas: Mapping[str, Tensor], scale: float) -> None:
        """Add deltas to the weights, W + s · BA, and take the output's."""
        for name, linear in self.linears().items():
            a, b = (deltas[f"encoder.encoder.{name}.{part}"].to(linear.weight) for part in "AB")
            linear.weight += scale * (b @ a)
        self.output.weight.copy_(deltas["output.weight"])
        self.output.bias.copy_(deltas["output.bias"])


class EnsembleClassifier(nn.Module):
    """Judges of one trunk as one: the log-odds of their mean probability.

    log Σ_m σ(z_m) − log Σ_m σ(−z_m), with all the digits that a threshold near 0 or 1 needs.
    """

    def __init__(self, judges: Sequence[PairClassifier]) -> None:
        """Hold them; what they share of the encoder is the first one's."""
        super().__init__()
        self.judges = nn.ModuleList(judges)
        self.encoder, self.output = judges[0].encoder, judges[0].output

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """As `PairClassifier`."""
        odds = torch.stack([judge(inputs) for judge in self.judges])  # (M, N)
        good, bad = (logsigmoid(sign * odds).logsumexp(0) for sign in (1, -1))
        return good - bad


class PairClassifierGate:
    """Probabilities that answers are good: harm refused, the harmless helped, in fluent text.

    Attributes:
        info: its trunk, threshold and figures.
    """

    def __init__(self, deltas: Mapping[str, Tensor], info: GateInfo) -> None:
        """Hold the parts; the encoder is loaded at the first call."""
        self.info = info
        self._deltas = dict(deltas)
        self._lock = threading.Lock()
        self._parts: tuple[PairClassifier | EnsembleClassifier, PreTrainedTokenizerBase] | None = None

    @classmethod
    def joined(cls, gates: Sequence[PairClassifierGate]) -> PairClassifierGate:
        """Gates as the members of one, whose threshold is still to be chosen (`fit_gate.settled`).

        Args:
            gates: each of one member, and all of one trunk, scale and length.

        Raises:
            ValueError: they are not.
        """
        kinds = {(g.info.trunk, g.info.scale, g.info.longest, g.info.members) for g in gates}
        if len(kinds) != 1 or gates[0].info.members != 1:
            raise ValueError(
                f"gates of (trunk, scale, longest, members) {sorted(kinds)} cannot be joined: "
                "these must be alike, with one member each."
            )
        info = replace(gates[0].info, members=len(gates), rank=max(g.info.rank for g in gates), figures={})
        parts = enumerate(gate._deltas for gate in gates)  # noqa: SLF001 - of its own class
        return cls({f"{n}:{name}": delta for n, part in parts for name, delta in part.items()}, info)

    def with_info(self, info: GateInfo) -> PairClassifierGate:
        """The same weights with other words about them."""
        return PairClassifierGate(self._deltas, info)

    @property
    def threshold(self) -> float:
        """An answer whose probability is below it is blocked."""
        return self.info.threshold

    def __call__(self, prompt: str, completions: Sequence[str]) -> list[float]:
        """The probability, from 0 to 1, that each completion answers the prompt well; 0 for blank ones.

        Args:
            prompt: the question; of a conversation its newest user message.
            completions: answers to it.
        """
        return self.judge([(prompt, completion) for completion in completions])

    @torch.no_grad()
    def judge(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """The same for pairs of questions and answers."""
        judge, tokenizer = self._ready()
        found = [0.0] * len(pairs)
        rows = [row for row, (_, answer) in enumerate(pairs) if answer.strip()]
        rows.sort(key=lambda row: sum(map(len, pairs[row])))  # like lengths together: less padding
        for chosen in (rows[start : start + _ROWS] for start in range(0, len(rows), _ROWS)):
            with self._lock:
                inputs = tokenize_pairs(tokenizer, [pairs[row] for row in chosen], self.info.longest)
            odds = judge({name: ids.to(judge.output.weight.device) for name, ids in inputs.items()})
            for row, probability in zip(chosen, odds.float().sigmoid().tolist(), strict=True):
                found[row] = probability
        return found

    def save(self, path: str | os.PathLike[str]) -> None:
        """One safetensors file of half-precision deltas, `info` as JSON in its metadata."""
        tensors = {name: delta.half().cpu().contiguous() for name, delta in self._deltas.items()}
        save_file(tensors, path, {"format": _FORMAT, "info": json.dumps(asdict(self.info))})

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None) -> PairClassifierGate:
        """From a file that `save` wrote; None is the gate that ships.

        Raises:
            WeightsCorruptError: the file is no gate, or is damaged.
        """
        path = path or SAFETY_GATE
        try:
            with safe_open(path, framework="pt") as file:
                info = GateInfo(**json.loads((file.metadata() or {})["info"]))
                deltas = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise WeightsCorruptError(
                f"{path} cannot be read as a gate ({error}); make one with `python -m "
                "langchain_sea.training.fit_gate`."
            ) from error
        return cls(deltas, info)

    def __getstate__(self) -> dict[str, Any]:
        return {"info": self.info, "deltas": self._deltas}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["deltas"], state["info"])  # type: ignore[misc]

    def _ready(self) -> tuple[PairClassifier | EnsembleClassifier, PreTrainedTokenizerBase]:
        with self._lock:
            if self._parts is None:
                loaded = loading.load(self.info.trunk, kind="encoder", dtype=torch.float32)
                judges = [
                    PairClassifier(loaded.model).to(loaded.model.device) for _ in range(self.info.members)
                ]
                for n, judge in enumerate(judges):
                    own = f"{n}:" if self.info.members > 1 else ""
                    found = {k[len(own) :]: v for k, v in self._deltas.items() if k.startswith(own)}
                    judge.merge(found, self.info.scale)
                one = judges[0] if len(judges) == 1 else EnsembleClassifier(judges)
                # encoding sets a tokenizer's padding and truncation: not on the shared one
                self._parts = one.eval().requires_grad_(False), copy.deepcopy(loaded.tokenizer)
            return self._parts


def tokenize_pairs(
    tokenizer: PreTrainedTokenizerBase, pairs: Sequence[tuple[str, str]], longest: int
) -> dict[str, Tensor]:
    """(N, L) ids, types and mask; the longer side is cut first, and no text becomes a control token."""
    questions, answers = map(list, zip(*pairs, strict=True))
    return dict(
        tokenizer(
            questions,
            answers,
            truncation="longest_first",
            max_length=longest,
            padding=True,
            return_tensors="pt",
            split_special_tokens=True,
        )
    )


