"""The forward passes of a policy: prompts, answers after prompts, and next tokens. Knows no text.

Shapes: C answers of one prompt, T positions, V vocabulary, D width, H heads, d width of a head.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from langchain_sea.core.protocols import NOTHING, ForwardRequest, OutputSpec
from langchain_sea.models.generation import sample_tokens
from langchain_sea.models.kv_cache import KeyValues, PackedSequence
from langchain_sea.models.lm_head import lm_head_of
from langchain_sea.models.prompt import PolicyOutput, PolicyPrompt, Prefill, part_after
from langchain_sea.models.runner import check_lm_head, make_runner
from langchain_sea.models.soft_embeddings import embed_soft_tokens
from langchain_sea.models.static_decode import StaticDecoder
from langchain_sea.models.static_forward import StaticRunner

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from transformers import PreTrainedModel

    from langchain_sea.core.protocols import GrammarMatcher
    from langchain_sea.models.batched_forward import SequenceOutput
    from langchain_sea.models.generation import PolicyGeneration
    from langchain_sea.models.graph_cache import Capture
    from langchain_sea.models.runner import Runner

__all__ = ["PolicyForward"]


class PolicyForward:
    """The parts of a causal language model: embeddings, decoder layers and output layer.

    Attributes:
        device: where the weights are.
        joins_requests: whether the output layer reads the answers of all requests at once. A GPU then launches less; on
            a CPU a row could be rounded otherwise than alone.
    """

    def __init__(self, model: PreTrainedModel, runner: Runner | None = None) -> None:
        """Prepare the parts.

        Args:
            model: a causal language model.
            runner: runs its layers; None takes the one that suits its device.

        Raises:
            ArchitectureError: the model is not a decoder that can be refined.
        """
        self._model, self._head = model, lm_head_of(model)
        self._runner = make_runner(model) if runner is None else runner
        check_lm_head(self._head, self._runner, model)
        self._decoder: StaticDecoder | None = None
        self._vocab_size: int = model.config.get_text_config().vocab_size
        self.device: torch.device = model.device
        self.joins_requests = self.device.type == "cuda"

    @torch.no_grad()
    def embed(self, ids: Tensor) -> Tensor:
        """Embed ids through the model's own module, which may scale them; the weights get no gradient."""
        embedded: Tensor = self._model.get_input_embeddings()(ids)
        return embedded

    @torch.no_grad()
    def prompt_key_values(self, ids: Sequence[int]) -> KeyValues:
        """Compute the keys and values of all ids but the last."""
        rows = torch.tensor([ids[:-1]], dtype=torch.long, device=self.device)
        return self._runner.prompt_key_values(self.embed(rows))

    @torch.no_grad()
    def _read_prompts(self, prompts: Iterable[PolicyPrompt]) -> None:
        """Compute the keys and values of the prompts that have none; equal prompts are read once."""
        unread = {prompt.prefill: prompt.prefill.unread_ids for prompt in prompts}
        rows = {
            ids: self.embed(torch.tensor([ids[:-1]], device=self.device)) for ids in unread.values() if len(ids) > 1
        }
        known = dict(zip(rows, self._runner.read_prompts(list(rows.values())), strict=True))
        for prefill, ids in unread.items():
            if ids in known:
                prefill.fill(known[ids])

    @property
    def replays_graphs(self) -> bool:
        """Whether passes have fixed shapes, which a GPU replays as graphs."""
        return isinstance(self._runner, StaticRunner)

    @property
    def captures(self) -> tuple[Capture, ...]:
        """What the CUDA graphs cost so far."""
        return tuple(self._runner.graphs.captures) if isinstance(self._runner, StaticRunner) else ()

    def forward_all(self, requests: Sequence[ForwardRequest]) -> list[PolicyOutput]:
        """Run the answers of all requests in one forward pass.

        It is differentiable in their `tokens.soft` and in the vectors of their `steering`.
        """
        self._read_prompts(request.prompt for request in requests)
        sequences = [self._packed(request) for request in requests]
        output_spec = NOTHING
        for request in requests:
            output_spec |= request.output_spec
        outputs = self._runner.forward(sequences, layers=self._layers_of(output_spec), last=output_spec.logits)
        log_probs: Sequence[Tensor | None] = [None] * len(requests)
        if self.joins_requests and len(requests) > 1 and output_spec.logits:
            log_probs = self._log_probs_together(requests, outputs)
        return [
            PolicyOutput(self._head.at_temperature(request.temperature), request.prompt, output, known)
            for request, output, known in zip(requests, outputs, log_probs, strict=True)
        ]

    def _log_probs_together(
        self, requests: Sequence[ForwardRequest], outputs: Sequence[SequenceOutput]
    ) -> list[Tensor | None]:
        """Compute log π of the ids of all answers by one call of the output layer, (C, T) each.

        None for each where the answers are relaxed, or their temperatures differ.
        """
        tokens = [part_after(request.tokens, len(request.prompt.answer)) for request in requests]
        temperatures = {request.temperature for request in requests}
        if len(temperatures) > 1 or any(each.support.shape[-1] > 1 for each in tokens):
            return [None] * len(requests)
        states = [output.last[:, :-1] for output in outputs if output.last is not None]
        joined = self._head.at_temperature(temperatures.pop()).log_probs(
            torch.cat([x.flatten(0, 1) for x in states]),
            torch.cat([each.soft.flatten(0, 1) for each in tokens]).to(self.device),
            torch.cat([each.support.flatten(0, 1) for each in tokens]).to(self.device),
        )
        parts = torch.split(joined, [each.mask.numel() for each in tokens])
        return [part.view(each.mask.shape) for part, each in zip(parts, tokens, strict=True)]

    @property
    def num_layers(self) -> int:
        """The number of decoder layers."""
        return self._runner.num_layers

    def _packed(self, request: ForwardRequest) -> PackedSequence:
        """Pack the last id of the prompt and the soft tokens of C answers, (C, 1 + T, D).

        There is no mask: padding is on the right, where causal attention hides it from the tokens before it.
        """
        prompt: PolicyPrompt = request.prompt
        last = self.embed(torch.tensor([[prompt.last]], device=self.device))  # (1, 1, D)
        soft, support = (part[:, len(prompt.answer) :].to(self.device) for part in request.tokens[:2])
        is_whole_vocabulary = soft.shape[-1] == self._vocab_size
        embeds = embed_soft_tokens(self.embed, soft, support, is_shared=is_whole_vocabulary).to(last.dtype)
        rows = torch.cat([last.expand(len(embeds), -1, -1), embeds], 1)
        return PackedSequence(rows, prompt.key_values, steering=request.steering, begin=request.start)

    def _layers_of(self, output_spec: OutputSpec) -> Sequence[int]:
        if output_spec.layers is None:
            return range(self._runner.num_layers + 1)
        return sorted(output_spec.layers)

    @torch.no_grad()
    def prefill(self, prompt: PolicyPrompt, ids: Sequence[int], output_spec: OutputSpec) -> PolicyPrompt:
        """Append ids to the prompt's answer, with their keys and values and what `output_spec` names."""
        rows = torch.tensor([[prompt.last, *ids]], device=self.device)
        sequence = PackedSequence(self.embed(rows), prompt.key_values)
        layers = self._layers_of(output_spec)
        (output,) = self._runner.forward([sequence], layers=layers, keep_key_values=True)
        hidden = {layer: output.hidden[layer][0, 1:] for layer in layers}
        if prompt.answer:
            hidden = {layer: torch.cat([prompt.hidden[layer], new]) for layer, new in hidden.items()}
        log_probs = None
        if output_spec.logits and output.last is not None:
            log_probs = self._head.log_probs_at(output.last[0, :-1], rows[0, 1:, None]).squeeze(-1)
            log_probs = log_probs if prompt.log_probs is None else torch.cat([prompt.log_probs, log_probs])
        key_values = _joined_key_values(prompt, sequence)
        return replace(
            prompt,
            prefill=Prefill(lambda: key_values),
            answer=(*prompt.answer, *ids),
            hidden=hidden,
            log_probs=log_probs,
        )

    @torch.no_grad()
    def generate_step(
        self, generations: Sequence[PolicyGeneration], disallowed: Tensor, end_ids: frozenset[int]
    ) -> None:
        """Append one token to every unfinished row of all generations.

        In one forward pass on a CPU. On a GPU the generations that `StaticDecoder` can decode take another than the
        rest: each stays where its keys and values are, whoever joins or leaves. Where memory does not suffice, what the
        runner keeps is given back, and the step can be tried again.
        """
        try:
            self._read_prompts(group.prompt for state in generations for group in state.unfinished_groups())
            if isinstance(self._runner, StaticRunner):
                if self._decoder is None:
                    self._decoder = StaticDecoder(self._runner, self.embed, self._head, disallowed)
                can_decode = self._decoder.can_decode
                self._decoder.step([state for state in generations if can_decode(state)], end_ids)
                generations = [state for state in generations if not can_decode(state)]
            self._generate_packed(generations, disallowed, end_ids)
        except torch.OutOfMemoryError:
            if isinstance(self._runner, StaticRunner):
                self._runner.release_memory()  # what is tried next, with fewer rows, may need it
            raise

    def _generate_packed(
        self, generations: Sequence[PolicyGeneration], disallowed: Tensor, end_ids: frozenset[int]
    ) -> None:
        """Append one token to every unfinished row, whose keys and values lie in the caches of their groups."""
        groups = [(state, group) for state in generations for group in state.unfinished_groups()]
        if not groups:
            return
        sequences = [
            PackedSequence(
                self.embed(torch.tensor(group.ids, device=self.device)),
                group.prompt_key_values,
                group.cache,
                state.steering_for(group),
            )
            for state, group in groups
        ]
        outputs = self._runner.forward(sequences)
        hidden = torch.cat([output.last[:, -1] for output in outputs if output.last is not None])
        draws = torch.cat([state.draws_for(group) for state, group in groups])
        temperatures = [state.temperature for state, group in groups for _ in group.rows]
        heats = torch.tensor(temperatures, device=self.device)
        matchers = [matcher for state, group in groups for matcher in state.matchers_for(group)]
        tokens = [
            token
            for part, logits in self._head.iter_logits(hidden)
            for token in sample_tokens(_constrained(logits, matchers[part]), draws[part], heats[part], disallowed)
        ]
        for state, group in groups:
            count = len(group.rows)
            state.append_tokens(group, tokens[:count], end_ids)
            tokens = tokens[count:]


def _joined_key_values(prompt: PolicyPrompt, sequence: PackedSequence) -> KeyValues:
    """Append the new keys and values to the prompt's, without those of the newest id.

    The newest id is read again together with the tokens that follow it.
    """
    before = prompt.key_values or tuple((k[0, :, :0], v[0, :, :0]) for k, v in sequence.key_values)
    new = ((keys[0, :, :-1], values[0, :, :-1]) for keys, values in sequence.key_values)
    pairs = zip(before, new, strict=True)
    return tuple((torch.cat([k, k2], 1), torch.cat([v, v2], 1)) for (k, v), (k2, v2) in pairs)


def _constrained(logits: Tensor, matchers: Sequence[GrammarMatcher | None]) -> Tensor:
    """Return the logits, (n, V), of the tokens that each grammar allows; −∞ for the others."""
    if not any(matchers):
        return logits
    logits = logits.clone()
    for row, matcher in enumerate(matchers):
        if matcher is not None:
            logits[row] = matcher.constrain(logits[row])
    return logits
