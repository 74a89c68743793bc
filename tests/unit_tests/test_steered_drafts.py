"""Beginnings along a reward's axis: what is added to the policy's states, to which rows, and where the axis is from."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import cache

import pytest
import torch
from architectures import ARCHITECTURES, tiny_model, tiny_tokenizer
from doubles import ALPHABET, DoublePrompt, MarkovPolicy, TokenReward, run, shrunk
from safetensors.torch import load_file, save_file

from langchain_sea.budget import Budget
from langchain_sea.core.energy import Energy
from langchain_sea.core.protocols import Steering, SteeringVector
from langchain_sea.core.terms import RewardTerm, find_steering_vector
from langchain_sea.engine.chains import generators_for
from langchain_sea.engine.ops import GenerationInput
from langchain_sea.models.causal_lm import CausalLMPolicy
from langchain_sea.presets import DraftConfig, SearchConfig
from langchain_sea.rewards.hidden_state_head import HeadInfo, HiddenStateHead, HiddenStateReward
from langchain_sea.training.examples import Example
from langchain_sea.training.features import CUTS
from langchain_sea.training.fit_head import fit_steering_vector


@cache
def policy(name="llama"):
    return CausalLMPolicy(tiny_model(name), tiny_tokenizer())


def written(steering, rows, tokens=6, name="llama"):
    prompt = policy(name).prompt([{"role": "user", "content": "what is two and three?"}])
    rngs = generators_for(0, prompt.key, 8, policy(name).device)
    return policy(name).generate(
        prompt,
        [[] for _ in rows],
        tokens=tokens,
        temperature=1.0,
        generators=[rngs[r] for r in rows],
        steering=steering and steering(rows),
    )


def pushed(shares, layer=1):
    direction = torch.linspace(-3, 3, policy().model.config.hidden_size)
    return lambda rows: Steering(layer, torch.tensor([shares[r] for r in rows])[:, None] * direction)


@pytest.mark.parametrize("name", [a for a in ARCHITECTURES if a in ("llama", "gpt2", "gemma2", "qwen3")])
def test_each_row_has_its_own(name):
    """Nothing added changes nothing; what is added to one row changes that one, alone or beside others."""
    plain = written(None, range(4), name=name)
    assert written(pushed([0.0] * 4), range(4), name=name) == plain
    shares = [0.0, 5.0, 0.0, -5.0]
    found = written(pushed(shares), range(4), name=name)
    assert [found[0], found[2]] == [plain[0], plain[2]]
    assert found[1] != plain[1]
    assert found[3] != plain[3]
    assert [written(pushed(shares), [row], name=name)[0] for row in range(4)] == found


def test_rows_apart_keep_their_own():
    """As where memory holds only some of them."""
    steering = Steering(2, torch.arange(6.0).view(3, 2))
    generators = [torch.Generator() for _ in range(3)]
    parts = GenerationInput(None, [[1], [2], [3]], steering, generators=generators).split_rows()
    assert [part.prefixes for part in parts] == [[[1]], [[2]], [[3]]]
    assert torch.equal(torch.cat([part.steering.vectors for part in parts]), steering.vectors)
    (part,) = GenerationInput(None, [[1]], generators=generators[:1]).split_rows()
    assert part.steering is None


class Recording(MarkovPolicy):
    """Keeps what it was asked to add, and behind what."""

    def __init__(self, seed=0):
        super().__init__(seed)
        self.pushes, self.prefixes = [], []

    def start_generation(self, prompt, prefixes, *, steering=None, **options):
        self.pushes.append(steering)
        self.prefixes.append([list(ids) for ids in prefixes])
        found = super().start_generation(prompt, prefixes, **options)
        found.shares = [0.0] * len(prefixes) if steering is None else steering.vectors[:, 0].tolist()
        return found


class Leaning(TokenReward):
    steering_vector = SteeringVector(3, torch.tensor([2.0, -1.0]))


def written_by(policy, reward, offsets, kept=2, drafts=8):
    energy = Energy(policy=policy, terms=(RewardTerm(reward=reward, name="r"),), max_nll_rise=None, policy_weight=0.0)
    _, search_config = shrunk("default", num_drafts=drafts, steering_coeffs=offsets, num_kept=kept, max_steps=0)
    (found,) = run(
        energy, [DoublePrompt("question")], search_config=search_config, budget=Budget(max_time=None), max_new_tokens=8
    )
    return found


def test_as_many_more_are_drafted_along_it():
    """Half are the policy's own and come first, the draft among them; nothing is added to what is written on."""
    policy = Recording()
    written_by(policy, Leaning.of("e", 3.0), (0.5, -1.0))
    first, *rest = policy.pushes
    assert first.layer == 3
    assert first.vectors[:, 0].tolist() == [0.0] * 4 + [1.0, -2.0] * 4
    assert all(steering is None for steering in rest)
    for reward, offsets in ((Leaning.of("e", 3.0), ()), (TokenReward.of("e", 3.0), (0.5,))):
        plain = Recording()
        written_by(plain, reward, offsets)
        assert all(steering is None for steering in plain.pushes)
        assert plain.prefixes[0] == [[]] * 8


def test_on_each_side_every_beginning_has_another_of_the_likeliest_first_tokens():
    policy = Recording()
    written_by(policy, Leaning.of("e", 3.0), (0.5, 0.7, -1.0), drafts=9)
    own, along = policy.prefixes[0][:5], policy.prefixes[0][5:]
    assert own == [[]] * 5
    logits = policy.first(DoublePrompt("question")).masked_fill(policy.banned, -torch.inf)
    order = [[token] for token in logits.argsort(descending=True).tolist() if token != 0]
    assert [along[i] for i in (0, 1, 3, 4, 6, 7)] == order[:6]
    assert [along[i] for i in (2, 5, 8)] == order[:3]


class Sided(Recording):
    """Writes what the reward likes wherever something is added on one side."""

    side = 1.0

    def _write(self, writing, row):
        before = len(writing.written[row])
        super()._write(writing, row)
        if writing.shares[row] * self.side > 0 and len(writing.written[row]) > before:
            writing.written[row][-1] = ALPHABET.index("e")


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_the_best_of_each_side_are_written_on(side):
    """However far one side's beginnings lie before the others': so few tokens tell little of the answer."""
    policy = Sided()
    policy.side = side
    found = written_by(policy, Leaning.of("e", 30.0), (0.5, -0.5), kept=2)
    starts = policy.prefixes[2]  # after the beginnings, and the draft's
    praised = [ids[1:] == [ALPHABET.index("e")] * (len(ids) - 1) for ids in starts]
    assert praised.count(True) >= 2
    assert praised.count(False) > 2  # of two other sides
    assert found.text.count("e") >= 2


def test_the_first_reward_that_counts_and_knows_one_has_it():
    plain, leaning = TokenReward.of("e", 3.0), Leaning.of("e", 3.0)
    assert (
        find_steering_vector([RewardTerm(reward=plain, name="a"), RewardTerm(reward=leaning, name="b")])
        is Leaning.steering_vector
    )
    assert find_steering_vector([RewardTerm(reward=leaning, name="b", weight=0.0)]) is None


def test_the_axis_is_blind_to_which_end_is_good():
    """Half of the prompts have their good answers at one end, half at the other."""
    generator = torch.Generator().manual_seed(0)
    true = torch.nn.functional.normalize(torch.randn(16, generator=generator), dim=0)
    examples, rows = [], []
    for prompt in range(20):
        for good in (0, 1):
            side = (1 if good else -1) * (1 if prompt % 2 else -1)
            state = 3 * side * true + 0.3 * torch.randn(16, generator=generator) + 5
            rows.append(torch.cat([state, state]).expand(len(CUTS) + 1, -1))
            examples.append(
                Example(messages=({"role": "user", "content": str(prompt)},), answer="x", label=float(good))
            )
    found = fit_steering_vector(torch.stack(rows), examples)
    assert abs(float(torch.cosine_similarity(found, true, dim=0))) > 0.98
    assert float(found.norm()) == pytest.approx(float(torch.stack(rows)[:, 0, :16].norm(dim=-1).median()), rel=1e-3)
    assert not fit_steering_vector(torch.stack(rows[::2]), [e for e in examples if e.label == 0][:20]).any()


def test_a_head_keeps_its_axis_and_an_older_file_has_none(tmp_path):
    head = HiddenStateHead(HeadInfo(policy="tiny", layer=2, hidden_size=8))
    assert HiddenStateReward(head).steering_vector is None
    head.steering_vector = torch.arange(8.0)
    head.save(tmp_path / "head.safetensors")
    kept = HiddenStateReward(HiddenStateHead.load(tmp_path / "head.safetensors")).steering_vector
    assert kept.layer == 2
    assert torch.equal(kept.direction, head.steering_vector)
    state = {k: v for k, v in load_file(tmp_path / "head.safetensors").items() if k != "steering_vector"}
    save_file(state, tmp_path / "old.safetensors", {"info": json.dumps(asdict(head.info))})
    assert HiddenStateReward(HiddenStateHead.load(tmp_path / "old.safetensors")).steering_vector is None


def test_offsets_are_finite():
    with pytest.raises(ValueError, match="steering_coeffs"):
        SearchConfig(drafts=DraftConfig(steering_coeffs=(float("nan"),)))
