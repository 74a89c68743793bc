"""The frozen language model that writes the answers: prompts, forward passes and generation. Knows no reward."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from langchain_sea.core.protocols import ALL, ForwardRequest, ModelOutput, OutputSpec
from langchain_sea.errors import ArchitectureError, PromptTooLongError
from langchain_sea.models.generation import PolicyGeneration
from langchain_sea.models.policy_forward import PolicyForward
from langchain_sea.models.policy_vocabulary import PolicyVocabulary
from langchain_sea.models.prompt import PolicyPrompt, Prefill
from langchain_sea.models.runner import make_runner

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from langchain_sea.core.protocols import Grammar, Steering, Tokens
    from langchain_sea.models.graph_cache import Capture

__all__ = ["CausalLMPolicy", "PolicyPrompt"]


class CausalLMPolicy(PolicyVocabulary):
    """A causal language model of `transformers` with its tokenizer; neither is changed.

    Attributes:
        name: what `load_model` loaded it by; empty for a policy made from a model in memory.
    """

    name: str = ""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        chat_template: str | os.PathLike[str] | None = None,
        compile_layers: bool = False,
    ) -> None:
        """Hold the model and its tokenizer; nothing is computed yet.

        Args:
            model: loaded, in evaluation mode, its weights preferably frozen.
            tokenizer: the model's.
            chat_template: Jinja text or the path of a file; None takes the tokenizer's own.
            compile_layers: compile the layers where the model is on a GPU; see `load_model`.

        Raises:
            ChatTemplateError: `chat_template` cannot be read.
            ValueError: the model is in training mode.
        """
        super().__init__(model, tokenizer, chat_template=chat_template)
        self._disallowed = self.banned.clone()  # what generation never draws; it may draw an end id
        self._disallowed[[i for i in self.end_ids if i < self.vocab_size]] = False
        self._compiles = compile_layers
        self._lazy_forward: PolicyForward | None = None

    @property
    def _forward(self) -> PolicyForward:
        """Prepared at the first use, and again after unpickling."""
        if self._lazy_forward is None:
            self._lazy_forward = PolicyForward(self.model, make_runner(self.model, compiles=self._compiles))
        return self._lazy_forward

    @property
    def replays_graphs(self) -> bool:
        """Whether passes have fixed shapes, which a GPU replays as graphs."""
        return self._forward.replays_graphs

    @property
    def captures(self) -> tuple[Capture, ...]:
        """What the CUDA graphs of this policy cost so far; none on a CPU."""
        return self._forward.captures

    @property
    def num_layers(self) -> int:
        """The number of decoder layers."""
        return self._forward.num_layers

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_lazy_forward": None}

    def prompt(
        self,
        messages: Sequence[dict[str, Any]],
        *,
        tools: Sequence[dict[str, Any]] | None = None,
        room: int = 0,
        opening: str = "",
        grammar: Grammar | None = None,
    ) -> PolicyPrompt:
        """Write a conversation as a prompt. Its keys and values are computed when they are first needed.

        Args:
            messages: template dicts, oldest first; no string in them can become a control token.
            tools: JSON schemas for the template.
            room: how many tokens the answer must have room for.
            opening: how the assistant's turn begins; it is not part of the answer, and no latent acts on it. With
                `open_answer`, one does.
            grammar: constrains the answer. Reasoning that the template opens is closed before it.

        Raises:
            ChatTemplateError: there is no chat template, or it rejects the messages.
            PromptTooLongError: prompt and room exceed the context.
        """
        ids = self._template.chat(messages, tools)
        closing = None if grammar is None else self._template.find_open_thought(ids)
        ids += self._template.markup(opening if closing is None else f"\n{closing}\n\n{opening}")
        return replace(self.prompt_from_ids(ids, messages, room), grammar=grammar)

    def prompt_from_ids(self, ids: Sequence[int], messages: Sequence[dict[str, Any]], room: int = 0) -> PolicyPrompt:
        """Like `prompt`, from the ids that a policy with an equal tokenizer wrote; `messages` are only kept.

        Raises:
            PromptTooLongError: prompt and room exceed the context.
            TokenizerMismatchError: the model does not know one of the ids.
        """
        self.require_known(ids)
        context = self.context_after(len(ids))
        if context is not None and len(ids) + room > context:
            raise PromptTooLongError(
                f"a prompt of {len(ids)} tokens with room for {room} more exceeds the policy's context of "
                f"{context}; shorten the conversation or ask for a shorter answer."
            )
        prompt_ids = tuple(ids)
        prefill = Prefill(lambda: self._forward.prompt_key_values(prompt_ids), prompt_ids)
        return PolicyPrompt(tuple(messages), prompt_ids, prefill)

    def open_answer(self, prompt: PolicyPrompt, words: str, room: int = 0) -> PolicyPrompt:
        """Return the prompt with the first words of the answer put before it, as an attacker may do.

        They are no part of the answer, which goes on behind them. A search may read them again under a latent.

        Raises:
            PromptTooLongError: prompt, words and room exceed the context.
        """
        opened = self.prompt_from_ids([*prompt.ids, *self.encode(words)], prompt.messages, room)
        return replace(opened, before_opening=prompt) if len(opened.ids) > len(prompt.ids) else prompt

    def room_after(self, prompt: PolicyPrompt) -> int | None:
        """Return how many ids of an answer the model can read after this prompt; None: there is no limit."""
        context = self.context_after(len(prompt.ids))
        return None if context is None else context - len(prompt.ids)

    def forward(self, prompt: PolicyPrompt, tokens: Tokens, output_spec: OutputSpec = ALL) -> ModelOutput:
        """Run C answers after the prompt; differentiable in `tokens.soft`.

        Args:
            prompt: from `prompt`.
            tokens: C answers of T positions on K candidates; K = V means all ids in order.
            output_spec: which outputs will be used.
        """
        return self.forward_all([ForwardRequest(prompt, tokens, output_spec)])[0]

    def forward_all(self, asks: Sequence[ForwardRequest]) -> list[ModelOutput]:
        """Run several prompts' answers in one forward pass; each result is that of `forward`.

        Raises:
            ArchitectureError: an answer is longer than `context_after` allows for its prompt.
        """
        for ask in asks:
            num_read = len(ask.prompt.ids) + ask.tokens.mask.shape[1]
            if self.has_boundary and num_read > (self.context_after(len(ask.prompt.ids)) or num_read):
                raise ArchitectureError(
                    f"{type(self.model).__name__} turns all positions in another way above "
                    f"{self.context_after(len(ask.prompt.ids))} tokens (longrope), and this prompt with its answer has "
                    f"{num_read}: shorten the answer, or use another model."
                )
        return list(self._forward.forward_all(asks))

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
        """Continue each prefix until an end id, `tokens` new tokens, or the end of the context.

        Args:
            prompt: from `prompt`.
            prefixes: C unfinished answers; one that ends with an end id is finished.
            tokens: the most new tokens for each.
            temperature: 0 takes the most likely token and draws nothing.
            generators: C, one for each row, so that no row depends on another.
            go_on: called before each step with the number of unfinished rows; False stops.
            steering: added to the rows' states at one layer.

        Returns:
            C lists of new ids, without prefix and end id.
        """
        state = self.start_generation(
            prompt, prefixes, tokens=tokens, temperature=temperature, generators=generators, steering=steering
        )
        while state.num_unfinished and go_on(state.num_unfinished):
            self.generate_step([state])
        return state.written

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
        """Start what `generate` does; `generate_step` adds the tokens."""
        return PolicyGeneration.start(
            prompt,
            prefixes,
            max_new_tokens=tokens,
            max_positions=self.context_after(len(prompt.ids)),
            temperature=temperature,
            generators=generators,
            steering=steering,
            end_ids=self.end_ids,
        )

    def generate_step(self, writings: Sequence[PolicyGeneration]) -> None:
        """Add one token to every unfinished row of all generations, in one forward pass."""
        self._forward.generate_step(writings, self._disallowed, self.end_ids)

    def prefill(self, prompt: PolicyPrompt, ids: Sequence[int], output_spec: OutputSpec) -> PolicyPrompt:
        """Append ids to the prompt's answer and compute their keys and values.

        Args:
            prompt: from `prompt` or `prefill`.
            ids: what follows.
            output_spec: the layers, and whether log π, that later outputs will be asked for.
        """
        return self._forward.prefill(prompt, ids, output_spec) if ids else prompt
