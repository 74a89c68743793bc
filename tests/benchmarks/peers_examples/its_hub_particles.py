"""Particle filtering by its_hub over an OpenAI-compatible endpoint that goes on with an unfinished answer."""

import asyncio
import math

from its_hub import AbstractProcessRewardModel, StepGeneration
from its_hub.core.algorithms.particle_gibbs import ParticleFiltering
from peers_examples.its_hub_client import SeededModel

STEP = 8  # tokens; the first step is one more than `max_steps`


class StepReward(AbstractProcessRewardModel):
    def __init__(self, score):
        self.grade = score

    def score(self, prompt, steps):
        return [1 / (1 + math.exp(-value)) for value in self.grade(prompt, steps)]

    async def ascore(self, prompt, steps):
        return self.score(prompt, steps)


def make_answerer(endpoint, score, max_tokens, seed):
    model = SeededModel(endpoint, max_tokens, seed)
    steps = StepGeneration(max_steps=max_tokens // STEP - 1, tokens_per_step=STEP, temperature=0.8)
    particles = ParticleFiltering(steps, StepReward(score))
    runner = asyncio.Runner()

    def answer(question, count):
        return runner.run(particles.ainfer(model, question, count))["content"]

    return answer
