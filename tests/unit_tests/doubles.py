"""Doubles of policy and reward that live in memory, and random problems made of them."""

from __future__ import annotations

import random
import re
import zlib
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import torch

from langchain_sea.budget import Budget
from langchain_sea.core.energy import Energy
from langchain_sea.core.limits import TextLimits
from langchain_sea.core.protocols import AnswerBatch, DenseModelOutput, Steering
from langchain_sea.core.terms import RewardTerm
from langchain_sea.engine.refine import refine
from langchain_sea.plans import SearchPlan
from langchain_sea.presets import PRESETS, LatentConfig, SearchConfig
from langchain_sea.sampling.langevin import Langevin
from langchain_sea.sampling.latent import LatentSampler
from langchain_sea.sampling.relaxation import Relaxation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from langchain_sea.core.protocols import ForwardRequest, OutputSpec, Prompt, Reward, Tokens
    from langchain_sea.engine.selection import Refinement

ALPHABET = "abcdefghijklmnop ."
END = len(ALPHABET)  # drafting may draw it, and then ends
UNKNOWN = END + 1  # in the logits, and no token of the tokenizer's
V = UNKNOWN + 1


class DoublePrompt(NamedTuple):
    """A prompt that is its text, and what stands of the answer."""

    text: str
    answer: tuple[int, ...] = ()

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
    never_ends = False  # whether drafting never draws the end

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

    def encode(self, text: str) -> list[int]:
        return [ALPHABET.index(character) for character in text if character in ALPHABET]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(ALPHABET[i] for i in ids if i < END)


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


@dataclass
class Troubled:
    """A reward whose call number `at` goes wrong: `mishap` gets its values and returns others, or raises.

    With `only`, it goes wrong at prompts with that text alone. With `is_token_additive` or `scores_prefixes` it says
    that of itself.
    """

    mishap: Callable[[Tensor], Tensor]
    reward: TokenReward = field(default_factory=lambda: TokenReward.random(0))
    at: int = 0
    where: str = "score"
    only: str | None = None
    calls: int = 0
    is_token_additive: bool = False
    scores_prefixes: bool = False

    def score(self, view: AnswerBatch, texts: Sequence[str]) -> Tensor:
        return self._troubled("score", view, self.reward.score(view, texts))

    def score_soft(self, view: AnswerBatch) -> Tensor:
        return self._troubled("score_soft", view, self.reward.score_soft(view))

    def _troubled(self, where: str, view: AnswerBatch, values: Tensor) -> Tensor:
        if where != self.where or self.only not in (None, view.prompt.key):
            return values
        self.calls += 1
        return self.mishap(values) if self.calls > self.at else values


def raises(error: BaseException) -> Callable[[Tensor], Tensor]:
    """A mishap."""

    def mishap(_values: Tensor) -> Tensor:
        raise error

    return mishap


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


class Case(NamedTuple):
    """One random problem with its method and limits."""

    energy: Energy
    langevin: Langevin
    search_config: SearchConfig
    budget: Budget
    max_new_tokens: int
    prompt: Prompt
    drafts: list[list[int]]
    seed: int


def random_case(seed: int, *, transformers: float = 0.02) -> Case:
    """A problem of any kind, decided by the seed; that share of them has a transformer for its policy."""
    rng = random.Random(seed)  # noqa: S311 - a test's own draws
    policy, prompt = _random_policy(rng, transformers)
    preset = PRESETS[rng.choice(list(PRESETS))]
    method, search_config = shrunk(
        preset.name,
        num_chains=rng.randint(1, 3),
        max_steps=rng.randint(0, 6),
        num_drafts=rng.randint(1, 5),
        num_kept=rng.randint(0, 3),
        temperature=rng.choice([0.0, 0.8, 1.5]),
        patience=rng.choice([None, 1, 3]),
        stride=rng.choice([1, 3, 5, 64]),
    )
    if rng.random() < 0.7:
        search_config = with_fields(search_config, num_candidates=rng.choice([None, 1, 5]), top_k=None)
    if rng.random() < 0.2:
        search_config = replace(search_config, block_size=rng.choice([None, 1, 4, 12]))
    if rng.random() < 0.7:
        noise = rng.choice([0.0, 1.0, 5.0])
        method = rng.choice(
            [
                Langevin(kernel="ula", step_size=rng.choice([0.1, 1.0, 10.0]), noise_scale=noise),
                Langevin(kernel="mala", step_size=rng.choice([0.1, 1.0])),
                Langevin(kernel="adam", step_size=rng.choice([0.5, 3.0]), noise_scale=noise),
                Langevin(kernel="adam", noise="transient", schedule=((0, 2.0), (2, 0.5))),
            ]
        )
    relaxations = [preset.policy_relaxation, preset.reward_relaxation]
    if rng.random() < 0.7:
        relaxations = [
            Relaxation(kind=rng.choice(["soft", "straight_through", "entropy_mixed"]), tau=rng.choice([0.1, 1]))
            for _ in range(2)
        ]
    if search_config.plan is not None:
        search_config = replace(search_config, plan=_random_plan(rng), latent=_random_latent(rng))
    energy = Energy(
        policy=policy,
        terms=_random_terms(rng),
        policy_weight=rng.choice([0.0, 0.1, 0.3, 1.0]),
        policy_gradient=rng.choice([True, False]),
        policy_relaxation=relaxations[0],
        reward_relaxation=relaxations[1],
        max_nll_rise=rng.choice([None, 0.0, 0.5]),
        limits=rng.choice([None, TextLimits(), TextLimits(min_gain_spreads=0.0)]),
    )
    steps, seconds = rng.choice([None, 0, 1, 2, 6]), rng.choice([None, None, None, 0.001, 0.01])
    max_new_tokens = rng.choice([1, 2, 6, 10])
    if seconds is not None:
        search_config = replace(search_config, plan=None)  # with a plan, time is no limit
    budget = Budget(max_steps=steps, max_time=seconds, max_evaluations=rng.choice([None, None, 1, 5, 20]))
    answers = [[rng.randrange(END) for _ in range(rng.randint(0, 9))] for _ in range(rng.randint(1, 3))]
    drafts = rng.choice([[], [], [policy.encode(policy.decode(ids)) for ids in answers]])
    return Case(energy, method, search_config, budget, max_new_tokens, prompt, drafts, seed)


def _random_policy(rng: random.Random, transformers: float) -> tuple[Any, Any]:
    if rng.random() >= transformers:
        kind = rng.choice([MarkovPolicy, MarkovPolicy, MergingPolicy])
        return kind(rng.randrange(50)), DoublePrompt(f"question {rng.randrange(9)}")
    policy = transformer_policy(rng.choice(["llama", "qwen3", "gpt2"]))
    return policy, policy.prompt([{"role": "user", "content": f"question {rng.randrange(9)}"}])


@cache
def transformer_policy(architecture: str) -> Any:
    """A tiny random transformer behind the real policy."""
    from architectures import tiny_model, tiny_tokenizer

    from langchain_sea.models.causal_lm import CausalLMPolicy

    return CausalLMPolicy(tiny_model(architecture), tiny_tokenizer())


def _random_plan(rng: random.Random) -> SearchPlan:
    return SearchPlan(
        groups=rng.randint(1, 3),
        rows=rng.randint(1, 4),
        rounds=rng.randint(1, 4),
        tokens=rng.choice([1, 3, 12]),
        kept=rng.randint(1, 4),
    )


def _random_latent(rng: random.Random) -> LatentConfig | None:
    if rng.random() < 0.2:
        return None
    sampler = LatentSampler(
        step_size=rng.choice([0.15, 3.0]),
        max_norm=rng.choice([None, 0.9]),
        noise_scale=rng.choice([0.0, 1.0]),
        prior_scale=rng.choice([None, 0.5]),
        normalize=rng.choice([True, False]),
        estimator=rng.choice(["bound", "marginal"]),
    )
    update = rng.choice(["gradient", "gradient", "random", "aisp", "none"])
    return LatentConfig(sampler=sampler, update=update, divergence_weight=rng.choice([0.0, 0.5]))


def _random_terms(rng: random.Random) -> tuple[RewardTerm, ...]:
    size = 320  # wide enough for every double
    rewards: list[tuple[str, Reward]] = [
        ("soft", TokenReward.random(rng.randrange(50), size)),
        ("steep", TokenReward.random(rng.randrange(50), size, scale=30.0)),
        ("prefix", PrefixReward.random(rng.randrange(50), size)),
        ("additive", AdditiveReward.random(rng.randrange(50), size)),
        ("negative", TokenReward(-TokenReward.random(rng.randrange(50), size).values.abs())),
        ("constant", TokenReward(torch.zeros(size))),
        ("callable", Vowels()),
        ("against", Vowels(-1.0)),
    ]
    return tuple(
        RewardTerm(
            reward=reward,
            name=name,
            weight=rng.choice([0.0, 0.5, 1.0]),
            center=rng.random(),
            scale=rng.choice([1, 7]),
            min_gain=rng.choice([None, None, 0.2]),
        )
        for name, reward in rng.sample(rewards, rng.randint(0, 3))
    )


def refined(case: Case) -> Refinement:
    """The case's refinement."""
    (refinement,) = run(
        case.energy,
        [case.prompt],
        drafts=[case.drafts],
        langevin=case.langevin,
        search_config=case.search_config,
        budget=case.budget,
        max_new_tokens=case.max_new_tokens,
        seed=case.seed,
    )
    return refinement


def broken_promises(case: Case, found: Refinement) -> list[str]:
    """What the refinement promised and did not keep, by an evaluation of its own of both texts.

    A forward over two texts and one over many round differently: scores are equal within 1e-5 of their size.
    """
    policy, broken = case.energy.policy, []
    terms = case.energy.evaluate_texts(case.prompt, [found.draft, found.text])
    (before, after), (nll_before, nll_after) = (-terms.energy).tolist(), terms.nll.tolist()
    slack = 1e-5 * (1 + abs(before))
    rise = case.energy.max_nll_rise
    if after < before - slack:
        broken.append(f"worse: {after} < {before}")
    if found.accepted != (found.text != found.draft):
        broken.append("accepted, and the text is the draft's, or the reverse")
    if found.accepted and found.after.score <= found.before.score:
        broken.append("a tie did not stay with the draft")
    if rise is not None and found.accepted and nll_after > nll_before + rise + slack:
        broken.append(f"broken text: {nll_after} nats per token after {nll_before}")
    limits = case.energy.limits
    if limits is not None and found.accepted and limits.excess(found.after, found.before):
        broken.append(f"a text beyond the limits: {found.after} after {found.before}")
    if list(found.ids) != policy.encode(found.text):
        broken.append("ids are not the text's")
    if case.drafts and found.draft != policy.decode(case.drafts[0]):
        broken.append("the draft is not the given one")
    if found.failure is not None or found.before is None or found.after is None:
        broken.append(f"failed: {found.failure!r}")
    return broken
