"""The endpoint as a language model of its_hub, for its particle filter.

its_hub's own client marks an unfinished answer by `continue_final_message`, which this package's endpoint refuses. The
chat template that `peers_servers.py` gives it goes on with such an answer instead.
"""

import asyncio
import itertools

from its_hub import AbstractLanguageModel
from openai import AsyncOpenAI


class SeededModel(AbstractLanguageModel):
    def __init__(self, endpoint, max_tokens, seed):
        self.client = AsyncOpenAI(base_url=endpoint, api_key="none")
        self.max_tokens, self.seeds = max_tokens, itertools.count(seed)

    async def agenerate_single(self, messages, stop=None, max_completion_tokens=None, **_):
        reply = await self.client.chat.completions.create(
            model="sea",
            messages=[message.to_dict() for message in messages],
            max_tokens=max_completion_tokens or self.max_tokens,
            temperature=0.8,
            seed=next(self.seeds),
        )
        return {"role": "assistant", "content": reply.choices[0].message.content}

    async def agenerate(self, messages, stop=None, **options):
        return await asyncio.gather(*(self.agenerate_single(each, **options) for each in messages))
