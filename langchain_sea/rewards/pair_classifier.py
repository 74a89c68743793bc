"""The gate: a small encoder that classifies a question with its answer.

It shares neither encoder, training questions nor tokenizer with the head that guides the search, so that a text that
fools one of them need not fool the other. The low-rank layers are our own, and not those of peft, because the gate is
the default of `gate="safety"` and must work, with the same verdicts, without an extra.
"""

from __future__ import annotations

import copy
import json
import threading
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from langchain_sea.errors import WeightsCorruptError
from langchain_sea.models import loading
from langchain_sea.models.loading.quantization import to_8_bits
from langchain_sea.rewards.hidden_state_head import load_tensors

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["SAFETY_GATE", "GateInfo", "LoraLinear", "PairClassifier", "PairClassifierGate"]

SAFETY_GATE = Path(__file__).parent / "safety" / "gate.safetensors"
_FORMAT = "langchain-sea pair-classifier gate 1"
_LOW_RANK, _SCALE = (".A", ".B"), ".scale"
_BATCH_SIZE = 32  # pairs in one forward


@dataclass(frozen=True, slots=True, kw_only=True)
class GateInfo:
    """What a gate consists of, and its measured figures.

    Attributes:
        encoder: the encoder's name, for `loading.load`.
        threshold: an answer whose probability is below it is blocked.
        rank: of the low-rank updates.
        scale: their factor.
        longest: the most tokens of question and answer together; the end of longer texts is cut off.
        members: M ≥ 1, the number of classifiers; the probability is their mean.
        figures: what was measured, for reports.
    """

    encoder: str
    threshold: float = 0.5
    rank: int = 16
    scale: float = 2.0
    longest: int = 128
    members: int = 1
    figures: dict[str, Any] = field(default_factory=dict)


class LoraLinear(nn.Module):
    """A frozen linear layer with a trainable low-rank update: y = Wx + b + s · B(Ax) (arXiv 2106.09685)."""

    def __init__(self, linear: nn.Linear, rank: int, scale: float) -> None:
        """Start with an update of zero."""
        super().__init__()
        self.linear, self.scale = linear, scale
        device = linear.weight.device
        self.A = nn.Parameter(torch.empty(rank, linear.in_features, device=device))
        self.B = nn.Parameter(torch.zeros(linear.out_features, rank, device=device))
        nn.init.kaiming_uniform_(self.A, a=5**0.5)

    def forward(self, states: Tensor) -> Tensor:
        """Return (…, out) for (…, in)."""
        update = self.scale * (states @ self.A.T @ self.B.T)
        output: Tensor = self.linear(states) + update
        return output


class PairClassifier(nn.Module):
    """An encoder, the mean of its states over the pair, and one linear output."""

    def __init__(self, encoder: PreTrainedModel) -> None:
        """Copy the encoder, which is shared by the process and must not be changed."""
        super().__init__()
        self.encoder = copy.deepcopy(encoder)
        self.output = nn.Linear(encoder.config.hidden_size, 1)
        self.to(torch.float32)  # a probability near a threshold needs all its digits

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the log-odds of a good answer, (N,), of the token ids, types and mask of pairs, (N, L) each."""
        hidden = self.encoder(**inputs).last_hidden_state  # (N, L, D)
        mask = inputs["attention_mask"][..., None]
        logits: Tensor = self.output((hidden * mask).sum(1) / mask.sum(1)).squeeze(-1)
        return logits

    def linear_layers(self) -> dict[str, nn.Linear]:
        """Return the encoder's linear layers by name, without the pooler, which is not used."""
        layers = self.encoder.get_submodule("encoder")
        return {name: layer for name, layer in layers.named_modules() if isinstance(layer, nn.Linear)}

    def add_lora_layers(self, rank: int, scale: float) -> None:
        """Add low-rank updates to the linear layers; they and the output are then all that is trained."""
        self.encoder.requires_grad_(False)
        for name, linear in self.linear_layers().items():
            parent, _, child = f"encoder.{name}".rpartition(".")
            setattr(self.encoder.get_submodule(parent), child, LoraLinear(linear, rank, scale))

    def trained_tensors(self) -> dict[str, Tensor]:
        """Return the parameters that are trained, by name."""
        return {name: value.detach() for name, value in self.named_parameters() if value.requires_grad}

    @torch.no_grad()
    def merge_lora(self, tensors: Mapping[str, Tensor], scale: float) -> None:
        """Add the low-rank updates to the weights, W + s · BA, and copy the weights of the output."""
        for name, linear in self.linear_layers().items():
            a, b = (tensors[f"encoder.encoder.{name}.{part}"].to(linear.weight) for part in "AB")
            linear.weight += scale * (b @ a)
        self.output.weight.copy_(tensors["output.weight"])
        self.output.bias.copy_(tensors["output.bias"])


class EnsembleClassifier(nn.Module):
    """Classifiers on one encoder as one: the log-odds of their mean probability.

    log Σ_m σ(z_m) − log Σ_m σ(−z_m), which keeps the digits that a threshold near 0 or 1 needs.
    """

    def __init__(self, members: Sequence[PairClassifier]) -> None:
        """Use the encoder's configuration and the device of the first member."""
        super().__init__()
        self.members = nn.ModuleList(members)
        self.encoder, self.output = members[0].encoder, members[0].output

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the log-odds of a good answer, (N,), of the token ids, types and mask of pairs, (N, L) each."""
        odds = torch.stack([member(inputs) for member in self.members])  # (M, N)
        good, bad = (logsigmoid(sign * odds).logsumexp(0) for sign in (1, -1))
        return good - bad


class PairClassifierGate:
    """A gate that returns the probability that an answer is good: it refuses harm, helps otherwise, and is fluent.

    Attributes:
        info: its encoder, threshold and figures.
        tensors: the low-rank updates and the output of each member, by name.
    """

    def __init__(self, tensors: Mapping[str, Tensor], info: GateInfo) -> None:
        """Load nothing yet; the encoder is loaded at the first call."""
        self.info, self.tensors = info, dict(tensors)
        self._lock = threading.Lock()
        self._loaded: tuple[PairClassifier | EnsembleClassifier, PreTrainedTokenizerBase] | None = None

    @classmethod
    def from_members(cls, gates: Sequence[PairClassifierGate]) -> PairClassifierGate:
        """Combine gates into one; its threshold must then be chosen by `fit_gate.choose_threshold`.

        Args:
            gates: each of one member, and all of the same encoder, scale and length.

        Raises:
            ValueError: they are not.
        """
        kinds = {(g.info.encoder, g.info.scale, g.info.longest, g.info.members) for g in gates}
        if len(kinds) != 1 or gates[0].info.members != 1:
            raise ValueError(
                f"gates of (encoder, scale, longest, members) {sorted(kinds)} cannot be combined: "
                "these must be equal, with one member each."
            )
        info = replace(gates[0].info, members=len(gates), rank=max(g.info.rank for g in gates), figures={})
        tensors = {f"{n}:{name}": tensor for n, g in enumerate(gates) for name, tensor in g.tensors.items()}
        return cls(tensors, info)

    def with_info(self, info: GateInfo) -> PairClassifierGate:
        """Return a gate of the same weights with another threshold or figures."""
        return PairClassifierGate(self.tensors, info)

    @property
    def threshold(self) -> float:
        """An answer whose probability is below it is blocked."""
        return self.info.threshold

    def __call__(self, prompt: str, completions: Sequence[str]) -> list[float]:
        """Return the probability that each completion is a good answer to the prompt; 0 for blank ones.

        Args:
            prompt: the question; of a conversation its newest user message.
            completions: answers to it.
        """
        return self.judge([(prompt, completion) for completion in completions])

    @torch.no_grad()
    def judge(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Return the probability of each pair of a question and an answer; 0 for a blank answer."""
        classifier, tokenizer = self._load()
        probabilities = [0.0] * len(pairs)
        rows = [row for row, (_, answer) in enumerate(pairs) if answer.strip()]
        rows.sort(key=lambda row: sum(map(len, pairs[row])))  # similar lengths in one batch need less padding
        for batch in (rows[start : start + _BATCH_SIZE] for start in range(0, len(rows), _BATCH_SIZE)):
            with self._lock:
                inputs = tokenize_pairs(tokenizer, [pairs[row] for row in batch], self.info.longest)
            odds = classifier({name: ids.to(classifier.output.weight.device) for name, ids in inputs.items()})
            for row, probability in zip(batch, odds.float().sigmoid().tolist(), strict=True):
                probabilities[row] = probability
        return probabilities

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one safetensors file, matrices in 8 bits, with `info` as JSON in its metadata."""
        save_file(_to_8_bits(self.tensors), path, {"format": _FORMAT, "info": json.dumps(asdict(self.info))})

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None) -> PairClassifierGate:
        """Read a file that `save` wrote; None means the gate that ships.

        Raises:
            WeightsNotFoundError: there is no such file.
            WeightsCorruptError: the file is not a gate, or is damaged.
        """
        path = path or SAFETY_GATE
        try:
            info, tensors = load_tensors(path)
            return cls(_from_8_bits(tensors), GateInfo(**info))
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise WeightsCorruptError(
                f"{path} cannot be read as a gate ({error}); make one with `python -m langchain_sea.training.fit_gate`."
            ) from error

    def __reduce__(self) -> tuple[type[PairClassifierGate], tuple[dict[str, Tensor], GateInfo]]:
        return type(self), (self.tensors, self.info)

    def _load(self) -> tuple[PairClassifier | EnsembleClassifier, PreTrainedTokenizerBase]:
        with self._lock:
            if self._loaded is None:
                base = loading.load(self.info.encoder, kind="encoder", dtype=torch.float32)
                members = [PairClassifier(base.model).to(base.model.device) for _ in range(self.info.members)]
                for n, member in enumerate(members):
                    prefix = f"{n}:" if self.info.members > 1 else ""
                    tensors = {k[len(prefix) :]: v for k, v in self.tensors.items() if k.startswith(prefix)}
                    member.merge_lora(tensors, self.info.scale)
                classifier = members[0] if len(members) == 1 else EnsembleClassifier(members)
                # a copy, because encoding sets the padding and truncation of a tokenizer
                self._loaded = classifier.eval().requires_grad_(False), copy.deepcopy(base.tokenizer)
            return self._loaded


def _to_8_bits(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return matrices as int8 and one scale for each low-rank component; everything else in half precision."""
    stored = {name: tensor.half() for name, tensor in tensors.items() if not name.endswith(_LOW_RANK)}
    for name in tensors.keys() - stored.keys():
        is_transposed = name.endswith(".B")  # A is (r, I), B is (O, r)
        matrix = tensors[name].float()
        codes, scale = to_8_bits(matrix.T if is_transposed else matrix)
        stored[name], stored[name + _SCALE] = (codes.T, scale.T) if is_transposed else (codes, scale)
    return {name: tensor.cpu().contiguous() for name, tensor in sorted(stored.items())}


def _from_8_bits(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what `_to_8_bits` was given, rounded; tensors without a scale are left as they are."""
    return {
        name: tensor * stored[name + _SCALE] if name + _SCALE in stored else tensor
        for name, tensor in stored.items()
        if not name.endswith(_SCALE)
    }


def tokenize_pairs(
    tokenizer: PreTrainedTokenizerBase, pairs: Sequence[tuple[str, str]], longest: int
) -> dict[str, Tensor]:
    """Return ids, types and mask, (N, L). The longer text of a pair is cut first; no text becomes a control token."""
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
