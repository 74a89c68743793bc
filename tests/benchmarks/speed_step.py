"""One step of the chains: against its own matrix products run bare, and what it does beside them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from speed_clock import Plan, middle, note, ratio, timed
from speed_shapes import PRESET, Subject, random_policy, random_term
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from langchain_sea.core.energy import Energy
from langchain_sea.engine.chains import Chains
from langchain_sea.engine.generators import generators_for
from langchain_sea.engine.scheduler import run_to_completion
from langchain_sea.models import lm_head
from langchain_sea.models.causal_lm import CausalLMPolicy

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_sea.models.causal_lm import PolicyPrompt

CHAINS, TOKENS, PROMPT = 4, 50, 512
SMALL: dict[str, Any] = {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
}


class Step:
    """Chains under the default preset, by default four of fifty tokens; a call moves each once."""

    def __init__(self, subject: Subject, prompt: PolicyPrompt, chains: int = CHAINS, tokens: int = TOKENS) -> None:
        """Read the starts and evaluate the energy there."""
        self.count = chains
        generators = generators_for(0, prompt.key, chains, subject.policy.device)
        self.chains = Chains(
            subject.energy,
            prompt,
            PRESET.langevin,
            PRESET.search_config,
            starts=subject.starts(chains, tokens),
            generators=generators,
        )
        run_to_completion(self.chains.begin())

    def __call__(self) -> None:
        """One step, of all chains; none is spared because its text still stands."""
        self.chains.state = self.chains.state._replace(cached_grad=None)
        run_to_completion(self.chains.step())
        assert len(self.chains) == self.count


class Product(NamedTuple):
    """One matrix product."""

    name: str
    left: Tensor
    right: Tensor

    @property
    def gflop(self) -> float:
        """Multiplications and additions."""
        return 2e-9 * self.left.numel() * self.right.shape[-1]

    @property
    def shapes(self) -> str:
        """As text."""
        sides = (f"{tuple(side.shape)}" for side in (self.left, self.right))
        return f"{' @ '.join(sides)} {str(self.left.dtype).removeprefix('torch.')}"


@dataclass(frozen=True, slots=True)
class Floor:
    """The matrix products that one step cannot do without, on the same weights and prompt states."""

    products: list[Product]

    @torch.no_grad()
    def __call__(self) -> None:
        """Run them bare, in the step's order."""
        for _, left, right in self.products:
            torch.matmul(left, right)

    @property
    def gflop(self) -> float:
        """Of all."""
        return sum(each.gflop for each in self.products)

    def show(self) -> None:
        """The list, on standard error."""
        groups: dict[tuple[str, str], list[Product]] = defaultdict(list)
        for each in self.products:
            groups[each.name, each.shapes].append(each)
        for (name, shapes), found in groups.items():
            note(f"  {name:<34} {len(found):>3} × {shapes:<60} {sum(p.gflop for p in found):8.2f} GFLOP")
        note(f"  {'all':<34} {len(self.products):>3}   {'':<60} {self.gflop:8.2f} GFLOP")

    @classmethod
    def of(cls, policy: CausalLMPolicy, prompt: PolicyPrompt) -> Floor:
        """Forward through the layers and the output layer, and back to the inputs alone."""
        make = _Maker(policy)
        positions = TOKENS + 1  # the prompt's last token is read with the answer
        forward, backward = make.trunk(prompt, CHAINS, positions)
        return cls([*forward, *make.head(CHAINS * TOKENS), *reversed(backward)])


class _Maker:
    """Operands of the step's shapes; those of one shape are one tensor."""

    def __init__(self, policy: CausalLMPolicy) -> None:
        self.policy, self.made = policy, {}
        self.random = torch.Generator(policy.device).manual_seed(0)

    def some(self, *shape: int, dtype: torch.dtype) -> Tensor:
        if (shape, dtype) not in self.made:
            drawn = torch.randn(shape, generator=self.random, device=self.policy.device)
            self.made[shape, dtype] = drawn.to(dtype)
        return self.made[shape, dtype]

    def trunk(self, prompt: PolicyPrompt, rows: int, positions: int) -> tuple[list[Product], list[Product]]:
        """Of every layer; the order inside one is that of its modules, attention first."""
        forward, backward = [], []
        count = rows * positions
        count += -count % 4  # as `packed_linear.pad_rows` does
        blocks = [m for m in self.policy.model.base_model.modules() if isinstance(m, nn.ModuleList)]
        for block, states in zip(blocks[0], prompt.key_values, strict=True):
            there, back = self.attention(states, rows, positions)
            forward += there
            backward += back
            for name, module in block.named_modules():
                if isinstance(module, nn.Linear):
                    weight, short = module.weight.detach(), name.split(".")[-1]
                    ins = self.some(count, weight.shape[1], dtype=weight.dtype)
                    outs = self.some(count, weight.shape[0], dtype=weight.dtype)
                    forward.append(Product(f"{short}, forward", ins, weight.t()))
                    backward.append(Product(f"{short}, to its input", outs, weight))
        return forward, backward

    def attention(
        self, states: tuple[Tensor, Tensor], rows: int, positions: int
    ) -> tuple[list[Product], list[Product]]:
        """Queries on the prompt's one copy of keys and values, and on the answers' own."""
        keys, values = states  # (H, P, d)
        groups, before, size = keys.shape
        queries = self.policy.model.config.num_attention_heads // groups * positions
        q = self.some(groups, rows * queries, size, dtype=keys.dtype)
        p = self.some(groups, rows * queries, before, dtype=keys.dtype)
        own_q = self.some(rows, groups, queries, size, dtype=keys.dtype)
        own_k = self.some(rows, groups, positions, size, dtype=keys.dtype)
        own_p = self.some(rows, groups, queries, positions, dtype=keys.dtype)
        forward = [
            Product("prompt scores, forward", q, keys.mT),
            Product("own scores, forward", own_q, own_k.mT),
            Product("prompt values, forward", p, values),
            Product("own values, forward", own_p, own_k),
        ]
        backward = [
            Product("prompt weights, backward", q, values.mT),
            Product("own weights, backward", own_q, own_k.mT),
            Product("own values, backward", own_p.mT, own_q),
            Product("prompt queries, backward", p, keys),
            Product("own queries, backward", own_p, own_k),
            Product("own keys, backward", own_p.mT, own_q),
        ]
        return forward, backward

    def head(self, rows: int) -> list[Product]:
        """Logits and their slope, some columns of the vocabulary at a time, as the step takes them."""
        weight = self.policy.model.get_output_embeddings().weight.detach()
        rows += -rows % 4
        states, found = self.some(rows, weight.shape[1], dtype=weight.dtype), []
        for start in range(0, len(weight), lm_head._COLUMNS):
            some = weight[start : start + lm_head._COLUMNS]
            shares = self.some(rows, len(some), dtype=weight.dtype)
            found.append(Product("output layer, forward", states, some.t()))
            found.append(Product("output layer, to its input", shares, some))
        return found


def step_over_floor(on: Subject, plan: Plan) -> dict[str, Any]:
    """The step and its products, in turns."""
    prompt = on.prompt(PROMPT)
    step, floor = Step(on, prompt), Floor.of(on.policy, prompt)
    note(f"the products of one step of {on.name}:")
    floor.show()
    with FlopCounterMode(display=False) as counter:
        step()
    counted = counter.get_total_flops() / 1e9
    note(f"  the step's own products, as counted: {counted:.2f} GFLOP")
    return ratio(
        plan.turns({"step": step, "floor": floor}),
        "step",
        "floor",
        f"one whole step of the chains ÷ the {len(floor.products)} matrix products it needs, run bare by "
        f"torch.matmul on the same weights and prompt states; {on.name}, prompt {PROMPT}, {TOKENS} tokens, "
        f"{CHAINS} chains, {torch.get_num_threads()} threads",
        gflop={"floor": round(floor.gflop, 2), "step": round(counted, 2)},
        dtype=str(on.dtype).removeprefix("torch."),
    )


def outside_fraction(on: Subject, plan: Plan) -> dict[str, Any]:
    """What of a step is neither forward nor backward."""
    step = Step(on, on.prompt(PROMPT))
    places = {
        "forward": (CausalLMPolicy, "forward_all"),
        "energy": (Energy, "at"),
        "backward": (torch.autograd, "grad"),
    }
    times: dict[str, list[float]] = {name: [] for name in (*places, "step")}
    step()
    for _ in range(plan.repeats):
        with timed(places, on.policy.device) as inside:
            times["step"].append(plan.seconds(step))
        for name in places:
            assert inside[name], f"nothing was timed in {name}: the step calls it by another name now"
            times[name].append(inside[name])
    shares = [1 - sum(times[n][i] for n in places) / whole for i, whole in enumerate(times["step"])]
    what = (
        "what is left of one step of the chains without the policy's forward, the energy made of it (the "
        f"output layer and the rewards) and the backward ÷ the whole step; {on.name}, as step_over_floor"
    )
    return middle(shares, what, times)


def peak(vocabulary: int, device: torch.device) -> int:
    """Bytes that the start of the chains and one step hold at once, beyond the weights and the prompt."""
    policy = random_policy(SMALL | {"vocab_size": vocabulary}, str(device), torch.float32)
    small = Subject("small", policy, (random_term("small", policy),))
    prompt = small.prompt(PROMPT)
    Step(small, prompt)()  # what is made once per policy

    def start_and_step() -> None:
        Step(small, prompt)()

    return most_held(start_and_step, device)


def most_held(work: Callable[[], Any], device: torch.device) -> int:
    """Bytes that are held at once while something is done, beyond what was held before."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    held = highest = 0
    events = (e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]")
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        highest = max(highest, held)
    return highest


def memory_v_ratio(plan: Plan) -> dict[str, Any]:
    """Peaks at two vocabularies; every allocation counts, those inside kernels too."""
    sizes = {"v8k": 8192, "v128k": 131_072}
    found = {name: [float(peak(size, plan.device)) for _ in range(2)] for name, size in sizes.items()}
    what = (
        "the most bytes that the chains' start and one step held at once, without weights and prompt, at "
        f"V = 131,072 ÷ at V = 8,192; a Llama of 4 layers, width 256, float32, support 128, prompt {PROMPT}, "
        f"{TOKENS} tokens, {CHAINS} chains; counted, not timed: two counts each"
    )
    figure = ratio(found, "v128k", "v8k", what)
    return figure | {"bytes": figure.pop("seconds")}
