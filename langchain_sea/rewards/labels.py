"""A classifier's logits to one number: which labels count, and how. Knows no model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import PretrainedConfig

__all__ = ["LabelRule", "Output", "SafeRule", "label_rule", "safe_rule"]

Output = Literal["logit", "log_probability", "probability"]
Labels = int | str | Mapping[int | str, float]

_SAFE = re.compile(
    r"^(safe|benign|harmless|non[-_ ]?(toxic|harmful|hate|offensive)|not[-_ ].*|neutral|ok|acceptable|clean"
    r"|normal|no[-_ ]?(hate|harm|risk))$",
    re.IGNORECASE,
)
_UNSAFE = re.compile(
    r"unsafe|toxi|harm|hate|offens|obscen|threat|insult|malicious|violen|sexual|jailbreak|injection|attack"
    r"|abus|harass|illegal|crim|weapon|danger|explicit|hostil|profan|bias",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class LabelRule:
    """Σ wₗ · f(zₗ) over the labels that have a weight.

    Attributes:
        weights: (label, weight) pairs.
        output: f: the logit, the label's log-probability, or its probability.
        rivals: whether the labels were trained against each other, so that probabilities are a softmax's;
            else each is a sigmoid's of its own.
    """

    weights: tuple[tuple[int, float], ...]
    output: Output
    rivals: bool

    def __call__(self, logits: Tensor) -> Tensor:
        """(C, L) → (C,)."""
        found = _as(logits, self.output, rivals=self.rivals)
        labels = [label for label, _ in self.weights]
        return found[:, labels] @ found.new_tensor([weight for _, weight in self.weights])


@dataclass(frozen=True, slots=True)
class SafeRule:
    """How likely no unsafe label holds.

    With rivals P(safe) = Σ of the safe labels' softmax. Else each unsafe label holds or not by itself, and
    P(safe) = 1 − max of their sigmoids: categories overlap, so that a product would count one harm twice.

    Attributes:
        unsafe: labels.
        rivals: as for `LabelRule`.
        odds: log P(safe) − log P(unsafe), which has a gradient where P is near 0 or 1, in place of P(safe).
    """

    unsafe: tuple[int, ...]
    rivals: bool
    odds: bool = False

    def __call__(self, logits: Tensor) -> Tensor:
        """(C, L) → (C,)."""
        unsafe = list(self.unsafe)
        if not self.rivals:
            odds = -logits[:, unsafe].amax(-1)
        else:
            safe = [label for label in range(logits.shape[1]) if label not in unsafe]
            odds = logits[:, safe].logsumexp(-1) - logits[:, unsafe].logsumexp(-1)
        return odds if self.odds else odds.sigmoid()


def label_rule(config: PretrainedConfig, label: Labels | None, output: Output | None) -> LabelRule:
    """The rule for a model's labels, by number or name.

    Args:
        config: with `id2label` and `problem_type`.
        label: which is the reward, or the weight of each that counts; None where there is only one.
        output: None takes the log-probability of rivals, and else the logit.

    Raises:
        ValueError: there is no such label, or several and none is named.
    """
    labels = {int(i): str(name) for i, name in (config.id2label or {}).items()}
    rivals = config.problem_type == "single_label_classification"
    weights: dict[int | str, float] = {}
    if isinstance(label, Mapping):
        weights = dict(label)
    elif label is not None or len(labels) == 1:
        weights = {next(iter(labels)) if label is None else label: 1.0}
    numbers: dict[int, float] = {}
    for name, weight in weights.items():
        number = next((i for i, known in labels.items() if name in (i, known)), None)
        if number is None:
            raise ValueError(f"label={name!r} must be one of the model's {len(labels)}: {labels}.")
        numbers[number] = float(weight)
    if not numbers:
        raise ValueError(
            f"label={label!r} must be one of the model's {len(labels)}: {labels}, or a weight for each."
        )
    return LabelRule(tuple(numbers.items()), output or ("log_probability" if rivals else "logit"), rivals)


def safe_rule(config: PretrainedConfig, unsafe: Any = None, *, odds: bool = False) -> SafeRule:  # noqa: ANN401 - names, numbers
    """Which labels speak of harm, read from their names.

    Args:
        config: as for `label_rule`.
        unsafe: names or numbers; None reads the names.
        odds: see `SafeRule`.

    Raises:
        ValueError: the names do not say it; the message says what to pass.
    """
    labels = {int(i): str(name) for i, name in (config.id2label or {}).items()}
    several = config.problem_type == "multi_label_classification"
    rivals = len(labels) > 1 and not several
    if unsafe is not None:
        wanted = [unsafe] if isinstance(unsafe, (int, str)) else list(unsafe)
        found = [i for i, name in labels.items() if i in wanted or name in wanted]
        strange = [w for w in wanted if w not in labels and w not in labels.values()]
    else:
        found = [i for i, name in labels.items() if not _SAFE.search(name) and _UNSAFE.search(name)]
        strange = [name for i, name in labels.items() if i not in found and not _SAFE.search(name)]
    if strange or not found or (rivals and len(found) == len(labels)):
        raise ValueError(
            f"the labels {labels} do not say which of them are unsafe"
            f"{f' ({strange} is neither)' if strange else ''}: pass unsafe= with their names or numbers."
        )
    return SafeRule(tuple(found), rivals, odds)


def _as(logits: Tensor, output: Output, *, rivals: bool) -> Tensor:
    if output == "logit":
        return logits
    logs = logits.log_softmax(-1) if rivals else torch.nn.functional.logsigmoid(logits)
    return logs.exp() if output == "probability" else logs
