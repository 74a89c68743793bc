"""The runner that a model gets: packed where that computes what the model computes, else its own forward function.

On a GPU, what can be packed runs as batches of fixed shape.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch

from langchain_sea.errors import ArchitectureError
from langchain_sea.models.batched_forward import ModelRunner
from langchain_sea.models.kv_cache import PackedSequence
from langchain_sea.models.probe import embed_probe, is_close, probe_ids
from langchain_sea.models.static_forward import StaticRunner
from langchain_sea.models.whole_forward import WholeSequenceRunner

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor
    from transformers import PreTrainedModel

    from langchain_sea.models.batched_forward import SequenceOutput
    from langchain_sea.models.kv_cache import KeyValues
    from langchain_sea.models.lm_head import LMHead

__all__ = ["PACKED_TYPES", "Runner", "check_lm_head", "make_runner"]

PACKED_TYPES = frozenset(
    {
        "cohere2",
        "deepseek_v3",
        "gemma2",
        "gemma3_text",
        "gpt2",
        "gpt_neox",
        "gpt_oss",
        "granite",
        "llama",
        "mistral",
        "mixtral",
        "olmo2",
        "olmoe",
        "phi3",
        "qwen2",
        "qwen3",
        "qwen3_moe",
        "starcoder2",
    }
)
"""Model types that the tests compare with the plain forward; any other is compared when its runner is made."""


class Runner(Protocol):
    """Runs a decoder on the answers to prompts."""

    model: PreTrainedModel
    num_layers: int

    def forward(
        self,
        sequences: Sequence[PackedSequence],
        *,
        layers: Iterable[int] = (),
        last: bool = True,
        keep_key_values: bool = False,
    ) -> list[SequenceOutput]:
        """Run all sequences, differentiable in their `embeds` and steering; their caches are filled.

        Args:
            sequences: of any number of prompts.
            layers: whose states are returned.
            last: whether the final states are returned.
            keep_key_values: fill each sequence's `key_values`.
        """
        ...

    def prompt_key_values(self, embeds: Tensor) -> KeyValues:
        """Compute what answers need of one embedded prompt, (1, P, D)."""
        ...

    def read_prompts(self, prompts: Sequence[Tensor]) -> list[KeyValues]:
        """Compute what `prompt_key_values` does of each prompt of at least one token, several in a forward pass."""
        ...


def make_runner(model: PreTrainedModel, *, compiles: bool = False) -> Runner:
    """Return the fastest runner whose results are those of the model's own forward function.

    Args:
        model: a causal language model.
        compiles: whether its layers are compiled, if it is on a GPU and can be packed.

    Raises:
        ArchitectureError: no runner can run the model.
    """
    try:
        packed = ModelRunner(model)
        if _is_known(model) or _is_right(packed, model):
            return _make_static_runner(model, compiles=compiles) or packed
    except ArchitectureError:  # the layers are not all attention that can be replaced
        pass
    whole = WholeSequenceRunner(model)
    try:
        is_causal = _is_causal(whole)
    except ArchitectureError:
        raise
    except Exception as error:
        raise ArchitectureError(
            f"{type(model).__name__} cannot be refined: its forward function does not run on embeddings alone "
            f"({type(error).__name__}: {error}). Use another model."
        ) from error
    if not is_causal:
        raise ArchitectureError(
            f"{type(model).__name__} is not a causal model: tokens change the states of those before them. Use a "
            "decoder, or set is_decoder in the model's configuration."
        )
    return whole


@torch.no_grad()
def check_lm_head(head: LMHead, runner: Runner, model: PreTrainedModel) -> None:
    """Compare the logits of an output layer with those of the model, on a few tokens.

    Raises:
        ArchitectureError: they differ, because the model does more after its last layer.
    """
    if _is_known(model):
        return
    rows = embed_probe(model)
    (output,) = runner.forward([PackedSequence(rows)])
    assert output.last is not None
    try:
        logits = model(probe_ids(model)).logits  # as anybody calls it: with its own cache, of ids
    except Exception as error:
        raise ArchitectureError(
            f"the forward function of {type(model).__name__} does not run on a few tokens ({type(error).__name__}: "
            f"{error}). Use another model, or correct its configuration."
        ) from error
    if not is_close(head.logits(output.last)[..., : logits.shape[-1]], logits):
        raise ArchitectureError(
            f"{type(model).__name__} computes its logits by more than an output layer, a scale and a cap; use another "
            "model."
        )


def _make_static_runner(model: PreTrainedModel, *, compiles: bool) -> StaticRunner | None:
    """Return the runner for one GPU; None elsewhere, and where it does not compute what the model computes."""
    if not _is_on_one_gpu(model):
        return None
    runner = StaticRunner(model)  # compared before its layers are compiled, which takes a minute
    if not _is_known(model) and not _is_right(runner, model):
        return None
    return StaticRunner(model, compiles=True) if compiles else runner


def _is_on_one_gpu(model: PreTrainedModel) -> bool:
    """Whether all weights are on one GPU; layers on several devices cannot share tensors of positions."""
    devices = {parameter.device for parameter in model.parameters()}
    return len(devices) == 1 and next(iter(devices)).type == "cuda"


def _is_known(model: PreTrainedModel) -> bool:
    return model.config.get_text_config().model_type in PACKED_TYPES


@torch.no_grad()
def _is_right(runner: ModelRunner, model: PreTrainedModel) -> bool:
    """Whether two prompts of different length, read in two parts each, get the states of the plain forward.

    In half precision, rounding hides a small error. So the first prompt is also exchanged, which must change nothing
    of the second.
    """
    rows = embed_probe(model)
    one, two, other = rows[:1], rows[1:, :5], rows[1:].flip(1)
    try:
        expected = [_last(WholeSequenceRunner(model), [text])[0] for text in (one, two)]
        actual, exchanged = (_last_in_parts(runner, [text, two]) for text in (one, other))
        runner.forward([PackedSequence(one)], layers=range(runner.num_layers))  # one state for each token
    except Exception:  # noqa: BLE001 - models call their attention in many ways; this one is no way that is known
        return False
    is_alone = is_close(exchanged[1].float(), actual[1].float())
    # a few tokens do not fill a window, so that its length is compared instead
    return (
        runner.tells_windows and is_alone and all(is_close(a, e[:, 2:]) for a, e in zip(actual, expected, strict=True))
    )


def _last(runner: Runner, texts: Sequence[Tensor]) -> list[Tensor]:
    """Return the final states of texts, each (1, T, D)."""
    outputs = runner.forward([PackedSequence(text) for text in texts])
    return [output.last for output in outputs if output.last is not None]


def _last_in_parts(runner: Runner, texts: Sequence[Tensor]) -> list[Tensor]:
    """Return the final states after the first two tokens, (1, T - 2, D), which are read first."""
    parts = [PackedSequence(text[:, 2:], runner.prompt_key_values(text[:, :2])) for text in texts]
    return [output.last for output in runner.forward(parts) if output.last is not None]


@torch.no_grad()
def _is_causal(runner: Runner) -> bool:
    """Whether the first tokens keep their states when others follow."""
    rows = embed_probe(runner.model)
    runner.forward([PackedSequence(rows)], layers=range(runner.num_layers))  # which must be one state for each token
    long, short = (_last(runner, [part])[0] for part in (rows, rows[:, :4]))
    return is_close(long[:, :4], short)
