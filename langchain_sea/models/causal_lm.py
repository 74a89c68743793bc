"""The frozen model that writes: prompts and their states, drafting, soft reading. Knows no reward."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from langchain_sea.core.protocols import (
    ALL,
    NOTHING,
    ForwardRequest,
    ModelOutput,
    OutputSpec,
    Steering,
    Tokens,
)
from langchain_sea.errors import PromptTooLongError
from langchain_sea.models.batched_forward import ModelRunner
from langchain_sea.models.chat_template import ChatTemplate
from langchain_sea.models.drafting import by_length, choose, end_ids, uniforms
from langchain_sea.models.generation import PolicyGeneration, LengthGroup
from langchain_sea.models.kv_cache import PackedSequence
from langchain_sea.models.lm_head import LMHead, lm_head_of
from langchain_sea.models.prompt import Grammar, Matching, PolicyPrompt, PolicyReading
from langchain_sea.models.soft_embeddings import embed_soft_tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["CausalLMPolicy", "PolicyPrompt"]


class CausalLMPolicy:
    """A causal language model of `transformers` with its tokenizer; neither is ever changed.

    Attributes:
        model: in evaluation mode; `tokenizer` is its own.
        vocab_size: V, the width of the logits.
        banned: (V,) bool, the ids that never stand inside an answer: special tokens, end ids, and ids that
            the tokenizer does not know.
        end_ids: those that end an answer.
        context: the most positions the model reads, or None where it names no bound.
        device: where the model's weights are.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, chat_template: str | None = None
    ) -> None:
        """Hold the parts.

        Args:
            model: loaded, in evaluation mode, its weights preferably frozen.
            tokenizer: the model's.
            chat_template: Jinja source; None takes the tokenizer's own.
        """
        if model.training:
            raise ValueError(
                "the model is in training mode, where dropout changes what it says; call eval()."
            )
        self.model, self.tokenizer = model, tokenizer
        self._template = ChatTemplate(tokenizer, chat_template)
        config = model.config.get_text_config()
        self.vocab_size: int = config.vocab_size
        self.context: int | None = getattr(config, "max_position_embeddings", None)
        self.device: torch.device = model.device
        self.end_ids = frozenset(end_ids(model, tokenizer))
        known = set(tokenizer.get_vocab().values()) - self._template.special - self.end_ids
        self.banned = torch.tensor([i not in known for i in range(self.vocab_size)], device=self.device)
        self._undrawable = self.banned.clone()  # what drafting never draws: an end id it may
        self._undrawable[[i for i in self.end_ids if i < self.vocab_size]] = False
        self._forward_parts: tuple[ModelRunner, LMHead] | None = None

    @property
    def _runner(self) -> ModelRunner:
        return self._parts()[0]

    @property
    def _head(self) -> LMHead:
        return self._parts()[1]

    def _parts(self) -> tuple[ModelRunner, LMHead]:
        """Made at the first use, and anew after pickling."""
        if self._forward_parts is None:
            self._forward_parts = ModelRunner(self.model), lm_head_of(self.model)
        return self._forward_parts

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_forward_parts": None}

    @property
    def supports_tools(self) -> bool:
        """Whether the chat template shows tools itself."""
        return self._template.supports_tools

    def is_control_token(self, text: str) -> bool:
        """Whether this is a token of its own that structures a chat."""
        return self._template.is_control_token(text)

    def encode(self, text: str) -> list[int]:
        """The ids of an answer's text, special tokens split as text, without begin or end tokens."""
        return self._template.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of an answer's ids, without special tokens."""
        return self._template.decode(ids)

    def count_tokens(
        self, messages: Sequence[dict[str, Any]], tools: Sequence[dict[str, Any]] | None = None
    ) -> int:
        """How many ids `prompt` would write; nothing is read."""
        return len(self._template.chat(messages, tools))

    def prompt(
        self,
        messages: Sequence[dict[str, Any]],
        *,
        tools: Sequence[dict[str, Any]] | None = None,
        room: int = 0,
        opening: str = "",
        grammar: Grammar | None = None,
    ) -> PolicyPrompt:
        """Write a conversation as a prompt and read it once.

        Args:
            messages: template dicts, oldest first; no string in them can become a control token.
            tools: JSON schemas for the template.
            room: how many tokens the answer must have room for.
            opening: what the assistant has said already; it is no part of the answer.
            grammar: bounds the answer.

        Raises:
            ChatTemplateError: there is no chat template, or it rejects the messages.
            PromptTooLongError: prompt and room exceed the context.
        """
        ids = self._template.chat(messages, tools) + self._template.markup(opening)
        found = self.prompt_from_ids(ids, messages, room)
        return found if grammar is None else replace(found, grammar=grammar)

    @torch.no_grad()
    def prompt_from_ids(
        self, ids: Sequence[int], messages: Sequence[dict[str, Any]], room: int = 0
    ) -> PolicyPrompt:
        """Read a prompt that a policy with an equal tokenizer wrote; `messages` are kept beside it."""
        if self.context is not None and len(ids) + room > self.context:
            raise PromptTooLongError(
                f"a prompt of {len(ids)} tokens with room for {room} more exceeds the policy's context of "
                f"{self.context}; shorten the conversation or ask for a shorter answer."
            )
        rows = torch.tensor([ids[:-1]], dtype=torch.long, device=self.device)
        return PolicyPrompt(tuple(messages), tuple(ids), self._runner.key_values(self._embed(rows)))

    def forward(self, prompt: PolicyPrompt, tokens: Tokens, output_spec: OutputSpec = ALL) -> ModelOutput:
        """One forward of the answers after the prompt's states; differentiable in `tokens.soft`.

        Args:
            prompt: from `prompt`.
            tokens: C answers of T positions on K candidates; K = V stands for all ids in order.
            output_spec: what of the reading will be looked at.
        """
        return self.forward_all([ForwardRequest(prompt, tokens, output_spec)])[0]

    def forward_all(self, asks: Sequence[ForwardRequest]) -> list[ModelOutput]:
        """The same for several prompts, in one forward; each is read as it is alone."""
        readings = [PolicyReading(self._head, ask.prompt) for ask in asks]
        segments = [self._segment(ask.prompt, ask.tokens) for ask in asks]
        output_spec = NOTHING
        for ask in asks:
            output_spec |= ask.output_spec
        layers = range(self._runner.layers + 1) if output_spec.layers is None else output_spec.layers
        outputs = self._runner.forward(segments, layers=layers, last=output_spec.logits)
        for reading, output in zip(readings, outputs, strict=True):
            reading.output = output
        return list(readings)

    def _segment(self, prompt: PolicyPrompt, tokens: Tokens) -> PackedSequence:
        last = self._embed(torch.tensor([[prompt.last]], device=self.device))  # (1, 1, D)
        soft, support = (part[:, len(prompt.answer) :].to(self.device) for part in tokens[:2])
        embeds = embed_soft_tokens(self._embed, soft, support, one=soft.shape[-1] == self.vocab_size).to(
            last.dtype
        )
        # no mask: padding stands on the right only, and causal attention keeps it from what stands before
        return PackedSequence(
            torch.cat([last.expand(len(embeds), -1, -1), embeds], 1), prompt.states
        )  # (C, 1 + T, D)

    def generate(
        self,
        prompt: PolicyPrompt,
        prefixes: Sequence[Sequence[int]],
        *,
        tokens: int,
        temperature: float,
        generators: Sequence[torch.Generator],
        go_on: Callable[[int], bool] = lambda _rows: True,
        steering: Steering | None = None,
    ) -> list[list[int]]:
        """Write on from each prefix, until an end id, `tokens` new tokens, or the end of the context.

        Args:
            prompt: from `prompt`.
            prefixes: C answers begun; one that ends with an end id is finished.
            tokens: the most new tokens for each.
            temperature: 0 takes the most likely token and draws nothing.
            generators: C, one for each row: what a row draws depends on its own alone.
            go_on: asked before each step with the number of rows in it; False stops all drafting.
            steering: what is added to the rows' states at one layer meanwhile.

        Returns:
            C lists of new ids, without prefix and end id.
        """
        writing = self.start_generation(
            prompt, prefixes, tokens=tokens, temperature=temperature, generators=generators, steering=steering
        )
        while writing.num_unfinished and go_on(writing.num_unfinished):
            self.generate_step([writing])
        return writing.written

    def start_generation(
        self,
        prompt: PolicyPrompt,
        prefixes: Sequence[Sequence[int]],
        *,
        tokens: int,
        temperature: float,
        generators: Sequence[torch.Generator],
        steering: Steering | None = None,
    ) -> PolicyGeneration:
        """Answers begun, for `generate_step`: what `extend` begins with."""
        draws = uniforms(generators if temperature > 0 else [], len(prefixes), tokens)
        written: list[list[int]] = [[] for _ in prefixes]
        groups = []
        for length, rows in by_length(prefixes, self.end_ids).items():
            read = len(prompt.ids) + len(prompt.answer) + length
            room = tokens if self.context is None else min(tokens, self.context - read)
            if room > 0:
                ids = [[prompt.last, *prefixes[row]] for row in rows]
                groups.append(LengthGroup(prompt, rows, ids, room))
        matchers = [prompt.grammar.begin(prefix) for prefix in prefixes] if prompt.grammar else []
        return PolicyGeneration(written, groups, draws, temperature, matchers, steering)

    @torch.no_grad()
    def generate_step(self, writings: Sequence[PolicyGeneration]) -> None:
        """One token more in every row of each, in one forward."""
        groups = [(writing, group) for writing in writings for group in writing.groups if group.rows]
        if not groups:
            return
        segments = [
            PackedSequence(
                self._embed(torch.tensor(g.ids, device=self.device)), g.shared, g.own, w.steering_for(g)
            )
            for w, g in groups
        ]
        lasts = [output.last[:, -1] for output in self._runner.forward(segments) if output.last is not None]
        draws = torch.cat([w.draws[g.rows, len(w.written[g.rows[0]])] for w, g in groups])
        heats = torch.tensor([w.temperature for w, g in groups for _ in g.rows], device=self.device)
        logits = self._head.iter_logits(torch.cat(lasts))
        matchers = [w.matchers[row] if w.matchers else None for w, g in groups for row in g.rows]
        chosen = [
            i
            for at, z in logits
            for i in choose(_within(z, matchers[at]), draws[at], heats[at], self._undrawable)
        ]
        for writing, group in groups:
            mine, chosen = chosen[: len(group.rows)], chosen[len(group.rows) :]
            writing.append_tokens(group, mine, self.end_ids)
        for writing in writings:
            writing.groups = [group for group in writing.groups if group.rows]

    @torch.no_grad()
    def prefill(self, prompt: PolicyPrompt, ids: Sequence[int], output_spec: OutputSpec) -> PolicyPrompt:
        """The prompt with more of the answer behind it, read once.

        Args:
            prompt: from `prompt`, or from here.
            ids: what follows.
            output_spec: the layers whose states later readings will be asked for, and whether for log π.
        """
        if not ids:
            return prompt
        rows = torch.tensor([[prompt.last, *ids]], device=self.device)
        segment = PackedSequence(self._embed(rows), prompt.states)
        layers = range(self._runner.layers + 1) if output_spec.layers is None else output_spec.layers
        (output,) = self._runner.forward([segment], layers=layers, keep_key_values=True)
        older = prompt.states or tuple((k[0, :, :0], v[0, :, :0]) for k, v in segment.states)
        # the newest id's states are read again with whatever follows it
        newer = ((keys[0, :, :-1], values[0, :, :-1]) for keys, values in segment.states)
        pairs = zip(older, newer, strict=True)
        states = tuple((torch.cat([k, k2], 1), torch.cat([v, v2], 1)) for (k, v), (k2, v2) in pairs)
        hidden = {layer: output.hidden[layer][0, 1:] for layer in layers}
        if prompt.answer:
            hidden = {layer: torch.cat([prompt.hidden[layer], new]) for layer, new in hidden.items()}
        log_probs = None
        if output_spec.logits and output.last is not None:
            log_probs = self._head.log_probs_at(output.last[0, :-1], rows[0, 1:, None]).squeeze(-1)
            log_probs = log_probs if prompt.log_probs is None else torch.cat([prompt.log_probs, log_probs])
        answer = (*prompt.answer, *ids)
        return replace(prompt, states=states, answer=answer, hidden=hidden, log_probs=log_probs)

    @torch.no_grad()
    def _embed(self, ids: Tensor) -> Tensor:
        """Through the module, since some scale what they look up; the weights get no gradient."""
        embedded: Tensor = self.model.get_input_embeddings()(ids)
        return embedded


def _within(logits: Tensor, matchers: Sequence[Matching | None]) -> Tensor:
    """(n, V) with what grammars forbid impossible."""
    if not any(matchers):
        return logits
    logits = logits.clone()
    for row, matcher in enumerate(matchers):
        if matcher is not None:
            logits[row, ~matcher.allowed().to(logits.device)] = -torch.inf
    return logits
