"""One prompt's chains: their start, their end, what they may say, and whose randomness they use."""

import pickle
from dataclasses import FrozenInstanceError

import pytest
import torch
from doubles import END, DoublePrompt, MarkovPolicy, TokenReward, V, with_fields
from hypothesis import given, settings
from hypothesis import strategies as st
from troubled_rewards import Troubled, raises

from langchain_sea.core.energy import Energy
from langchain_sea.core.protocols import Tokens
from langchain_sea.core.terms import RewardTerm
from langchain_sea.engine.chains import Chains
from langchain_sea.engine.generators import generators_for
from langchain_sea.engine.scheduler import run_to_completion
from langchain_sea.presets import PRESETS, ChainConfig, DraftConfig, SearchConfig, find_preset
from langchain_sea.sampling.langevin import Langevin
from langchain_sea.sampling.relaxation import Relaxation

property_ = settings(derandomize=True, max_examples=40)
seeds = st.integers(0, 2**31)
PROMPT = DoublePrompt("why?")
CPU = torch.device("cpu")
ULA = Langevin(kernel="ula", step_size=1.0)
STARTS = [[0, 1, 2], [3, 4], [5]]
relaxations = st.builds(
    Relaxation, kind=st.sampled_from(["soft", "straight_through", "entropy_mixed"]), tau=st.sampled_from([0.1, 1.0])
)


def chains_of(
    starts=STARTS, *, seed=0, reward=None, langevin=ULA, search_config=None, count=None, policy=None, **options
):
    reward = reward or TokenReward.random(seed)
    energy = Energy(policy=policy or MarkovPolicy(seed), terms=(RewardTerm(reward=reward, name="r"),), **options)
    chains = Chains(
        energy,
        PROMPT,
        langevin,
        search_config or SearchConfig(chains=ChainConfig(num_chains=len(starts), num_candidates=None), block_size=None),
        starts=starts,
        generators=generators_for(seed, PROMPT.key, count or len(starts), CPU),
    )
    run_to_completion(chains.begin())
    return chains


def draws(generators):
    return [torch.rand((), generator=g).item() for g in generators]


@property_
@given(seeds, st.text(), st.integers(1, 6), st.integers(0, 6))
def test_a_generator_is_decided_by_seed_key_and_chain(seed, key, count, more):
    """More chains change nothing for the earlier ones; another seed, key or chain draws otherwise."""
    first = draws(generators_for(seed, key, count, CPU))
    assert draws(generators_for(seed, key, count + more, CPU))[:count] == first
    others = draws(generators_for(seed + 1, key, count, CPU)) + draws(generators_for(seed, key + "!", count, CPU))
    assert len({*first, *others}) == 3 * count


@property_
@given(
    seeds,
    st.lists(st.lists(st.integers(0, END - 1), min_size=1, max_size=5), min_size=1, max_size=3),
    relaxations,
    st.sampled_from([None, 1, 5, V + 3]),
    st.sampled_from(["ula", "mala", "adam"]),
)
def test_chains_start_at_their_drafts(seed, starts, relaxation, support, kernel):
    """The argmax at step 0 is the draft, for every relaxation, support and kernel without noise there."""
    search_config = SearchConfig(chains=ChainConfig(num_chains=len(starts), num_candidates=support), block_size=None)
    chains = chains_of(
        starts,
        seed=seed,
        search_config=search_config,
        langevin=Langevin(kernel=kernel),
        policy_relaxation=relaxation,
        reward_relaxation=relaxation,
    )
    assert chains.state.answers() == starts
    assert chains.trace([None] * len(starts)).changed == (0,) * len(starts)


@property_
@given(seeds, st.sampled_from([None, 5, V]), st.sampled_from([None, 3, V + 9]))
def test_banned_ids_are_never_said(seed, support, top):
    """Not for any noise, nor where a reward loves them; the energy does not see them either."""
    search_config = SearchConfig(
        chains=ChainConfig(num_candidates=None if top else support, top_k=top, init_temperature=1e4, init_margin=0.01),
        drafts=DraftConfig(temperature=0.0),
        block_size=None,
    )
    reward = TokenReward(100.0 * (torch.arange(V) >= END))
    method = Langevin(kernel="ula", step_size=300.0)
    chains = chains_of(seed=seed, reward=reward, search_config=search_config, langevin=method)
    for _ in range(5):
        run_to_completion(chains.step())
        assert all(i < END for ids in chains.state.answers() for i in ids)
        assert chains.state.terms.rewards.abs().max() < 1e-3


def test_a_given_token_may_stand_though_it_is_banned():
    """What the draft holds, the start holds."""
    assert chains_of([[0, END, 1]]).state.answers() == [[0, END, 1]]


@pytest.mark.parametrize("policy_weight", [0.3, 0.0])
@pytest.mark.parametrize("top", [1, 3])
def test_only_the_likeliest_tokens_are_said(policy_weight, top):
    """Every token is among the policy's `top` at the tokens so far, whether or not it has weight."""
    search_config = SearchConfig(chains=ChainConfig(num_candidates=None, top_k=top, init_margin=1.0), block_size=None)
    policy = MarkovPolicy(2)
    chains = chains_of(
        policy=policy,
        search_config=search_config,
        policy_weight=policy_weight,
        policy_relaxation=Relaxation(kind="soft", tau=0.1),
        reward=TokenReward.random(2, scale=20.0),
    )
    said = set()
    for _ in range(6):
        point = chains.state.space.masked(chains.state.sampler.position)
        soft = chains.evaluator.energy.policy_relaxation(point)
        logits = policy.forward(PROMPT, Tokens(soft, chains.state.space.support, chains.state.space.mask)).logits
        logits = logits.masked_fill(policy.banned, -torch.inf)
        rank = (logits > logits.gather(-1, chains.state.ids[..., None])).sum(-1)
        assert rank[chains.state.space.mask].max() < top
        said.update(map(tuple, chains.state.answers()))
        run_to_completion(chains.step())
    assert top == 1 or len(said) > 1


def test_chains_keep_to_their_generators():
    """A chain's path is its own: the same alone, beside others, and after another has ended."""
    together, single = chains_of(), chains_of([STARTS[0]], count=1)
    for _ in range(4):
        run_to_completion(together.step())
        run_to_completion(single.step())
        torch.testing.assert_close(together.state.sampler.position[:1], single.state.sampler.position)


class Poisoned(TokenReward):
    """Not finite for any chain that starts with the token 3, once `armed`."""

    armed = False

    def score_soft(self, view):
        value = super().score_soft(view)
        hit = (view.tokens.support[:, 0] == 3).float().mul(view.tokens.soft[:, 0]).sum(-1) > 0.5
        return value / (1 - (hit & self.armed).float())


def armed(reward):
    object.__setattr__(reward, "armed", True)
    return reward


@pytest.mark.parametrize("kernel", ["ula", "adam"])
def test_a_chain_that_is_not_finite_ends_alone(kernel):
    """The others go on as if it had never been, with their own names, generators and masks."""
    method, poisoned = Langevin(kernel=kernel, step_size=0.01), Poisoned.random(0)
    chains = chains_of(reward=poisoned, langevin=method)
    healthy = chains_of(reward=TokenReward.random(0), langevin=method)
    for n in range(4):
        object.__setattr__(poisoned, "armed", n == 1)
        chains.state = chains.state._replace(cached_grad=None)  # read again, though the text may stand
        run_to_completion(chains.step())
        run_to_completion(healthy.step())
        assert list(chains.state.numbers) == ([0, 1, 2] if n == 0 else [0, 2])
        torch.testing.assert_close(
            chains.state.sampler.position, healthy.state.sampler.position[list(chains.state.numbers)]
        )
        assert chains.state.answers() == [healthy.state.answers()[name] for name in list(chains.state.numbers)]
    assert chains.trace([0.0, 0.0]).chains == (0, 2)
    assert (
        len(chains.state.terms.energy)
        == len(chains.state.generators)
        == len(chains.state.steps_unchanged)
        == len(chains)
        == 2
    )


def test_a_start_that_is_not_finite_ends_alone():
    """At the first evaluation too, whatever the kernel."""
    for kernel in ("ula", "adam", "mala"):
        chains = chains_of(reward=armed(Poisoned.random(0)), langevin=Langevin(kernel=kernel))
        assert list(chains.state.numbers) == [0, 2]


class Counted(MarkovPolicy):
    """Keeps how many answers each forward held."""

    def __init__(self, seed):
        super().__init__(seed)
        self.rows = []

    def forward(self, prompt, tokens, *latent):
        self.rows.append(len(tokens.soft))
        return super().forward(prompt, tokens, *latent)


@property_
@given(seeds, st.sampled_from(["ula", "adam", "mala"]), st.sampled_from([None, 5]))
def test_a_text_that_stands_is_read_once(seed, kernel, support):
    """With straight-through tokens the walk is that of reading every chain at every step."""
    method = Langevin(kernel=kernel, step_size=0.3)
    search_config, walks, reads = (
        SearchConfig(chains=ChainConfig(num_chains=3, num_candidates=support), block_size=None),
        [],
        [],
    )
    for keeps in (True, False):
        policy = Counted(seed)
        chains = chains_of(seed=seed, policy=policy, langevin=method, search_config=search_config)
        for _ in range(6):
            if not keeps:
                chains.state = chains.state._replace(cached_grad=None)
            run_to_completion(chains.step())
        walks.append((chains.state.sampler.position, chains.state.sampler.energy, chains.state.ids))
        reads.append(sum(policy.rows))
    for kept, read in zip(*walks, strict=True):
        torch.testing.assert_close(kept, read)
    assert reads[0] <= reads[1]


def test_a_walk_that_stays_costs_nothing():
    """Two forwards at the start, one for its candidates and one for its energy; then none."""
    policy = Counted(0)
    chains = chains_of(policy=policy, langevin=Langevin(kernel="adam", step_size=1e-4, noise_scale=0.0))
    for _ in range(5):
        run_to_completion(chains.step())
    assert policy.rows == [3, 3]


@property_
@given(seeds, st.sampled_from(["ula", "adam"]), st.integers(1, 3), st.sampled_from([2, 4, 7]))
def test_candidates_follow_the_text(seed, kernel, refresh, support):
    """Right of a changed token they are those of a fresh reading; text stays, and so do those that stay."""
    search_config = SearchConfig(
        chains=ChainConfig(num_chains=3, num_candidates=support, refresh_every=refresh, init_margin=0.1),
        block_size=None,
    )
    langevin = Langevin(kernel=kernel, step_size=2.0)
    chains = chains_of(
        seed=seed, reward=TokenReward.random(seed, scale=20.0), search_config=search_config, langevin=langevin
    )
    policy = chains.evaluator.energy.policy
    for _ in range(4):
        run_to_completion(chains.step())
        before = chains.state
        ids, old, state, read = before.ids, before.space.support, before.sampler, before.space.context_ids
        chains.state = run_to_completion(chains.evaluator.refresh_candidates(before))
        sampler = chains.state.sampler
        assert torch.equal(chains.state.space.decode(sampler.position + sampler.offset), ids)
        stale = torch.zeros_like(chains.state.space.mask)
        for row, changed in enumerate(((ids != read) & chains.state.space.mask).int().tolist()):
            first = changed.index(1) if 1 in changed else len(changed)
            stale[row, first + 1 :] = chains.state.space.mask[row, first + 1 :]
        reading = policy.forward(PROMPT, Tokens.from_ids(chains.state.answers(), CPU))
        fresh, _ = reading.candidates(ids, support, policy.banned)
        assert torch.equal(chains.state.space.support[~stale], old[~stale])
        assert torch.equal(chains.state.space.support[stale].sort(-1).values, fresh[stale].sort(-1).values)
        same = chains.state.space.support[..., :, None] == old[..., None, :]  # (C, T, K new, K old)
        for part, earlier in zip(sampler[2:6], state[2:6], strict=True):
            assert torch.equal((same * earlier[..., None, :]).sum(-1), part)
        kept = same.any(-1)
        assert torch.equal((same * state.position[..., None, :]).sum(-1)[kept], chains.state.sampler.position[kept])


def test_candidates_that_need_no_reading_are_not_read():
    """Nothing changed, or nothing stands right of what did."""
    policy = Counted(0)
    still = Langevin(kernel="adam", step_size=1e-4, noise_scale=0.0)
    chains = chains_of(
        policy=policy,
        search_config=SearchConfig(chains=ChainConfig(num_candidates=3, refresh_every=1), block_size=None),
        langevin=still,
    )
    for _ in range(5):
        run_to_completion(chains.step())
    assert policy.rows == [3, 3]


def test_mala_keeps_its_space():
    with pytest.raises(ValueError, match="refresh_every=2"):
        chains_of(
            search_config=SearchConfig(chains=ChainConfig(refresh_every=2), block_size=None),
            langevin=Langevin(kernel="mala"),
        )


class Cliff(TokenReward):
    """Not finite anywhere but at the start."""

    calls = 0

    def score_soft(self, view):
        object.__setattr__(self, "calls", self.calls + 1)
        value = super().score_soft(view)
        return value if self.calls == 1 else value + torch.nan


def test_a_rejected_proposal_ends_no_chain():
    """MALA rejects what is not finite: chains stay where they are, and the record is of where they are."""
    soft = Relaxation(kind="soft")
    chains = chains_of(
        reward=Cliff.random(0), langevin=Langevin(kernel="mala"), policy_relaxation=soft, reward_relaxation=soft
    )
    before = chains.trace([None] * 3)
    run_to_completion(chains.step())
    after = chains.trace([None] * 3)
    assert chains.state.answers() == STARTS
    assert (after.chains, after.energy, after.nll) == (before.chains, before.energy, before.nll)
    assert after.rewards == before.rewards


def test_malas_record_is_of_the_state():
    """After accepted and rejected proposals alike, the recorded energy is that of the chain's own point."""
    chains = chains_of(langevin=Langevin(kernel="mala", step_size=2.0), reward=TokenReward.random(1, scale=5))
    accepted = 0
    for _ in range(20):
        before = chains.state.sampler.position
        run_to_completion(chains.step())
        accepted += int((chains.state.sampler.position != before).any((1, 2)).sum())
        torch.testing.assert_close(chains.state.terms.energy, chains.state.sampler.energy)
    assert 0 < accepted < 60


def test_patience_ends_a_chain_that_stands_still():
    """After so many steps without a changed token; None never does."""
    still = Langevin(kernel="ula", step_size=1e-6, noise_scale=0.0)
    search_config = SearchConfig(chains=ChainConfig(num_candidates=None, patience=2), block_size=None)
    patient, endless = chains_of(langevin=still, search_config=search_config), chains_of(langevin=still)
    for left in (3, 0):
        run_to_completion(patient.step())
        run_to_completion(endless.step())
        assert len(patient) == left
    assert patient.state.answers() == []
    assert len(endless) == 3


def test_a_changed_token_restores_patience():
    """Only steps without any change count."""
    search_config = SearchConfig(chains=ChainConfig(num_candidates=None, patience=1, init_margin=0.1), block_size=None)
    chains = chains_of(search_config=search_config, langevin=Langevin(kernel="ula", step_size=50.0))
    for _ in range(3):
        run_to_completion(chains.step())
    assert chains.state.steps_unchanged.tolist() == [0] * len(chains)
    assert len(chains) > 0


def test_an_energy_that_is_constant_moves_by_noise_alone():
    """No weight on the policy and nothing that steers: the gradient is zero, and no error."""
    reward = Troubled(raises(AssertionError("asked")), where="score_soft")
    chains = chains_of(reward=Ranking(reward), policy_weight=0.0)
    run_to_completion(chains.step())
    assert chains.state.sampler.gradient.abs().sum() == 0
    assert chains.state.sampler.position.isfinite().all()


class Ranking:
    """A reward without its steering."""

    def __init__(self, reward):
        self.score = reward.score


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"block_size": 0}, "block_size=0"),
        ({"num_chains": 0}, "num_chains=0"),
        ({"num_drafts": 0}, "num_drafts=0"),
        ({"num_candidates": 0}, "num_candidates=0"),
        ({"top_k": 0, "num_candidates": None}, "top_k=0"),
        ({"patience": 0}, "patience=0"),
        ({"max_steps": -1}, "max_steps=-1"),
        ({"num_kept": -1}, "num_kept=-1"),
        ({"temperature": -0.1}, "temperature=-0.1"),
        ({"top_k": 5}, "num_candidates=None"),
        ({"optimise_fraction": 0.0}, "optimise_fraction=0.0"),
        ({"optimise_fraction": 1.1}, "optimise_fraction=1.1"),
        ({"init_temperature": 0.0}, "init_temperature=0.0"),
        ({"init_margin": -1.0}, "init_margin=-1.0"),
    ],
)
def test_a_window_refuses(options, match):
    """By the field's name and the offending value."""
    with pytest.raises(ValueError, match=match):
        with_fields(SearchConfig(), **options)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_are_frozen_and_picklable(name):
    """And named as they are filed; a Preset is taken as it is."""
    preset = PRESETS[name]
    assert pickle.loads(pickle.dumps(preset)) == preset  # noqa: S301 - our own bytes
    assert preset.name == name
    assert find_preset(name) is preset
    assert find_preset(preset) is preset
    parts = {"name": preset, "kernel": preset.langevin, "block_size": preset.search_config}
    for field, part in (parts | {"tau": preset.policy_relaxation}).items():
        with pytest.raises(FrozenInstanceError):
            setattr(part, field, None)


def test_an_unknown_preset_is_met_with_the_nearest():
    """All names are listed, and one is proposed where it is near."""
    with pytest.raises(ValueError, match=r"'default', 'paper', 'reference'.*did you mean 'paper'\?"):
        find_preset("papers")
    with pytest.raises(ValueError, match=r"or pass a Preset\.$"):
        find_preset("xyz")


def test_only_the_faithful_presets_accept_broken_text():
    """The guard on nats per token is on by default."""
    assert PRESETS["default"].max_nll_rise is not None
    assert PRESETS["paper"].max_nll_rise is None is PRESETS["reference"].max_nll_rise
