"""One call, from messages to engine requests, and from refinements to answers.

Importing this loads transformers, which takes seconds; `generate` imports it when a model first answers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from langchain_sea.budget import BudgetTracker
from langchain_sea.chat.errors import ContentError, DeadlineError, raise_langchain_error
from langchain_sea.chat.failures import count_failures, warn_of_short_time
from langchain_sea.chat.logprobs import compute_logprobs
from langchain_sea.chat.messages import require_unicode, to_template_messages
from langchain_sea.chat.responses import choose_answer
from langchain_sea.chat.schemas import forced_schema
from langchain_sea.engine.engines import get_engine
from langchain_sea.engine.generators import generators_for
from langchain_sea.engine.queue import wait_for_calls
from langchain_sea.engine.reasoning import ReasoningConfig
from langchain_sea.engine.refinement import RefinementRequest
from langchain_sea.errors import RewardUnavailableError, SEAError
from langchain_sea.models.json_grammar import JsonGrammar
from langchain_sea.models.registry import load_model
from langchain_sea.models.template_fallbacks import CLOSING, OPENING, append_system
from langchain_sea.rewards.registry import describe_reward, load_gate, make_energy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import AIMessage, BaseMessage

    from langchain_sea.chat.events import Progress
    from langchain_sea.chat.options import CallOptions, ModelConfig
    from langchain_sea.chat.responses import Gate, GatedAnswer
    from langchain_sea.engine.queue import Engine
    from langchain_sea.engine.selection import Refinement
    from langchain_sea.models.causal_lm import CausalLMPolicy, PolicyPrompt

__all__ = ["PreparedCall", "get_engine", "load_policy", "prepare_call", "wait_for_calls"]

_LEAST_ROOM = 64  # tokens that the context must have left for an answer, unless max_tokens is less


@dataclass(frozen=True, slots=True)
class PreparedCall:
    """One call, ready for the engine.

    Attributes:
        messages: the conversation in the template's form, as the gate sees it.
        requests: one for each of the `n` answers.
        gate: the loaded gate; None returns every answer.
    """

    config: ModelConfig
    options: CallOptions
    messages: list[dict[str, Any]]
    policy: CausalLMPolicy
    prompt: PolicyPrompt
    requests: list[RefinementRequest]
    gate: Gate | None

    @property
    def engine(self) -> Engine:
        """The engine of the policy, which all calls share."""
        return get_engine(self.policy)

    def use_external_draft(self, draft: AIMessage | Exception) -> str | None:
        """Use the draft of another chat model; where that failed, the policy writes its own.

        Args:
            draft: what the other model returned or raised.

        Returns:
            Why the draft is not used; None where it is.

        Raises:
            Exception: the draft is not used, and `on_reward_error` is `error`.
        """
        text = "" if isinstance(draft, Exception) else str(draft.text)
        try:
            require_unicode(text, "the draft")
        except ContentError as unreadable:
            draft, text = unreadable, ""
        ids = self.policy.encode(text)[: self.options.max_tokens]
        if ids and self.prompt.complete(ids, 0):
            for request in self.requests:
                request.drafts = [ids]
            return None
        reason = "no complete answer of the schema" if ids else "no text"
        error = draft if isinstance(draft, Exception) else ValueError(f"the draft model wrote {reason}.")
        if self.config.on_reward_error == "error":
            raise error
        return f"{type(error).__name__}: {error}"

    def apply_gate(self, refinements: Sequence[Refinement], draft_model_error: str | None = None) -> list[GatedAnswer]:
        """Return the answer for each refinement.

        Raises:
            Exception: what failed in a refinement, if `on_reward_error` is `error`.
            DeadlineError: the timeout is over, and `on_timeout` is `error`.
        """
        answers = []
        for refinement in refinements:
            raise_failure(self.config, self.options, refinement)
            warn_of_short_time(self.config.warned, refinement, self.options.budget.max_time)
            num_prompt_tokens, threshold = len(self.prompt.ids), self.config.gate_threshold
            answer = choose_answer(refinement, num_prompt_tokens, self.gate, threshold, self.messages)
            if self.options.top_logprobs is not None:
                num_top = self.options.top_logprobs
                entries = compute_logprobs(self.policy, self.prompt, answer.text, num_top)
                answer = replace(answer, logprobs=entries)
            answers.append(
                replace(
                    answer,
                    draft_model_error=draft_model_error,
                    max_tokens=self.options.max_tokens,
                    begins_in_thought=self.policy.opens_thought(self.prompt.ids),
                    failures_in_a_row=self._count_failures(refinement),
                )
            )
        return answers

    def _count_failures(self, refinement: Refinement) -> int:
        rewards = self.config.rewards
        key = (self.config.model_name, None if rewards is None else tuple(map(describe_reward, rewards)))
        failure = refinement.failure
        return count_failures(key, failure if isinstance(failure, RewardUnavailableError) else None)


def load_policy(config: ModelConfig) -> CausalLMPolicy:
    """Load the model, once per process."""
    return load_model(config.model, config.device, **config.load_options)


def prepare_call(
    config: ModelConfig, options: CallOptions, messages: Sequence[BaseMessage], progress: Progress | None = None
) -> PreparedCall:
    """Load what the call needs and read its prompt.

    Args:
        config: the model's settings.
        options: the call's.
        messages: the conversation.
        progress: called with the plan and with every step of every request.

    Raises:
        SEAError: also one of LangChain's errors where it has one of that meaning; see `chat.errors`.
    """
    try:
        return _prepare_call(config, options, messages, progress)
    except SEAError as error:
        raise_langchain_error(error)


def _prepare_call(
    config: ModelConfig, options: CallOptions, messages: Sequence[BaseMessage], progress: Progress | None
) -> PreparedCall:
    template_messages = to_template_messages(messages)
    require_unicode([options.visible_tools, options.schema], "a tool or the schema")
    policy, preset = load_policy(config), options.preset
    energy = make_energy(policy, config.rewards, preset=preset, retries=config.max_retries)
    gate = load_gate(config.gate)
    prompt = _make_prompt(policy, template_messages, options)
    if (context := policy.context_after(len(prompt.ids))) is not None:
        options = replace(options, max_tokens=min(options.max_tokens, context - len(prompt.ids)))
    search = preset.search_config
    num_generators = max(search.chains.num_chains, search.drafts.num_drafts)
    requests = [
        RefinementRequest(
            prompt=prompt,
            drafts=[],
            energy=energy,
            langevin=preset.langevin,
            search_config=search,
            generators=generators_for(seed, prompt.key, num_generators, policy.device),
            tracker=BudgetTracker(options.budget, options.max_tokens, options.timeout),
            stop=options.stop,
            watch=None if progress is None else progress.report_step,
            on_plan=None if progress is None else progress.report_plan,
            reasoning=_make_reasoning_config(policy, prompt, options),
        )
        for seed in range(options.seed, options.seed + options.n)
    ]
    return PreparedCall(config, options, template_messages, policy, prompt, requests, gate)


def _make_reasoning_config(
    policy: CausalLMPolicy, prompt: PolicyPrompt, options: CallOptions
) -> ReasoningConfig | None:
    """Return how reasoning is marked; None where it is refined with the answer, or where a grammar leaves no place."""
    if options.refine_reasoning or prompt.has_grammar:
        return None

    def extend(ids: Sequence[int]) -> PolicyPrompt:
        return policy.prompt_from_ids([*prompt.ids, *ids], prompt.messages)

    return ReasoningConfig(
        tags=policy.find_reasoning_tags(prompt.ids),
        is_open=policy.opens_thought(prompt.ids),
        max_tokens=options.max_reasoning_tokens,
        extend=extend,
    )


def _make_prompt(policy: CausalLMPolicy, messages: list[dict[str, Any]], options: CallOptions) -> PolicyPrompt:
    """Return the conversation with its tools and, where the answer has a schema, its grammar."""
    tools, schema = options.visible_tools, options.schema
    opening, tags = "", ("", "")
    if options.tool_choice.is_forced:
        schema = forced_schema(tools, options.tool_choice)
        # A tag that is one control token goes before the answer; a tag of ordinary tokens is part of it.
        if policy.is_control_token(OPENING.strip()):
            opening = OPENING
        else:
            tags = (OPENING, CLOSING)
    elif schema is not None:
        # The grammar enforces the form; only the prompt can say what the fields are for.
        text = f"Answer with JSON of this schema: {json.dumps(schema, ensure_ascii=False)}"
        messages = append_system(messages, text)
    grammar = None
    if schema is not None:
        ends = sorted(policy.end_ids)
        grammar = JsonGrammar(schema, policy.tokenizer, policy.vocab_size, ends, around=tags)
    room = min(options.max_tokens, _LEAST_ROOM)
    return policy.prompt(messages, tools=tools or None, room=room, opening=opening, grammar=grammar)


def raise_failure(config: ModelConfig, options: CallOptions, refinement: Refinement) -> None:
    """Raise what failed in a refinement, or that the timeout is over, where the settings ask for errors."""
    failure = refinement.failure
    if failure is not None and config.on_reward_error == "error":
        if not isinstance(failure, SEAError):
            raise failure
        failure.refinement = refinement
        raise_langchain_error(failure)
    is_late = options.timeout is not None and refinement.seconds >= options.timeout
    if is_late and config.on_timeout == "error":
        raise DeadlineError.after(options.timeout, refinement)
