"""Best of N by its_hub's `BestOfN` over an OpenAI-compatible endpoint."""

import asyncio

from its_hub import AbstractOutcomeRewardModel, BestOfN, OpenAICompatibleLanguageModel


class Reward(AbstractOutcomeRewardModel):
    def __init__(self, score):
        self.grade = score

    def score(self, messages, **_):
        return self.grade(messages[0].content, [messages[-1].content])[0]

    async def ascore(self, messages, orchestrator=None, **_):
        return self.grade(messages[0][0].content, [each[-1].content for each in messages])


def make_answerer(endpoint, score, max_tokens):
    model = OpenAICompatibleLanguageModel(endpoint, "none", "sea", max_tokens=max_tokens, temperature=0.8)
    best_of_n, runner = BestOfN(Reward(score)), asyncio.Runner()

    def answer(question, count):
        return runner.run(best_of_n.ainfer(model, question, count))["content"]

    return answer
