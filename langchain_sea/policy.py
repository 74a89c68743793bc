"""The frozen model that writes: prompts and their states, drafting, soft reading. Knows no reward."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from langchain_sea._drafting import by_length, choose, uniforms
from langchain_sea._head import Head, head_of
from langchain_sea._reader import Output, Reader
from langchain_sea._segments import Own, Segment, States
from langchain_sea._template import Template
from langchain_sea.errors import PromptTooLongError
from langchain_sea.protocols import ALL, NOTHING, Ask, Reading, Tokens, Wants

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["CausalLMPolicy", "PolicyPrompt"]

_COPIED = 4096  # positions of prompt that a few rows may hold twice, to write with one kernel a layer


@dataclass(frozen=True, slots=True, eq=False)
class PolicyPrompt:
    """A prompt with the states that the policy computed for it, once.

    Attributes:
        messages: the conversation, as it was given.
        ids: (P,) the prompt, from its begin token to where the answer begins.
        states: per layer keys and values, (H, P+N-1, d) each, of all ids and the answer's but the last.
        answer: (N,) what of the answer stands already.
        hidden: per layer that was wanted the answer's states, (N, D).
        log_probs: (N,) log π of the answer's ids, if they were wanted.
    """

    messages: tuple[dict[str, Any], ...]
    ids: tuple[int, ...]
    states: States
    answer: tuple[int, ...] = ()
    hidden: Mapping[int, Tensor] = field(default_factory=dict)
    log_probs: Tensor | None = None

    @property
    def key(self) -> Hashable:
        """The ids: equal for equal content."""
        return (self.ids, self.answer) if self.answer else self.ids

    @property
    def last(self) -> int:
        """The newest id, whose states are not there."""
        return (self.answer or self.ids)[-1]


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
        self._template = Template(tokenizer, chat_template)
        config = model.config.get_text_config()
        self.vocab_size: int = config.vocab_size
        self.context: int | None = getattr(config, "max_position_embeddings", None)
        self.device: torch.device = model.device
        self.end_ids = frozenset(_end_ids(model, tokenizer))
        known = set(tokenizer.get_vocab().values()) - self._template.special - self.end_ids
        self.banned = torch.tensor([i not in known for i in range(self.vocab_size)], device=self.device)
        self._never = self.banned.clone()  # what drafting never draws: an end id it may
        self._never[[i for i in self.end_ids if i < self.vocab_size]] = False
        self._made: tuple[Reader, Head] | None = None

    @property
    def _reader(self) -> Reader:
        return self._parts()[0]

    @property
    def _head(self) -> Head:
        return self._parts()[1]

    def _parts(self) -> tuple[Reader, Head]:
        """Made at the first use, and anew after pickling."""
        if self._made is None:
            self._made = Reader(self.model), head_of(self.model)
        return self._made

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_made": None}

    def encode(self, text: str) -> list[int]:
        """The ids of an answer's text, special tokens split as text, without begin or end tokens."""
        return self._template.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of an answer's ids, without special tokens."""
        return self._template.decode(ids)

    def prompt(
        self,
        messages: Sequence[dict[str, Any]],
        *,
        tools: Sequence[dict[str, Any]] | None = None,
        room: int = 0,
    ) -> PolicyPrompt:
        """Write a conversation as a prompt and read it once.

        Args:
            messages: template dicts, oldest first; no string in them can become a control token.
            tools: JSON schemas for the template.
            room: how many tokens the answer must have room for.

        Raises:
            ChatTemplateError: there is no chat template, or it rejects the messages.
            PromptTooLongError: prompt and room exceed the context.
        """
        return self.prompt_from_ids(self._template.chat(messages, tools), messages, room)

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
        return PolicyPrompt(tuple(messages), tuple(ids), self._reader.states(self._embed(rows)))

    def read(self, prompt: PolicyPrompt, tokens: Tokens, wants: Wants = ALL) -> Reading:
        """One forward of the answers after the prompt's states; differentiable in `tokens.soft`.

        Args:
            prompt: from `prompt`.
            tokens: C answers of T positions on K candidates; K = V stands for all ids in order.
            wants: what of the reading will be looked at.
        """
        return self.read_all([Ask(prompt, tokens, wants)])[0]

    def read_all(self, asks: Sequence[Ask]) -> list[Reading]:
        """The same for several prompts, in one forward; each is read as it is alone."""
        readings = [PolicyReading(self._head, ask.prompt) for ask in asks]
        segments = [self._segment(ask.prompt, ask.tokens) for ask in asks]
        wants = NOTHING
        for ask in asks:
            wants |= ask.wants
        layers = range(self._reader.layers + 1) if wants.layers is None else wants.layers
        outputs = self._reader.read(segments, layers=layers, last=wants.logits)
        for reading, output in zip(readings, outputs, strict=True):
            reading.output = output
        return list(readings)

    def _segment(self, prompt: PolicyPrompt, tokens: Tokens) -> Segment:
        last = self._embed(torch.tensor([[prompt.last]], device=self.device))  # (1, 1, D)
        soft, support = (part[:, len(prompt.answer) :].to(self.device) for part in tokens[:2])
        embeds = self._mix(soft, support).to(last.dtype)
        # no mask: padding stands on the right only, and causal attention keeps it from what stands before
        return Segment(
            torch.cat([last.expand(len(embeds), -1, -1), embeds], 1), prompt.states
        )  # (C, 1 + T, D)

    def extend(
        self,
        prompt: PolicyPrompt,
        prefixes: Sequence[Sequence[int]],
        *,
        tokens: int,
        temperature: float,
        generators: Sequence[torch.Generator],
        go_on: Callable[[int], bool] = lambda _rows: True,
    ) -> list[list[int]]:
        """Write on from each prefix, until an end id, `tokens` new tokens, or the end of the context.

        Args:
            prompt: from `prompt`.
            prefixes: C answers begun; one that ends with an end id is finished.
            tokens: the most new tokens for each.
            temperature: 0 takes the most likely token and draws nothing.
            generators: C, one for each row: what a row draws depends on its own alone.
            go_on: asked before each step with the number of rows in it; False stops all drafting.

        Returns:
            C lists of new ids, without prefix and end id.
        """
        writing = self.writing(
            prompt, prefixes, tokens=tokens, temperature=temperature, generators=generators
        )
        while writing.rows and go_on(writing.rows):
            self.write_all([writing])
        return writing.written

    def writing(
        self,
        prompt: PolicyPrompt,
        prefixes: Sequence[Sequence[int]],
        *,
        tokens: int,
        temperature: float,
        generators: Sequence[torch.Generator],
    ) -> Writing:
        """Answers begun, for `write_all`: what `extend` begins with."""
        draws = uniforms(generators if temperature > 0 else [], len(prefixes), tokens)
        written: list[list[int]] = [[] for _ in prefixes]
        groups = []
        for length, rows in by_length(prefixes, self.end_ids).items():
            read = len(prompt.ids) + len(prompt.answer) + length
            room = tokens if self.context is None else min(tokens, self.context - read)
            if room > 0:
                ids = [[prompt.last, *prefixes[row]] for row in rows]
                groups.append(_Group(prompt, rows, ids, room))
        return Writing(written, groups, draws, temperature)

    @torch.no_grad()
    def write_all(self, writings: Sequence[Writing]) -> None:
        """One token more in every row of each, in one forward."""
        groups = [(writing, group) for writing in writings for group in writing.groups if group.rows]
        if not groups:
            return
        segments = [
            Segment(self._embed(torch.tensor(g.ids, device=self.device)), g.shared, g.own) for _, g in groups
        ]
        lasts = [output.last[:, -1] for output in self._reader.read(segments) if output.last is not None]
        draws = torch.cat([w.draws[g.rows, len(w.written[g.rows[0]])] for w, g in groups])
        heats = torch.tensor([w.temperature for w, g in groups for _ in g.rows], device=self.device)
        logits = self._head.sweep_rows(torch.cat(lasts))
        chosen = [i for at, z in logits for i in choose(z, draws[at], heats[at], self._never)]
        for writing, group in groups:
            mine, chosen = chosen[: len(group.rows)], chosen[len(group.rows) :]
            group.take(mine, writing.written, self.end_ids)
        for writing in writings:
            writing.groups = [group for group in writing.groups if group.rows]

    @torch.no_grad()
    def continued(self, prompt: PolicyPrompt, ids: Sequence[int], wants: Wants) -> PolicyPrompt:
        """The prompt with more of the answer behind it, read once.

        Args:
            prompt: from `prompt`, or from here.
            ids: what follows.
            wants: the layers whose states later readings will be asked for, and whether for log π.
        """
        if not ids:
            return prompt
        rows = torch.tensor([[prompt.last, *ids]], device=self.device)
        segment = Segment(self._embed(rows), prompt.states)
        layers = range(self._reader.layers + 1) if wants.layers is None else wants.layers
        (output,) = self._reader.read([segment], layers=layers, keep=True)
        older = prompt.states or tuple((k[0, :, :0], v[0, :, :0]) for k, v in segment.states)
        # the newest id's states are read again with whatever follows it
        newer = ((keys[0, :, :-1], values[0, :, :-1]) for keys, values in segment.states)
        pairs = zip(older, newer, strict=True)
        states = tuple((torch.cat([k, k2], 1), torch.cat([v, v2], 1)) for (k, v), (k2, v2) in pairs)
        hidden = {layer: output.hidden[layer][0, 1:] for layer in layers}
        if prompt.answer:
            hidden = {layer: torch.cat([prompt.hidden[layer], new]) for layer, new in hidden.items()}
        log_probs = None
        if wants.logits and output.last is not None:
            log_probs = self._head.at(output.last[0, :-1], rows[0, 1:, None]).squeeze(-1)
            log_probs = log_probs if prompt.log_probs is None else torch.cat([prompt.log_probs, log_probs])
        answer = (*prompt.answer, *ids)
        return replace(prompt, states=states, answer=answer, hidden=hidden, log_probs=log_probs)

    def _mix(self, soft: Tensor, support: Tensor) -> Tensor:
        """Σₖ softₖ · embedding(k), (C, T, K) → (C, T, D), mixed in float32 or wider."""
        if soft.shape[-1] == self.vocab_size:
            table = _widened(self._embed(torch.arange(self.vocab_size, device=self.device)))  # (V, D)
            return torch.matmul(soft.to(table.dtype), table)
        ids, places = torch.unique(support, return_inverse=True)
        table = _widened(self._embed(ids))  # (U, D)
        places, weights = places.flatten(0, 1), soft.to(table.dtype).flatten(0, 1)
        # never (C, T, K, D): the bag sums as it reads, forward and backward
        return embedding_bag(places, table, mode="sum", per_sample_weights=weights).view(*soft.shape[:2], -1)

    @torch.no_grad()
    def _embed(self, ids: Tensor) -> Tensor:
        """Through the module, since some scale what they look up; the weights get no gradient."""
        embedded: Tensor = self.model.get_input_embeddings()(ids)
        return embedded


class PolicyReading:
    """What the policy made of answers; of the logits only those that are asked for."""

    output: Output

    def __init__(self, head: Head, prompt: PolicyPrompt) -> None:
        """Hold the output layer, and what the prompt knows; `output` follows."""
        self._head, self._prompt = head, prompt

    @property
    def _before(self) -> Tensor:
        """(C, T, D) the final states from which the token at t is predicted."""
        if self.output.last is None:
            raise LookupError("nobody said beforehand that the logits are wanted; see `Wants`.")
        return self.output.last[:, :-1]

    @cached_property
    def logits(self) -> Tensor:
        """(C, T, V), at least float32, of the tokens after the prompt's answer; kept once computed."""
        return self._head.logits(self._before)

    @property
    def hidden(self) -> Mapping[int, Tensor]:
        """Per layer that was wanted, (C, T, D), the last after the final norm; at least float32."""
        known = self._prompt.hidden
        return {
            layer: _widened(_behind(known.get(layer), states[:, 1:]))
            for layer, states in self.output.hidden.items()
        }

    def log_probs(self, tokens: Tokens) -> Tensor:
        """Σₖ softₖ · log π(k), (C, T); differentiable in the tokens."""
        stands = len(self._prompt.answer)
        new = Tokens(*(part[:, stands:] for part in tokens))
        if new.support.shape[-1] == len(self._head.weight):
            found = new.log_probs(self.logits)
        else:
            found = self._head.log_probs(self._before, new.soft, new.support)
        return _behind(self._prompt.log_probs, found)

    def candidates(self, ids: Tensor, size: int, banned: Tensor) -> tuple[Tensor, Tensor]:
        """The likeliest ids at each position and their log π, (C, T, K).

        Of the tokens after the prompt's answer; `ids`, (C, T), stand first, banned ones last.
        """
        support = self._head.top(self._before, ids, size, banned)
        return support, self._head.at(self._before, support)


def _behind(known: Tensor | None, new: Tensor) -> Tensor:
    """(C, N + T, …): what is known of N positions for all, (N, …), before what is new, (C, T, …)."""
    if known is None:
        return new
    return torch.cat([known.to(new.dtype).expand(len(new), *known.shape), new], 1)


@dataclass(slots=True, eq=False)
class Writing:
    """Answers to one prompt that are being written.

    Attributes:
        written: the new ids of each prefix.
        groups: the rows that go on, those with prefixes of one length together.
        draws: (C, tokens) in [0, 1).
        temperature: of sampling.
    """

    written: list[list[int]]
    groups: list[_Group]
    draws: Tensor
    temperature: float

    @property
    def rows(self) -> int:
        """How many still go on."""
        return sum(len(group.rows) for group in self.groups)


class _Group:
    """Rows whose prefixes are equally long: what they read next, and what they have read."""

    def __init__(self, prompt: PolicyPrompt, rows: list[int], ids: list[list[int]], room: int) -> None:
        """Copies of a short prompt stand in every row, a long one is shared."""
        self.rows, self.ids, self.room = rows, ids, room
        own = len(ids[0]) + room
        copied = len(rows) * (len(prompt.ids) + len(prompt.answer)) <= _COPIED
        self.own = Own.after(prompt.states, len(rows), own) if copied else Own(len(rows), own)
        self.shared = () if copied else prompt.states

    def take(self, chosen: list[int], written: list[list[int]], end_ids: frozenset[int]) -> None:
        """What was drawn for each row; those that end leave."""
        kept = [i for i, token in enumerate(chosen) if token >= 0 and token not in end_ids]
        if self.room > 1 and len(kept) < len(self.rows):
            self.own.keep(torch.tensor(kept, dtype=torch.long))  # first: memory may run out
        self.own.grow(len(self.ids[0]))
        self.room -= 1
        for i in kept:
            written[self.rows[i]].append(chosen[i])
        kept = kept if self.room else []
        self.rows = [self.rows[i] for i in kept]
        self.ids = [[chosen[i]] for i in kept]


def _end_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """What any of the places that name end ids says: one id, several, or none."""
    holders = (model.generation_config, model.config, model.config.get_text_config())
    named = [tokenizer.eos_token_id, *(getattr(holder, "eos_token_id", None) for holder in holders)]
    return {i for ids in named if ids is not None for i in ([ids] if isinstance(ids, int) else ids)}


def _widened(tensor: Tensor) -> Tensor:
    """In float32, or float64 as it is."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
