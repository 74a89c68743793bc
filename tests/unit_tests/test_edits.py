"""Single changes by gradient: the best one is made if it pays, so that a chain's energy never rises."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from langchain_sea import Budget, SEAChatModel
from langchain_sea.presets import PRESETS
from langchain_sea.sampling.langevin import Langevin
from langchain_sea.sampling.token_edits import Edits, likeliest, taken

DEFAULT = PRESETS["default"]
EDITING = replace(
    DEFAULT,
    name="editing",
    search_config=replace(
        DEFAULT.search_config,
        drafts=replace(DEFAULT.search_config.drafts, num_drafts=16),
        chains=replace(DEFAULT.search_config.chains, swaps_per_step=8, max_steps=6),
    ),
)


def test_the_likeliest_are_those_of_the_steepest_slope():
    """By brute force over all; neither the token that stands nor a closed one is among them."""
    g = torch.Generator().manual_seed(0)
    gradient = torch.randn(2, 3, 4, generator=g)
    support = torch.arange(4).expand(2, 3, 4).contiguous()
    ids = torch.tensor([[0, 1, 2], [3, 3, 0]])
    closed = torch.zeros(2, 3, 4, dtype=torch.bool)
    closed[0, 0, 1] = closed[1] = True
    closed[1, 2, 3] = False
    edits = likeliest(gradient, ids, support, closed, 3)
    slopes = {
        (t, k): float(gradient[0, t, k] - gradient[0, t, ids[0, t]])
        for t in range(3)
        for k in range(4)
        if k != ids[0, t] and not closed[0, t, k]
    }
    best = sorted(slopes, key=slopes.get)[:3]
    found = [(int(t), int(k)) for c, t, k in zip(*edits, strict=True) if c == 0]
    assert found == best
    assert [(int(t), int(k)) for c, t, k in zip(*edits, strict=True) if c == 1] == [(2, 3)]
    texts = edits.texts(ids, support)
    assert all((text != ids[chain]).sum() == 1 for text, chain in zip(texts, edits.chain, strict=True))


def test_only_what_lowers_the_energy_is_made():
    edits = Edits(torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]), torch.tensor([1, 2, 0]))
    position = torch.zeros(2, 2, 3)
    moved, changed = taken(edits, torch.tensor([0.5, 0.2, 2.0]), torch.tensor([1.0, 1.0]), position, 0.7)
    assert changed.tolist() == [True, False]
    assert moved[0, 1].argmax() == 2
    assert torch.equal(moved[1], position[1])
    _, changed = taken(edits, torch.tensor([torch.nan] * 3), torch.tensor([1.0, 1.0]), position, 0.7)
    assert not changed.any()


@pytest.mark.parametrize("tokens", [8, None])
def test_no_chains_energy_ever_rises(tokens):
    search_config = replace(
        EDITING.search_config,
        block_size=tokens,
        chains=replace(EDITING.search_config.chains, num_chains=3),
    )
    model = SEAChatModel(
        model="tiny/early_3",
        preset=replace(EDITING, search_config=search_config),
        budget=Budget(max_new_tokens=16, max_time=None),
    )
    found = model.refinement("What is 14 + 23?")
    by_chain = {}
    for step in found.trace:
        for chain, energy in zip(step.chains, step.energy, strict=True):
            by_chain.setdefault(chain, []).append(energy)
    assert max(map(len, by_chain.values())) > 1
    for energies in by_chain.values():
        assert all(b <= a + 1e-4 for a, b in pairwise(energies))
    assert any(energies[-1] < energies[0] for energies in by_chain.values())
    assert found.after.score >= found.before.score


def test_alone_and_in_a_batch_the_same():
    model = SEAChatModel(
        model="tiny/early_3", preset=EDITING, budget=Budget(max_new_tokens=12, max_time=None)
    )
    questions = ["What is 14 + 23?", "What is 31 + 7?", "What is 55 + 12?"]
    assert [m.content for m in model.batch(questions)] == [model.invoke(q).content for q in questions]


def test_edits_want_plain_tokens():
    soft = replace(
        PRESETS["reference"],
        search_config=replace(
            PRESETS["reference"].search_config,
            chains=replace(PRESETS["reference"].search_config.chains, swaps_per_step=4),
        ),
    )
    mala = replace(EDITING, langevin=Langevin(kernel="mala"))
    for preset in (soft, mala):
        model = SEAChatModel(
            model="tiny", preset=preset, budget=Budget(max_steps=1, max_new_tokens=8, max_time=None)
        )
        with pytest.raises(ValueError, match="edits="):
            model.invoke("What is 14 + 23?")
