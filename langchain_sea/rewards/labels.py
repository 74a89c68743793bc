"""Turn the logits of a classifier into one number: which labels count, and how."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import PretrainedConfig

__all__ = ["LabelRule", "Labels", "Output", "SafeRule", "Unsafe", "label_rule", "safe_rule"]

Output = Literal["logit", "log_probability", "probability"]
Labels = int | str | Mapping[int | str, float]
Unsafe = int | str | Sequence[int | str]

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
        rivals: whether the labels are exclusive, so that their probabilities are a softmax; else each is a sigmoid.
    """

    weights: tuple[tuple[int, float], ...]
    output: Output
    rivals: bool

    def __call__(self, logits: Tensor) -> Tensor:
        """Return the rewards, (C,), of logits, (C, L)."""
        outputs = _transform(logits, self.output, rivals=self.rivals)
        labels = [label for label, _ in self.weights]
        return outputs[:, labels] @ outputs.new_tensor([weight for _, weight in self.weights])


@dataclass(frozen=True, slots=True)
class SafeRule:
    """The probability that no unsafe label applies.

    For exclusive labels P(safe) is the sum of the safe labels' softmax. Else P(safe) = 1 − the maximum of the unsafe
    labels' sigmoids; categories overlap, so that a product would count one harm twice.

    Attributes:
        unsafe: numbers of labels.
        rivals: whether labels are exclusive, as in `LabelRule`.
        odds: log P(safe) − log P(unsafe) instead of P(safe); it has a gradient even if P is near 0 or 1.
    """

    unsafe: tuple[int, ...]
    rivals: bool
    odds: bool = False

    def __call__(self, logits: Tensor) -> Tensor:
        """Return P(safe) or its log-odds, (C,), of logits, (C, L)."""
        unsafe = list(self.unsafe)
        if not self.rivals:
            odds = -logits[:, unsafe].amax(-1)
        else:
            safe = [label for label in range(logits.shape[1]) if label not in unsafe]
            odds = logits[:, safe].logsumexp(-1) - logits[:, unsafe].logsumexp(-1)
        return odds if self.odds else odds.sigmoid()


def label_rule(config: PretrainedConfig, label: Labels | None, output: Output | None) -> LabelRule:
    """Make the rule for a model's labels, by number or name.

    Args:
        config: has `id2label` and `problem_type`.
        label: which label is the reward, or the weight of each that counts; None if there is only one.
        output: None means the log-probability if `problem_type` says that several labels are exclusive, and else the
            logit.

    Raises:
        ValueError: there is no such label, or there are several and none is named.
    """
    labels = {int(i): str(name) for i, name in (config.id2label or {}).items()}
    several = len(labels) > 1
    # without a problem type a softmax, as pipelines of transformers do
    rivals = several and config.problem_type in {None, "single_label_classification"}
    if output is None:
        output = "log_probability" if rivals and config.problem_type else "logit"
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
        raise ValueError(f"label={label!r} must be one of the model's {len(labels)}: {labels}, or a weight for each.")
    return LabelRule(tuple(numbers.items()), output, rivals)


def safe_rule(config: PretrainedConfig, unsafe: Unsafe | None = None, *, odds: bool = False) -> SafeRule:
    """Find out which labels name harm.

    Args:
        config: as in `label_rule`.
        unsafe: names or numbers of these labels; None reads it from the names.
        odds: as in `SafeRule`.

    Raises:
        ValueError: the names do not say which labels are unsafe; the message says what to pass.
    """
    labels = {int(i): str(name) for i, name in (config.id2label or {}).items()}
    several = config.problem_type == "multi_label_classification"
    rivals = len(labels) > 1 and not several
    if unsafe is not None:
        names = [unsafe] if isinstance(unsafe, (int, str)) else list(unsafe)
        numbers = [i for i, name in labels.items() if i in names or name in names]
        unknown = [name for name in names if name not in labels and name not in labels.values()]
    else:
        numbers = [i for i, name in labels.items() if not _SAFE.search(name) and _UNSAFE.search(name)]
        unknown = [name for i, name in labels.items() if i not in numbers and not _SAFE.search(name)]
    if unknown or not numbers or (rivals and len(numbers) == len(labels)):
        raise ValueError(
            f"the labels {labels} do not say which of them are unsafe"
            f"{f' ({unknown} is neither)' if unknown else ''}: pass unsafe= with their names or numbers."
        )
    return SafeRule(tuple(numbers), rivals, odds)


def _transform(logits: Tensor, output: Output, *, rivals: bool) -> Tensor:
    if output == "logit":
        return logits
    logs = logits.log_softmax(-1) if rivals else torch.nn.functional.logsigmoid(logits)
    return logs.exp() if output == "probability" else logs
