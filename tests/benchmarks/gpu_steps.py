"""Single passes on a GPU against their matrix products alone, which are replayed as one CUDA graph."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import torch
from speed_clock import Plan, ratio
from speed_shapes import PRESET, SHAPES, Subject, random_policy, random_term, subject
from speed_step import Step
from torch import Tensor, nn

from langchain_sea.core.terms import find_steering_vector
from langchain_sea.engine.generators import generators_for
from langchain_sea.engine.latent_gradient import LatentGradient, LatentGradientOp
from langchain_sea.engine.ops import ScorePrefixesOp
from langchain_sea.engine.scheduler import run_to_completion
from langchain_sea.plans import SearchPlan

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_sea.core.energy import Energy
    from langchain_sea.engine.ops import RequestSteps
    from langchain_sea.models.causal_lm import CausalLMPolicy, PolicyPrompt

WARM = 3  # calls before anything is timed
TINY: dict[str, Any] = {
    "vocab_size": 512,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much is measured; the defaults are what is reported."""

    chains: tuple[int, int] = (4, 50)  # rows, tokens
    many_chains: tuple[int, int] = (32, 12)
    groups: int = 2  # of the rows of a gradient in latents
    prompts: tuple[int, int] = (64, 512)
    rows: int = 128  # that are written together
    repeats: int = 21
    answer: dict[str, int] = field(default_factory=lambda: {"real": 64, "1b": 64, "8b": 256})  # tokens
    warm: dict[str, int] = field(default_factory=lambda: {"real": 2, "1b": 2, "8b": 1})  # questions that are not timed
    questions: dict[str, int] = field(default_factory=lambda: {"real": 5, "1b": 5, "8b": 2})
    together: int = 32  # requests of the speedup
    alone: int = 4  # of them, one after another
    short: int = 32  # tokens of their answers
    crowd: int = 64  # requests whose tokens are counted
    long: int = 128  # tokens of their answers
    plan: SearchPlan | None = None  # None: what fits into the time


FULL = Sizes()
DRY = Sizes(
    chains=(4, 6),
    many_chains=(4, 4),
    prompts=(12, 24),
    rows=4,
    repeats=2,
    answer=dict.fromkeys(("real", "1b", "8b"), 6),
    warm=dict.fromkeys(("real", "1b", "8b"), 1),
    questions=dict.fromkeys(("real", "1b", "8b"), 1),
    together=2,
    alone=1,
    short=2,
    crowd=2,
    long=2,
    plan=SearchPlan(groups=2, rows=2, rounds=2, tokens=3, kept=2),
)


@dataclass(frozen=True, slots=True)
class Bench:
    """What figures are measured on."""

    device: torch.device
    is_dry: bool = False
    compiles: bool = False

    @property
    def sizes(self) -> Sizes:
        """How much is measured."""
        return DRY if self.is_dry else FULL

    @property
    def plan(self) -> Plan:
        """How things are timed."""
        return Plan(self.sizes.repeats, self.device)

    def subject(self, shape: str) -> Subject:
        """The weights of a shape; of a dry run, tiny ones in its place."""
        if self.is_dry:
            return _tiny(shape)
        return subject(shape, str(self.device), torch.bfloat16 if shape in SHAPES else None, compiles=self.compiles)


@cache
def _tiny(shape: str) -> Subject:
    policy = random_policy(TINY, "cpu", torch.float32)
    return Subject(f"a tiny stand-in for {shape}", policy, (random_term(shape, policy),))


class Products:
    """Matrix products of a shape; operands of one size are one tensor."""

    def __init__(self, policy: CausalLMPolicy) -> None:
        """Begin without products."""
        self.policy, self.pairs = policy, []
        self._made: dict[tuple[int, int], Tensor] = {}
        self._random = torch.Generator(policy.device).manual_seed(0)

    def add_layers(self, rows: int, *, first: int = 0, to_input: bool = False) -> None:
        """Add every linear layer from a decoder layer on: forward, or from its output back to its input."""
        blocks = next(m for m in self.policy.model.base_model.modules() if isinstance(m, nn.ModuleList))
        for block in blocks[first:]:
            for module in block.modules():
                if isinstance(module, nn.Linear):
                    self._add(rows, module.weight, to_input=to_input)

    def add_output_layer(self, rows: int, *, to_input: bool = False) -> None:
        """Add the whole output layer."""
        self._add(rows, self.policy.model.get_output_embeddings().weight, to_input=to_input)

    def _add(self, rows: int, weight: Tensor, *, to_input: bool) -> None:
        right = weight.detach() if to_input else weight.detach().t()
        self.pairs.append((self._operand(rows, len(right)), right))

    def _operand(self, rows: int, width: int) -> Tensor:
        if (rows, width) not in self._made:
            drawn = torch.randn(rows, width, generator=self._random, device=self.policy.device)
            self._made[rows, width] = drawn.to(self.policy.model.dtype)
        return self._made[rows, width]

    @torch.no_grad()
    def __call__(self) -> None:
        """Run them, in the order in which they were added."""
        for left, right in self.pairs:
            torch.matmul(left, right)


class Replay:
    """Work that is launched as one CUDA graph; elsewhere than on a GPU it is simply done."""

    def __init__(self, work: Callable[[], None], device: torch.device) -> None:
        """Capture it."""
        self.work, self.graph = work, None  # the work holds the tensors that the graph reads
        if device.type != "cuda":
            return
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            call(work, WARM)
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            work()

    def __call__(self) -> None:
        """Do it once."""
        self.work() if self.graph is None else self.graph.replay()


def call(work: Callable[[], Any], times: int) -> None:
    """Call it so often."""
    for _ in range(times):
        work()


def compare(work: Callable[[], Any], products: Products, bench: Bench, what: str, **more: Any) -> dict[str, Any]:
    """The milliseconds of the work ÷ those of its products, in turns."""
    floor = Replay(products, bench.device)
    call(work, WARM)
    call(floor, WARM)
    milliseconds: dict[str, list[float]] = {"work": [], "floor": []}
    for _ in range(bench.sizes.repeats):
        milliseconds["work"].append(1000 * bench.plan.seconds(work))
        milliseconds["floor"].append(1000 * bench.plan.seconds(floor))
    how = "replayed as one CUDA graph" if bench.device.type == "cuda" else "run bare"
    what = f"{what} ÷ the {len(products.pairs)} matrix products it needs, {how}"
    figure = ratio(milliseconds, "work", "floor", what, **more)
    return figure | {"milliseconds": figure.pop("seconds")}


def graph_step(bench: Bench, shape: str, size: tuple[int, int]) -> dict[str, Any]:
    """One step of the chains, through the engine."""
    on, (chains, tokens), before = bench.subject(shape), size, bench.sizes.prompts[1]
    products = Products(on.policy)
    for to_input in (False, True):
        products.add_layers(chains * (tokens + 1), to_input=to_input)
        products.add_output_layer(chains * tokens, to_input=to_input)
    step = Step(on, on.prompt(before), chains, tokens)
    what = f"one step of {chains} chains of {tokens} tokens after a prompt of {before}; {on.name};"
    return compare(step, products, bench, what)


@dataclass(frozen=True, slots=True, eq=False)
class LatentStep:
    """The scores of draws, and the gradient in the latents under which they were drawn."""

    energy: Energy
    prompt: PolicyPrompt
    answers: list[list[int]]
    latents: Tensor  # (G, D)
    layer: int

    @classmethod
    def of(cls, on: Subject, prompt: PolicyPrompt, answers: list[list[int]], groups: int) -> LatentStep:
        """Latents of a hundredth of the width, at the layer that the search would take."""
        vector, layers = find_steering_vector(on.terms), on.policy.num_layers
        config = PRESET.search_config.latent
        assert config is not None
        layer = vector.layer if vector else min(max(1, round(config.depth * layers)), layers - 1)
        random = torch.Generator(on.policy.device).manual_seed(0)
        width = on.policy.model.config.hidden_size
        latents = torch.randn(groups, width, generator=random, device=on.policy.device) / 100
        return cls(on.energy, prompt, answers, latents, layer)

    def __call__(self) -> LatentGradient:
        """Do it once."""
        return run_to_completion(self.steps())

    def steps(self) -> RequestSteps[LatentGradient]:
        """As a round of the search does it."""
        config = PRESET.search_config.latent
        assert config is not None
        op = ScorePrefixesOp(self.energy, self.prompt, self.answers, self.layer)
        _, terms = yield op
        return (
            yield LatentGradientOp(
                policy=self.energy.policy,
                prompt=self.prompt,
                answers=self.answers,
                num_known=0,
                latents=self.latents,
                layer=self.layer,
                temperature=PRESET.search_config.drafts.temperature,
                energies=terms.energy,
                nll=terms.nll,
                divergence_weight=config.divergence_weight,
                advantages=config.sampler.advantages,
                start=op.batch.layer_input(self.layer),
            )
        )


def latent_step(bench: Bench) -> dict[str, Any]:
    """One scoring pass and one gradient in the latents, through the engine."""
    on, (rows, tokens), before = bench.subject("1b"), bench.sizes.chains, bench.sizes.prompts[1]
    step = LatentStep.of(on, on.prompt(before), on.starts(rows, tokens), bench.sizes.groups)
    products, positions = Products(on.policy), rows * (tokens + 1)
    products.add_layers(positions)
    products.add_output_layer(rows * tokens)
    products.add_layers(positions, first=step.layer)
    products.add_output_layer(rows * tokens)
    products.add_output_layer(rows * tokens, to_input=True)
    products.add_layers(positions, first=step.layer, to_input=True)
    what = (
        f"scoring {rows} draws of {tokens} tokens and one gradient in the latents of their {bench.sizes.groups} groups "
        f"at layer {step.layer}, after a prompt of {before}; {on.name};"
    )
    return compare(step, products, bench, what, layer=step.layer)


def decode(bench: Bench, before: int) -> dict[str, Any]:
    """One token more for many rows, in the middle of their answers."""
    on, rows = bench.subject("1b"), bench.sizes.rows
    prompt, steps = on.prompt(before), bench.sizes.repeats + 4 * WARM
    state = on.policy.start_generation(
        prompt,
        [[] for _ in range(rows)],
        tokens=steps,
        temperature=PRESET.search_config.drafts.temperature,
        generators=generators_for(0, prompt.key, rows, on.policy.device),
    )
    step = partial(on.policy.generate_step, [state])
    call(step, WARM)
    products = Products(on.policy)
    products.add_layers(rows)
    products.add_output_layer(rows)
    what = f"writing one token into each of {rows} answers to a prompt of {before}; {on.name};"
    figure = compare(step, products, bench, what)
    return figure | {"rows_at_the_end": state.num_unfinished}
