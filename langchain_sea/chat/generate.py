"""One call of the model, from its settings to answers that may leave."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from langchain_core.runnables.config import run_in_executor

from langchain_sea.chat.errors import DeadlineError, for_langchain
from langchain_sea.chat.gated_answer import GatedAnswer, answer_for
from langchain_sea.chat.messages import to_template_messages
from langchain_sea.chat.tools import CLOSING, OPENING, append_system, forced_schema, render_tools_as_text
from langchain_sea.errors import SEAError
from langchain_sea.models.registry import load_model

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_core.messages import AIMessage, BaseMessage

    from langchain_sea.chat.options import CallOptions
    from langchain_sea.chat_models import SEAChatModel
    from langchain_sea.core.trace import TraceStep
    from langchain_sea.engine.queue import Engine
    from langchain_sea.engine.request import Request
    from langchain_sea.engine.selection import Refinement
    from langchain_sea.models.causal_lm import CausalLMPolicy, PolicyPrompt

__all__ = [
    "PreparedCall",
    "agenerate_answers",
    "generate_answers",
    "prepare_call",
    "executor",
    "apply_gate",
    "use_external_drafts",
]


@dataclass(frozen=True, slots=True)
class PreparedCall:
    """What is refined for one call, and where; for every list of messages `ask.n` runs, one after another."""

    ask: CallOptions
    lists: list[list[dict[str, Any]]]
    policy: CausalLMPolicy
    prompts: list[PolicyPrompt]
    runs: list[Request]
    queue: Engine
    draft_model_errors: list[str | None]


def generate_answers(
    model: SEAChatModel,
    lists: Sequence[list[BaseMessage]],
    ask: CallOptions,
    watch: Callable[[TraceStep], None] | None = None,
) -> list[list[GatedAnswer]]:
    """`ask.n` answers for each list of messages; all are refined together, beside whatever else is asked.

    Args:
        model: whose settings stand where `ask` has none.
        lists: conversations.
        ask: the settings.
        watch: called after every step of every one.
    """
    asked = prepare_call(model, lists, ask, watch)
    if model.draft_model is not None:
        try:
            drafts: Sequence[Any] = model.draft_model.batch(list(lists), return_exceptions=True)
        except Exception as error:  # noqa: BLE001 - some models' batch returns none
            drafts = [error] * len(lists)
        use_external_drafts(model, asked, drafts)
    refinements = asked.queue.refine(asked.runs)
    return apply_gate(model, asked, refinements)


async def agenerate_answers(
    model: SEAChatModel,
    messages: list[BaseMessage],
    ask: CallOptions,
    watch: Callable[[TraceStep], None] | None = None,
) -> list[GatedAnswer]:
    """The same for one list, the event loop free meanwhile."""
    asked = await run_in_executor(executor(), prepare_call, model, [messages], ask, watch)
    if model.draft_model is not None:
        try:
            drafts: Sequence[Any] = [await model.draft_model.ainvoke(messages)]
        except Exception as error:  # noqa: BLE001 - `use_external_drafts` has the say
            drafts = [error]
        use_external_drafts(model, asked, drafts)
    refinements = await asked.queue.arefine(asked.runs)
    (found,) = await run_in_executor(executor(), apply_gate, model, asked, refinements)
    return found


def prepare_call(
    model: SEAChatModel,
    lists: Sequence[list[BaseMessage]],
    ask: CallOptions,
    watch: Callable[[TraceStep], None] | None = None,
) -> PreparedCall:
    """The prompts, read once, and what is to be done with them.

    Raises:
        ModelError: of `_model_errors`, where the prompt is too long, or there are no weights of that name.
    """
    try:
        return _asked(model, lists, ask, watch)
    except SEAError as error:
        raise for_langchain(error) from error


def _asked(
    model: SEAChatModel,
    lists: Sequence[list[BaseMessage]],
    ask: CallOptions,
    watch: Callable[[TraceStep], None] | None,
) -> PreparedCall:
    # they import transformers, which takes longer than all else: only a model that answers pays for it
    from langchain_sea.budget import BudgetTracker  # noqa: PLC0415
    from langchain_sea.engine import queue  # noqa: PLC0415
    from langchain_sea.engine.chains import generators_for  # noqa: PLC0415
    from langchain_sea.engine.request import Request  # noqa: PLC0415
    from langchain_sea.rewards import registry  # noqa: PLC0415

    conversations = [to_template_messages(messages) for messages in lists]
    policy = load_model(ask.model or model.model, model.device, **model._placement)  # noqa: SLF001 - one class in two files
    terms = registry.make_terms(model.rewards, _name(model, ask), policy, retries=model.max_retries)
    prompts = [_prompt(policy, messages, ask) for messages in conversations]
    energy, search_config = registry.make_energy(policy, terms, preset=ask.preset), ask.preset.search_config
    problem, count = (
        (energy, ask.preset.langevin, search_config),
        max(search_config.chains.num_chains, search_config.drafts.num_drafts),
    )
    runs = []
    for prompt in prompts:
        for seed in range(ask.seed, ask.seed + ask.n):
            rngs = generators_for(seed, prompt.key, count, policy.device)
            runs.append(Request(prompt, [], *problem, rngs, BudgetTracker(ask.budget), ask.stop, watch))
    return PreparedCall(
        ask, conversations, policy, prompts, runs, queue.get_engine(policy), [None] * len(runs)
    )


def _name(model: SEAChatModel, ask: CallOptions) -> str:
    return ask.model or model._policy_name  # noqa: SLF001 - one class in two files


def _prompt(policy: CausalLMPolicy, messages: list[dict[str, Any]], ask: CallOptions) -> PolicyPrompt:
    """The conversation with its tools and, where the form of the answer is given, its grammar."""
    from langchain_sea.models.json_grammar import JsonGrammar  # noqa: PLC0415 - as above

    tools, room = ask.visible_tools, ask.budget.max_new_tokens
    schema = json.loads(ask.schema) if ask.schema else None
    if ask.choice.forced:
        schema = forced_schema(tools, ask.choice)
    elif schema is not None:
        # a grammar says what may be written, not what it is for
        messages = append_system(
            messages, f"Answer with JSON of this schema: {json.dumps(schema, ensure_ascii=False)}"
        )
    # a tag that is one token stands before the answer; one of several is written in the policy's own pieces
    opening = OPENING if ask.choice.forced and policy.is_control_token(OPENING.strip()) else ""
    around = (OPENING, CLOSING) if ask.choice.forced and not opening else ("", "")
    ends = sorted(policy.end_ids)
    grammar = (
        JsonGrammar(schema, policy.tokenizer, policy.vocab_size, ends, around=around) if schema else None
    )
    if tools and not policy.supports_tools:
        messages, tools = render_tools_as_text(messages, tools), []
    return policy.prompt(messages, tools=tools or None, room=room, opening=opening, grammar=grammar)


def use_external_drafts(
    model: SEAChatModel, asked: PreparedCall, drafts: Sequence[AIMessage | BaseException]
) -> None:
    """What the drafter wrote, in the policy's own tokens; where it failed, the policy drafts itself."""
    for i, run in enumerate(asked.runs):
        draft = drafts[i // asked.ask.n]
        text = "" if isinstance(draft, BaseException) else str(draft.text)
        ids = asked.policy.encode(text)[: run.meter.budget.max_new_tokens]
        if ids and run.prompt.closed(ids, 0):
            run.drafts = [ids]
            continue
        why = "no whole answer of the schema" if ids else "no text"
        error = draft if isinstance(draft, BaseException) else ValueError(f"the drafter wrote {why}.")
        if model.on_reward_error == "error":
            raise error
        asked.draft_model_errors[i] = f"{type(error).__name__}: {error}"


def apply_gate(
    model: SEAChatModel, asked: PreparedCall, refinements: Sequence[Refinement]
) -> list[list[GatedAnswer]]:
    """What may leave, `ask.n` for each list.

    Raises:
        Exception: what failed in a refinement, where the model is to say so.
        DeadlineError: the timeout is over, where the model is to say so.
    """
    from langchain_sea.rewards import registry  # noqa: PLC0415 - as above

    gate, ask = registry.load_gate(model.gate), asked.ask
    found = []
    for i, refinement in enumerate(refinements):
        _check(model, ask, refinement)
        prompt, messages = asked.prompts[i // ask.n], asked.lists[i // ask.n]
        answer = answer_for(refinement, len(prompt.ids), gate, model.gate_threshold, messages)
        if ask.top_logprobs is not None:
            from langchain_sea.chat.logprobs import logprobs  # noqa: PLC0415 - as above

            append_system = logprobs(asked.policy, prompt, answer.text, ask.top_logprobs)
            answer = replace(answer, logprobs=append_system)
        found.append(replace(answer, draft_model_error=asked.draft_model_errors[i]))
    return [found[start : start + ask.n] for start in range(0, len(found), ask.n)]


def _check(model: SEAChatModel, ask: CallOptions, refinement: Refinement) -> None:
    failure = refinement.failure
    if failure is not None and model.on_reward_error == "error":
        if not isinstance(failure, SEAError):
            raise failure
        error = for_langchain(failure)
        error.refinement = refinement
        raise error from failure
    late = ask.timeout is not None and refinement.seconds >= ask.timeout
    if late and model.on_timeout == "error":
        raise DeadlineError.after(ask.timeout, refinement)


@cache
def executor() -> ThreadPoolExecutor:
    """What reads prompts and asks gates beside an event loop: few threads, each uses all processors."""
    return ThreadPoolExecutor(4, thread_name_prefix="langchain-sea-calls")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=executor.cache_clear)  # threads do not survive a fork
