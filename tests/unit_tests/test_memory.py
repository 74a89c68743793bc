"""What is computed at once where memory is short: it fails once, is remembered, and may rise again."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import torch
from doubles import DoublePrompt, EndlessPolicy, Vowels, with_fields
from hypothesis import given
from hypothesis import strategies as st
from machines import Clock
from test_static import ASKED, make_policies, make_prompt

from langchain_sea.budget import Budget, BudgetTracker
from langchain_sea.core.energy import Energy
from langchain_sea.core.terms import RewardTerm
from langchain_sea.engine.drafting import Drafter
from langchain_sea.engine.generators import generators_for
from langchain_sea.engine.memory import SizeLimit, get_size_limit, split_on_out_of_memory
from langchain_sea.engine.ops import GenerateOp, GenerationInput
from langchain_sea.engine.refinement import RefinementRequest
from langchain_sea.engine.scheduler import run_to_completion
from langchain_sea.engine.speed_model import SpeedModel, get_speed
from langchain_sea.errors import OutOfMemoryError
from langchain_sea.models.decode_arena import DecodeArena
from langchain_sea.models.static_forward import StaticRunner
from langchain_sea.presets import PRESETS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_sea.engine.drafting import Answer
    from langchain_sea.engine.ops import RequestSteps
    from langchain_sea.models.causal_lm import CausalLMPolicy
    from langchain_sea.models.decode_batch import DecodeShape


class Machine:
    """Has memory for so many items at once, and squares each."""

    def __init__(self, size: int) -> None:
        self.size, self.parts, self.failures = size, [], 0

    def run(self, items: Sequence[int]) -> RequestSteps[list[int]]:
        if len(items) > self.size:
            self.failures += 1
            raise OutOfMemoryError("no memory")
        self.parts.append(len(items))
        yield from ()
        return [item**2 for item in items]

    def compute(self, count: int, limit: SizeLimit) -> BudgetTracker:
        tracker = BudgetTracker(Budget())
        squares = run_to_completion(split_on_out_of_memory(self.run, range(count), tracker, limit))
        assert squares == [item**2 for item in range(count)]
        return tracker


@given(st.integers(1, 300), st.integers(1, 300))
def test_each_item_is_computed_once_in_order(size: int, count: int) -> None:
    machine = Machine(size)
    tracker = machine.compute(count, SizeLimit())
    assert sum(machine.parts) == count
    assert tracker.is_out_of_memory == (count > size)
    assert machine.failures <= count.bit_length() + 2  # twice as many are tried after 64 parts, and after 128 more


def test_a_size_that_failed_is_not_tried_at_once_again() -> None:
    """The report still says that memory is short."""
    machine, limit = Machine(32), SizeLimit()
    machine.compute(128, limit)
    assert (machine.failures, limit.size) == (2, 32)
    for _ in range(15):
        assert machine.compute(128, limit).is_out_of_memory
    assert (machine.failures, set(machine.parts)) == (2, {32})
    assert not machine.compute(32, limit).is_out_of_memory


def test_twice_as_many_are_tried_after_ever_more_successes() -> None:
    machine, limit, failures = Machine(32), SizeLimit(), []
    for number in range(1000):
        before = machine.failures
        machine.compute(128, limit)
        failures += [number] * (machine.failures - before)
    assert failures == [0, 0, 16, 48, 112, 240, 496]


def test_memory_that_is_free_again_is_used() -> None:
    machine, limit = Machine(4), SizeLimit()
    for _ in range(20):
        machine.compute(128, limit)
    machine.size = 128
    for _ in range(80):
        machine.compute(128, limit)
    assert machine.parts[-1] == 128


def test_few_items_say_nothing_of_many() -> None:
    machine, limit = Machine(32), SizeLimit()
    machine.compute(128, limit)
    for _ in range(1000):
        machine.compute(8, limit)
    assert limit.size == 32


def test_where_not_one_fits_their_number_is_not_the_cause() -> None:
    machine, limit = Machine(0), SizeLimit()
    with pytest.raises(OutOfMemoryError):
        machine.compute(128, limit)
    machine.size = 128
    machine.compute(128, limit)
    assert machine.parts == [128]


def test_a_failure_beside_others_does_not_raise_the_limit() -> None:
    """Two requests may have begun with more rows than the limit is now."""
    limit = SizeLimit()
    for size in (128, 64, 128):
        limit.count_failure(size)
    assert limit.size == 32


def test_rows_that_need_several_passes_are_expected_to_take_as_long() -> None:
    speed = SpeedModel()
    speed.record_decode(32, 0.01)
    speed.max_rows = 32
    assert speed.decode(32) == pytest.approx(0.01)
    assert speed.decode(128) == pytest.approx(0.04)


def draw(policy: CausalLMPolicy, counts: Sequence[int]) -> list[list[Answer]]:
    """Answers to two prompts, which share passes."""
    generators = [torch.Generator().manual_seed(seed) for seed in range(sum(counts))]
    drafter = Drafter(policy, 1.0, generators, BudgetTracker(Budget(max_time=None)))
    inputs = [
        GenerationInput(make_prompt(policy, asked), [[]] * count) for asked, count in zip(ASKED, counts, strict=True)
    ]
    return run_to_completion(drafter.write(inputs, 5))[0]


def test_rows_of_a_policy_fail_once_and_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """All graphs are dropped where rows do not fit, so that it must not happen with every round of draws."""
    (_, roomy), (_, narrow) = make_policies("llama"), make_policies("llama")
    expected = draw(roomy, (40, 9))
    get_batch, failures = DecodeArena.get_batch, []

    def get_small_batch(arena: DecodeArena, shape: DecodeShape, *args: object) -> object:
        if shape.num_rows > 16:
            failures.append(shape.num_rows)
            raise torch.OutOfMemoryError("CUDA out of memory")
        return get_batch(arena, shape, *args)

    monkeypatch.setattr(DecodeArena, "get_batch", get_small_batch)
    draw(narrow, (40, 9))  # what failed has used random numbers
    assert failures == [64, 32]
    assert [draw(narrow, (40, 9)) for _ in range(3)] == [expected] * 3
    assert len(failures) == 2
    assert get_size_limit(narrow, GenerateOp).size == get_speed(narrow).max_rows == 12


def test_answers_end_with_the_first_input_also_where_they_are_not_beside_it() -> None:
    """Memory suffices for two at a time: the others must not cut each other short, nor be longer than beside it."""
    policy, _ = make_policies("llama")
    get_size_limit(policy, GenerateOp).size = 2
    drafter = Drafter(policy, 1.0, make_generators(5), BudgetTracker(Budget(max_time=None)))
    inputs = [
        GenerationInput(make_prompt(policy, asked), [[]] * count) for asked, count in zip(ASKED, (1, 4), strict=True)
    ]
    steps, ops = drafter.write(inputs, 5, ends_with_first=True), list[tuple[bool, int]]()
    op = next(steps)
    with suppress(StopIteration):
        while True:
            assert isinstance(op, GenerateOp)
            ops.append((op.ends_with_first, op.tokens))
            op = steps.send([[[7] for _ in each.prefixes] for each in op.inputs])
    assert ops == [(True, 5), (False, 2), (False, 2)]


class SlowPolicy(EndlessPolicy):
    """Its answers never end, and each of its steps takes a second of the clock."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(0)
        self.clock = clock

    def generate_step(self, writings: Sequence[Any]) -> None:
        self.clock.now += 1.0
        super().generate_step(writings)


def test_answers_of_a_later_pass_that_the_time_cuts_have_not_ended() -> None:
    """Though they are shorter than those of the first pass, which had the whole time."""
    clock = Clock()
    policy = SlowPolicy(clock)
    get_size_limit(policy, GenerateOp).size = 2
    tracker = BudgetTracker(Budget(max_time=28.0), 20, clock=clock)
    tracker.start_refinement()
    drafter = Drafter(policy, 1.0, make_generators(5), tracker)
    inputs = [GenerationInput(DoublePrompt("q"), [[]] * 5)]
    (answers,), (unfinished,), is_cut = run_to_completion(drafter.write(inputs, 20))
    assert [len(ids) for ids in answers] == [20, 20, 8, 8, 0]
    assert unfinished == [True] * 5
    assert is_cut


@pytest.mark.parametrize("seed", range(3))
def test_no_answer_that_the_time_cuts_is_whole(seed: int) -> None:
    """In blocks, too; the policy never ends an answer, so that all of them have the largest length."""
    config = with_fields(PRESETS["default"].search_config, num_drafts=8, latent=None, block_size=3)
    for seconds in range(20, 160, 5):
        clock = Clock()
        policy = SlowPolicy(clock)
        get_size_limit(policy, GenerateOp).size = 3
        terms = (RewardTerm(reward=Vowels(), name="r"),)
        energy = Energy(policy=policy, terms=terms, policy_weight=0.0, max_nll_rise=None)
        tracker = BudgetTracker(Budget(max_time=float(seconds)), 20, clock=clock)
        generators = generators_for(seed, "q", 8, policy.device)
        request = RefinementRequest(
            DoublePrompt(f"q{seed}"), [], energy, PRESETS["default"].langevin, config, generators, tracker
        )
        assert len(run_to_completion(request.steps()).ids) == 20


def test_a_pass_without_memory_gives_back_what_decoding_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that are not finished go on where they were."""
    written = []
    for policy in make_policies("llama"):
        runner = policy._forward._runner
        states = [
            policy.start_generation(
                make_prompt(policy, asked), [[], [5, 6]], tokens=9, temperature=1.0, generators=make_generators(2)
            )
            for asked in ASKED
        ]
        for number in range(9):
            policy.generate_step(states)
            if isinstance(runner, StaticRunner) and number in {2, 5}:
                decoder = policy._forward._decoder
                assert decoder is not None
                with monkeypatch.context() as patched:
                    patched.setattr("langchain_sea.models.static_decode._Parked", run_out_of_memory)
                    runner.release_memory()  # the copies do not fit: all stays
                    assert decoder._arena.num_positions
                runner.release_memory()
                assert (decoder._arena.num_positions, len(decoder._arena.batches)) == (0, 0)
        written.append([state.written for state in states])
    assert written[0] == written[1]


def make_generators(count: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in range(count)]


def run_out_of_memory(*_args: object) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory")
