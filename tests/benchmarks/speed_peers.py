"""What the loop is compared with, in plain transformers: an iteration as SEA's authors run it, and a naive one.

Our own writing from the published description of the method (arXiv 2505.20081). Where that leaves a choice, the
cheaper one is taken: no gradient through the policy, logits only where they are read, the same small trunk as
the reward model. Shapes: C chains, L positions, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from speed_clock import Plan, ratio
from speed_shapes import PRESET, Subject
from speed_step import CHAINS, PROMPT, TOKENS, Step
from torch import Tensor
from torch.nn.functional import one_hot
from transformers import DynamicCache

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_sea.rewards import HiddenStateHead

LONG_PROMPT = 2048
TOP = 10  # of the policy's tokens may be decoded
BARRED = -1e10


class Peer:
    """A policy and its trunk reward as plain modules, and logits over the whole vocabulary."""

    def __init__(self, on: Subject, prompt: Sequence[int], starts: Sequence[Sequence[int]]) -> None:
        """The chains start at the policy's own logits, as it reads the starts."""
        self.on, self.model, self.ids = on, on.policy.model, list(prompt)
        self.head: HiddenStateHead = on.terms[0].reward.head.to(on.policy.device)
        self.embeddings = self.model.get_input_embeddings().weight.detach()  # (V, D)
        rows = torch.tensor([[*prompt, *start] for start in starts], device=on.policy.device)
        with torch.no_grad():
            self.states = self._states(rows[:, : len(prompt) - 1])
            found = self.model(rows[:, len(prompt) - 1 :], past_key_values=self.cache()).logits[:, :-1]
        self.point = (found.float() / 5).requires_grad_()  # (C, L, V)
        self.mask = torch.ones(self.point.shape[:2], dtype=torch.bool, device=self.point.device)

    def _states(self, rows: Tensor) -> list[tuple[Tensor, Tensor]]:
        cache = self.model.base_model(rows, use_cache=True).past_key_values
        return [(layer.keys, layer.values) for layer in cache.layers]

    def cache(self) -> DynamicCache:
        """The prompt's states for all chains, to be written on."""
        return DynamicCache(self.states)

    def embedded(self, soft: Tensor, before: Sequence[int]) -> Tensor:
        """Prompt tokens, then Σ_v soft_v · embedding(v), dense: (C, n + L, D)."""
        ids = torch.tensor(before, device=soft.device)
        first = self.embeddings[ids].expand(len(soft), -1, -1)
        return torch.cat([first, soft.to(self.embeddings.dtype) @ self.embeddings], 1)

    def reward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """(C,) of the head, from states at the answers' tokens."""
        return self.head.prefix_values(hidden, mask)[:, -1]


class Authors(Peer):
    """One iteration a call: cached prompts, the whole vocabulary, sequential decoding, hard rescoring."""

    def __init__(self, *args: Any) -> None:
        """With the optimiser and what it starts from."""
        super().__init__(*args)
        self.adam = torch.optim.Adam([self.point], lr=0.1)
        self.noise = torch.zeros_like(self.point, requires_grad=False)
        self.likely: Tensor | None = None  # (C, L, TOP) of the policy's last prediction
        self.best = torch.full((CHAINS,), -torch.inf, device=self.point.device)

    def __call__(self) -> None:
        """Loss, gradient, Adam, noise, texts, scores."""
        logits = (self.point + self.noise).masked_fill(self.on.policy.banned, BARRED)
        self.adam.zero_grad()
        loss = 0.1 * self._fluency(logits) - self._steering(logits)
        loss.mean().backward()
        self.adam.step()
        self.noise = 0.1 * torch.randn_like(self.noise)
        with torch.no_grad():
            logits = self.point.masked_fill(self.on.policy.banned, BARRED)
            found = self._score([*logits.argmax(-1).tolist(), *self._decoded(logits)])
        self.best = torch.maximum(self.best, found.view(2, -1).amax(0))

    def _fluency(self, logits: Tensor) -> Tensor:
        with torch.no_grad():
            hard = logits
            if self.likely is not None:
                hard = torch.full_like(logits, BARRED).scatter(-1, self.likely, logits.gather(-1, self.likely))
            soft = (hard / 0.001).softmax(-1)
            inputs = self.embedded(soft, self.ids[-1:])
            read = self.model(inputs_embeds=inputs, past_key_values=self.cache()).logits[:, :-1]
            self.likely = read.topk(TOP).indices
            log_pi = read.float().log_softmax(-1)
        return -(logits.softmax(-1) * log_pi).sum(-1).mean(-1)

    def _steering(self, logits: Tensor) -> Tensor:
        inputs = self.embedded((logits / 0.1).softmax(-1), self.ids[-1:])
        read = self.model.base_model(inputs_embeds=inputs, past_key_values=self.cache(), output_hidden_states=True)
        return self.reward(read.hidden_states[self.head.info.layer][:, 1:], self.mask)

    def _decoded(self, logits: Tensor) -> list[list[int]]:
        """Token by token the best of the policy's likeliest, given those chosen so far."""
        cache, token = self.cache(), torch.tensor([self.ids[-1:]] * len(logits), device=logits.device)
        found = []
        for at in range(logits.shape[1]):
            read = self.model(token, past_key_values=cache).logits[:, -1]
            likely = read.topk(TOP).indices
            token = likely.gather(1, logits[:, at].gather(1, likely).argmax(1, keepdim=True))
            found.append(token)
        return torch.cat(found, 1).tolist()

    def _score(self, answers: list[list[int]]) -> Tensor:
        """(2C,) of the texts, encoded again and read behind the prompt without a cache."""
        policy = self.on.policy
        texts = [policy.encode(policy.decode(ids)) for ids in answers]
        width = max(1, *map(len, texts))
        rows = [[*self.ids, *ids, *[0] * (width - len(ids))] for ids in texts]
        read = self.model.base_model(
            torch.tensor(rows, device=policy.device), use_cache=False, output_hidden_states=True
        )
        lengths = torch.tensor([len(ids) for ids in texts], device=policy.device)
        mask = torch.arange(width, device=policy.device) < lengths[:, None]
        return self.reward(read.hidden_states[self.head.info.layer][:, len(self.ids) :], mask)


class Naive(Peer):
    """One step a call of the same energy as ours: the prompt read anew, the whole vocabulary."""

    def __call__(self) -> None:
        """Forward, backward, and a plain gradient step."""
        soft = self.point.softmax(-1)
        hard = one_hot(self.point.argmax(-1), soft.shape[-1]).to(soft.dtype)
        soft = soft + (hard - soft).detach()
        read = self.model(
            inputs_embeds=self.embedded(soft, self.ids),
            use_cache=False,
            output_hidden_states=True,
            logits_to_keep=soft.shape[1] + 1,
        )
        log_pi = read.logits[:, :-1].float().log_softmax(-1)
        nll = -(soft * log_pi).sum(-1).mean(-1)
        hidden = read.hidden_states[self.head.info.layer][:, len(self.ids) :]
        energy = PRESET.policy_weight * nll - self.reward(hidden, self.mask)
        (gradient,) = torch.autograd.grad(energy.sum(), self.point)
        self.point = (self.point.detach() - 0.5 * gradient).requires_grad_()


def reference_over_ours(on: Subject, plan: Plan) -> dict[str, Any]:
    """The authors' iteration and our step, in turns."""
    prompt = on.prompt(PROMPT)
    works = {"authors": Authors(on, prompt.ids, on.starts(CHAINS, TOKENS)), "step": Step(on, prompt)}
    what = (
        "one iteration as SEA's authors run it (our own writing of it in plain transformers: cached prompts, the "
        f"whole vocabulary, a second forward for the reward, {TOKENS} sequential decodes, {2 * CHAINS} texts "
        f"scored without cache) ÷ one whole step of ours; {on.name}, prompt {PROMPT}, {TOKENS} tokens, "
        f"{CHAINS} chains, the same weights and trunk reward"
    )
    return ratio(plan.turns(works), "authors", "step", what)


def naive_over_ours(on: Subject, plan: Plan) -> dict[str, Any]:
    """The naive step and ours after a long prompt, in turns."""
    prompt = on.prompt(LONG_PROMPT)
    works = {"step": Step(on, prompt), "naive": Naive(on, prompt.ids, on.starts(CHAINS, TOKENS))}
    what = (
        f"one step of the same energy in plain transformers that reads the prompt of {LONG_PROMPT} anew and mixes "
        "the whole vocabulary (logits only of the answer) ÷ one whole step of ours after the same prompt; "
        f"{on.name}, {TOKENS} tokens, {CHAINS} chains"
    )
    return ratio(plan.turns(works, warm=["step"]), "naive", "step", what)
