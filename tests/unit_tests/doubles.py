"""Doubles of policy and reward that live in memory."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import torch

from langchain_sea.budget import Budget
from langchain_sea.core.protocols import AnswerBatch, DenseModelOutput, Steering
from langchain_sea.engine.early_ends import MIN_END_CHANCE
from langchain_sea.engine.refine import refine
from langchain_sea.plans import SearchPlan
from langchain_sea.presets import PRESETS, SearchConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from langchain_sea.core.energy import Energy
    from langchain_sea.core.protocols import ForwardRequest, OutputSpec, Tokens
    from langchain_sea.engine.selection import Refinement
    from langchain_sea.sampling.langevin import Langevin

ALPHABET = "abcdefghijklmnop ."
END = len(ALPHABET)  # drafting may draw it, and then ends
UNKNOWN = END + 1  # in the logits, and no token of the tokenizer's
V = UNKNOWN + 1


class DoublePrompt(NamedTuple):
    """A prompt that is its text, and what stands of the answer."""

    text: str
    answer: tuple[int, ...] = ()
    before_opening: DoublePrompt | None = None
    opening: tuple[int, ...] = ()

    @property
    def key(self) -> str:
        return self.text

    @property
    def messages(self) -> tuple[dict[str, Any], ...]:
        return ({"role": "user", "content": self.text},)

    @property
    def has_grammar(self) -> bool:
        return False

    def complete(self, ids: Sequence[int], max_new_tokens: int) -> list[int]:
        return list(ids)


@dataclass
class DoubleWriting:
    """Answers of a double that are being written."""

    prompt: DoublePrompt
    prefixes: Sequence[Sequence[int]]
    written: list[list[int]]
    tokens: int
    temperature: float
    draws: list[Tensor]
    alive: list[int]
    steering: Steering | None = None

    @property
    def num_unfinished(self) -> int:
        return len(self.alive)


class MarkovPolicy:
    """A bigram policy whose tokens are characters; the first one depends on the prompt. Counts its reads.

    Its state at a token is the token's one-hot vector, and its logits are a linear function of the state. So a
    latent, (V,), is a soft token that is added to the last one.
    """

    num_layers = 2
    replays_graphs = False
    never_ends = False  # whether drafting never draws the end
    end_ids = frozenset({END})

    def __init__(self, seed: int = 0, *, dtype: torch.dtype = torch.float32, spread: float = 1.5) -> None:
        rng = torch.Generator().manual_seed(seed)
        self.transition = (spread * torch.randn(V, V, generator=rng, dtype=torch.float64)).to(dtype)
        self.banned = torch.arange(V) >= END
        self.device = torch.device("cpu")
        self.reads = 0

    def first(self, prompt: DoublePrompt) -> Tensor:
        """(V,) logits."""
        return self.transition[zlib.crc32(prompt.text.encode()) % V]

    def forward(
        self, prompt: DoublePrompt, tokens: Tokens, steering: Steering | None = None, temperature: float = 1.0
    ) -> DenseModelOutput:
        self.reads += 1
        soft = tokens.soft.to(self.transition.dtype)
        dense = soft.new_zeros(*soft.shape[:2], V).scatter_add(-1, tokens.support, soft)  # (C, T, V)
        first = self.first(prompt).expand(len(soft), 1, V)
        logits = torch.cat([first, dense[:, :-1] @ self.transition], 1)
        if steering is not None:
            pushed = (steering.vectors.to(self.transition) @ self.transition)[:, None]  # (C, 1, V)
            is_pushed = torch.arange(logits.shape[1]) >= len(prompt.answer)
            logits = logits + pushed * is_pushed[:, None]
        return DenseModelOutput(logits / temperature, (dense,) * (self.num_layers + 1), len(prompt.answer))

    def prefill(self, prompt: DoublePrompt, ids: Sequence[int], output_spec: OutputSpec) -> DoublePrompt:
        return prompt._replace(answer=(*prompt.answer, *ids))

    def forward_all(self, asks: Sequence[ForwardRequest]) -> list[DenseModelOutput]:
        return [self.forward(ask.prompt, ask.tokens, ask.steering, ask.temperature) for ask in asks]

    def start_generation(
        self,
        prompt: DoublePrompt,
        prefixes: Sequence[Sequence[int]],
        *,
        tokens: int,
        temperature: float,
        generators: Sequence[torch.Generator],
        steering: Steering | None = None,
    ) -> DoubleWriting:
        assert len(generators) == len(prefixes)
        assert all(i < END for prefix in prefixes for i in prefix)
        draws = [torch.rand(tokens, generator=g, dtype=torch.float64) for g in generators]
        alive = list(range(len(prefixes)))
        return DoubleWriting(prompt, prefixes, [[] for _ in prefixes], tokens, temperature, draws, alive, steering)

    def generate_step(self, writings: Sequence[DoubleWriting]) -> None:
        for writing in writings:
            for row in list(writing.alive):
                self._write(writing, row)

    def _write(self, writing: DoubleWriting, row: int) -> None:
        written = writing.written[row]
        seen = [*writing.prompt.answer, *writing.prefixes[row], *written]
        logits = self.transition[seen[-1]] if seen else self.first(writing.prompt)
        if writing.steering is not None:
            logits = logits + writing.steering.vectors[row].to(self.transition) @ self.transition
        # no answer begins with its end
        may_end = bool(seen) and not self.never_ends
        logits = logits.index_fill(0, torch.arange(UNKNOWN if may_end else END, V), -torch.inf)
        token = int(logits.argmax())
        if writing.temperature > 0:
            shares = (logits / writing.temperature).double().softmax(-1).cumsum(-1)
            token = int(torch.searchsorted(shares, writing.draws[row][len(written)], right=True))
        if token != END:
            written.append(token)
        if token == END or len(written) == writing.tokens:
            writing.alive.remove(row)

    def room_after(self, prompt: DoublePrompt) -> int | None:
        return None

    def encode(self, text: str) -> list[int]:
        return [ALPHABET.index(character) for character in text if character in ALPHABET]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(ALPHABET[i] for i in ids if i < END)


def could_end(policy: MarkovPolicy, ids: Sequence[int]) -> bool:
    """Whether a sentence is over, and the policy ends answers there often enough."""
    chance = float(policy.transition[ids[-1]].softmax(-1)[END]) if ids else 0.0
    return policy.decode(ids).endswith(".") and chance >= MIN_END_CHANCE


class EndlessPolicy(MarkovPolicy):
    """Never ends by itself, whatever is added to its states."""

    never_ends = True

    def forward(self, prompt: DoublePrompt, tokens: Tokens, *latent: Any) -> DenseModelOutput:
        output = super().forward(prompt, tokens, *latent)
        return output._replace(all_logits=output.all_logits.masked_fill(torch.arange(V) >= END, -1e4))


class MergingPolicy(MarkovPolicy):
    """Its text drops repeated characters and spaces in front, so encoding it again gives other ids."""

    def decode(self, ids: Sequence[int]) -> str:
        return re.sub(r"(.)\1+", r"\1", super().decode(ids)).lstrip(" ")


@dataclass(frozen=True)
class TokenReward:
    """A value for each token, summed over the answer; ranks and steers."""

    values: Tensor  # (V,)

    @classmethod
    def random(cls, seed: int, size: int = V, *, scale: float = 1.0) -> Self:
        return cls(scale * torch.randn(size, generator=torch.Generator().manual_seed(seed)))

    @classmethod
    def of(cls, character: str, value: float = 1.0) -> Self:
        """`value` for each occurrence of a character."""
        return cls(torch.zeros(V).index_fill(0, torch.tensor([ALPHABET.index(character)]), value))

    def score_soft(self, view: AnswerBatch) -> Tensor:
        tokens = view.tokens
        values = self.values.to(tokens.soft.dtype)[tokens.support]
        return ((tokens.soft * values).sum(-1) * tokens.mask).sum(-1)

    def score(self, view: AnswerBatch, texts: Sequence[str]) -> Tensor:
        rows = zip(view.tokens.ids, view.tokens.mask, strict=True)
        assert [view.policy.decode(ids[mask].tolist()) for ids, mask in rows] == list(texts)
        return self.score_soft(view)


@dataclass(frozen=True)
class PrefixReward(TokenReward):
    """A `TokenReward` that says that it can score the first tokens of an answer."""

    scores_prefixes: ClassVar[bool] = True


@dataclass(frozen=True)
class AdditiveReward(TokenReward):
    """A `TokenReward` that says that it is a sum over tokens."""

    is_token_additive: ClassVar[bool] = True


@dataclass(frozen=True)
class Vowels:
    """The share of vowels, times a sign; ranks, and cannot steer."""

    sign: float = 1.0

    def score(self, view: AnswerBatch, texts: Sequence[str]) -> Tensor:
        shares = [sum(c in "aeiou" for c in text) / max(1, len(text)) for text in texts]
        return self.sign * torch.tensor(shares, device=view.tokens.soft.device)


SMALL_PLAN = SearchPlan(groups=2, rows=4, rounds=4, tokens=3, kept=2)
"""Of latents, with as many steps as `shrunk` gives chains."""


def with_fields(config: SearchConfig, **fields: Any) -> SearchConfig:
    """A copy with other values, each field put into the group that has it."""
    for group in ("drafts", "chains", "continuation"):
        part = getattr(config, group)
        own = {name: fields.pop(name) for name in list(fields) if hasattr(part, name)}
        config = replace(config, **{group: replace(part, **own)})
    return replace(config, **fields)


SMALL_PRESET = replace(
    PRESETS["default"],
    search_config=with_fields(
        PRESETS["default"].search_config, num_drafts=4, num_kept=1, num_chains=2, plan=SMALL_PLAN
    ),
)
"""The default one with few chains and few draws: a plan alone counts for no reward that is a sum over tokens."""


def shrunk(name: str, **fields: Any) -> tuple[Langevin, SearchConfig]:
    """A preset's method and search, small enough for hundreds of runs."""
    preset = PRESETS[name]
    sizes: dict[str, Any] = {"num_chains": 2, "max_steps": 3, "num_drafts": 4, "num_kept": 2}
    if preset.search_config.block_size is not None:
        sizes |= {"block_size": 3, "plan": SMALL_PLAN}
    return preset.langevin, with_fields(preset.search_config, **{**sizes, **fields})


def run(
    energy: Energy,
    prompts: Sequence[Any],
    *,
    drafts: Sequence[Sequence[list[int]]] | None = None,
    preset: str = "default",
    langevin: Langevin | None = None,
    search_config: SearchConfig | None = None,
    budget: Budget | None = None,
    max_new_tokens: int = 8,
    seed: int = 0,
) -> list[Refinement]:
    """`refine` as a chat model calls it: generators by seed, prompt and chain."""
    method, small = shrunk(preset)
    return refine(
        prompts,
        drafts=drafts,
        energy=energy,
        seed=seed,
        langevin=langevin or method,
        budget=budget or Budget(max_time=None),
        max_new_tokens=max_new_tokens,
        search_config=search_config or small,
    )
