"""Words that were put before an answer: a latent acts on them, and nothing else changes."""

from __future__ import annotations

import pytest
import torch
from architectures import ARCHITECTURES, tiny_model, tiny_tokenizer
from doubles import DoublePrompt, EndlessPolicy, V, run
from test_latent_search import FREE, PROMPTS, Wordless, energy_of, is_not_worse, search

from langchain_sea.core.protocols import ForwardRequest, OutputSpec, Steering, Tokens
from langchain_sea.engine.latent_gradient import LatentGradientOp
from langchain_sea.engine.ops import GenerationInput
from langchain_sea.engine.scheduler import run_to_completion
from langchain_sea.models.causal_lm import CausalLMPolicy
from langchain_sea.sampling.latent import LatentSampler

QUESTION = [{"role": "user", "content": "what is two and three?"}]
ANSWER = [33, 44, 55]


@pytest.mark.parametrize("name", ARCHITECTURES)
@torch.no_grad()
def test_steering_acts_on_words_put_before_the_answer(name):
    """By a zero vector nothing changes; by another one the words' own states move, too."""
    subject = CausalLMPolicy(tiny_model(name), tiny_tokenizer())
    prompt = subject.prompt(QUESTION)
    opened = subject.open_answer(prompt, "it is")
    assert opened.ids == (*prompt.ids, *subject.encode("it is"))
    assert (opened.before_opening, opened.opening) == (prompt, tuple(subject.encode("it is")))
    assert subject.open_answer(prompt, "") is prompt

    def read(vector, *, with_words):
        steering = Steering(1, vector.expand(1, -1))
        asked = GenerationInput.steered(opened, [ANSWER], steering) if with_words else None
        whole = opened if asked is None else asked.prompt
        tokens = Tokens.from_ids([ANSWER] if asked is None else [list(ids) for ids in asked.prefixes])
        output = subject.forward_all([ForwardRequest(whole, tokens, OutputSpec(frozenset({3})), steering)])[0]
        return output.hidden[3][0, -len(ANSWER) :]

    zero = torch.zeros(subject.model.config.hidden_size)
    torch.testing.assert_close(read(zero, with_words=True), read(zero, with_words=False), atol=1e-4, rtol=1e-4)
    vector = torch.linspace(-1, 1, len(zero)) ** 3
    assert not torch.allclose(read(vector, with_words=True), read(vector, with_words=False), atol=1e-4)


def test_a_latent_acts_on_words_put_before_the_answer():
    """They are read again under it, as a part of what is drawn; without a latent they stay in the prompt."""
    before, words = PROMPTS[0], (4, 5, 6)
    opened = DoublePrompt("question 0 def", before_opening=before, opening=words)
    asked = []

    class Recorder(EndlessPolicy):
        def start_generation(self, prompt, prefixes, **options):
            asked.append((prompt, [tuple(ids[: len(words)]) for ids in prefixes], options["steering"]))
            return super().start_generation(prompt, prefixes, **options)

    (refinement,) = run(
        energy_of(Wordless(), policy=Recorder(3)), [opened], search_config=search(), budget=FREE, max_new_tokens=6
    )
    assert is_not_worse(energy_of(Wordless(), policy=EndlessPolicy(3)), opened, refinement)
    steered = [(prompt, starts) for prompt, starts, steering in asked if steering is not None]
    assert steered
    assert all(prompt == before and set(starts) == {words} for prompt, starts in steered)
    assert {prompt for prompt, _, steering in asked if steering is None} == {opened}


def test_the_gradient_leaves_out_what_was_not_drawn():
    """Words put before the answer have no part in the log-probability of a draw."""
    policy, latent = EndlessPolicy(3), 0.3 * torch.randn(1, V, generator=torch.Generator().manual_seed(2))
    words, draws = [4, 5], [[1, 2], [3, 1], [6, 2]]

    def gradient(prompt, answers, num_known):
        op = LatentGradientOp(
            policy, prompt, answers, num_known, latent, 1, 1.0, torch.tensor([1.0, 2.0, 4.0]), torch.zeros(3), 0.0,
            LatentSampler(normalize=False).advantages,
        )  # fmt: skip

        def steps():
            return (yield op)

        return run_to_completion(steps()).gradient

    behind_words = gradient(PROMPTS[0], [[*words, *ids] for ids in draws], len(words))
    read_before = gradient(PROMPTS[0]._replace(answer=tuple(words)), [[*words, *ids] for ids in draws], len(words))
    torch.testing.assert_close(behind_words, read_before)
    assert not torch.allclose(behind_words, gradient(PROMPTS[0], [[*words, *ids] for ids in draws], 0))
