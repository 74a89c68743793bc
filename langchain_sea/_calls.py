"""One call of the model, from its settings to answers that may leave."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from langchain_core.exceptions import ContextOverflowError
from langchain_core.runnables.config import run_in_executor

from langchain_sea._messages import template_dicts
from langchain_sea._report import Answer, answer_for
from langchain_sea._tools import (
    AUTO,
    CLOSING,
    OPENING,
    Choice,
    choice_of,
    forced_schema,
    shown,
    told,
    tool_dicts,
)
from langchain_sea.errors import PromptTooLongError, SEAError
from langchain_sea.presets import Preset, preset_named

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import AIMessage, BaseMessage

    from langchain_sea._in_flight import Queue
    from langchain_sea.best import Refinement
    from langchain_sea.budget import Budget
    from langchain_sea.chat_models import SEAChatModel
    from langchain_sea.policy import CausalLMPolicy, PolicyPrompt
    from langchain_sea.run import Run

__all__ = ["Ask", "Key", "aanswer", "answers", "ask_for", "key_of", "require_known"]

_SEEDS = range(2**63)
_OVER_FIELDS = ("preset", "budget", "seed", "temperature", "max_tokens", "timeout")
_OF_CALLS = ("model", "tools", "tool_choice", "response_format", "strict", "ls_structured_output_format")


@dataclass(frozen=True, slots=True)
class Ask:
    """The settings of one call.

    Attributes:
        tools: OpenAI's dicts as JSON, so that equal ones are equal.
        schema: of an answer that must be JSON of it, as JSON.
        model: another policy's name, for this call alone.
    """

    preset: Preset
    budget: Budget
    seed: int
    stop: tuple[str, ...]
    tools: str = "[]"
    choice: Choice = AUTO
    schema: str | None = None
    model: str | None = None

    @property
    def tool_dicts(self) -> list[dict[str, Any]]:
        """The tools that are shown."""
        found: list[dict[str, Any]] = [] if self.choice.kind == "none" else json.loads(self.tools)
        return found


Key = tuple[int, Ask, str]


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is refined for one call, and where."""

    lists: list[list[dict[str, Any]]]
    policy: CausalLMPolicy
    prompts: list[PolicyPrompt]
    runs: list[Run]
    queue: Queue
    drafter_errors: list[str | None]


def require_known(given: dict[str, Any], known: Any) -> None:  # noqa: ANN401 - any container of names
    """Every name is an option; else the nearest is named.

    Raises:
        ValueError: one is not.
    """
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"the options are {', '.join(sorted(known))}."
            raise ValueError(f"there is no option {name!r}; {hint}")


def ask_for(model: SEAChatModel, stop: list[str] | None, kwargs: dict[str, Any]) -> Ask:
    """The model's settings with those of the call over them.

    Raises:
        ValueError: an option is unknown, or a value is none that it takes.
    """
    require_known(kwargs, (*_OVER_FIELDS, *_OF_CALLS))
    over = {name: value for name, value in kwargs.items() if name in _OVER_FIELDS}
    given: dict[str, Any] = {name: getattr(model, name) for name in _OVER_FIELDS} | over
    if given["seed"] not in _SEEDS:
        raise ValueError(f"seed={given['seed']!r} must be a whole number from 0 to 2**63 - 1.")
    preset, budget = preset_named(given["preset"]), given["budget"]
    if given["temperature"] is not None:
        preset = replace(preset, window=replace(preset.window, temperature=given["temperature"]))
    if given["max_tokens"] is not None:
        budget = replace(budget, tokens=given["max_tokens"])
    if given["timeout"] is not None:
        budget = replace(budget, seconds=min(given["timeout"], budget.seconds or given["timeout"]))
    tools = tool_dicts(kwargs.get("tools") or [])
    choice = choice_of(kwargs.get("tool_choice"), tools)
    schema = _schema_of(kwargs.get("response_format"))
    stops = tuple(stop or model.stop or ())
    name = kwargs.get("model")
    if name is not None and not isinstance(name, str):
        raise TypeError(f"model={name!r} must be a policy's name; pass any other as policy= to a model.")
    return Ask(preset, budget, given["seed"], stops, json.dumps(tools), choice, schema, name)


def _schema_of(given: Any) -> str | None:  # noqa: ANN401 - OpenAI's dict, or a schema
    """What `response_format` asks for, as JSON; any object where it names no schema."""
    if given is None or given == {"type": "text"}:
        return None
    if not isinstance(given, dict):
        raise TypeError(f"response_format={given!r} must be OpenAI's dict; see with_structured_output.")
    if given.get("type") == "json_object":
        return json.dumps({"type": "object"})
    inner = given.get("json_schema", given)
    return json.dumps(inner.get("schema", inner))


def key_of(model: SEAChatModel, messages: list[BaseMessage], ask: Ask) -> Key:
    """What a batch's answers are found by: another model or other settings never take them."""
    return id(model), ask, json.dumps(template_dicts(messages), default=str)


def answers(model: SEAChatModel, lists: Sequence[list[BaseMessage]], ask: Ask) -> list[Answer]:
    """One answer for each list of messages; they are refined together, beside whatever else is asked."""
    asked = _asked(model, lists, ask)
    if model.drafter is not None:
        try:
            drafts: Sequence[Any] = model.drafter.batch(list(lists), return_exceptions=True)
        except Exception as error:  # noqa: BLE001 - some models' batch returns none
            drafts = [error] * len(lists)
        _take(model, asked, drafts)
    return _judged(model, asked, asked.queue.refine(asked.runs))


async def aanswer(model: SEAChatModel, messages: list[BaseMessage], ask: Ask) -> Answer:
    """The same for one list, the event loop free meanwhile."""
    asked = await run_in_executor(None, _asked, model, [messages], ask)
    if model.drafter is not None:
        try:
            drafts: Sequence[Any] = [await model.drafter.ainvoke(messages)]
        except Exception as error:  # noqa: BLE001 - `_take` has the say
            drafts = [error]
        _take(model, asked, drafts)
    refinements = await asked.queue.arefine(asked.runs)
    (answer,) = await run_in_executor(None, _judged, model, asked, refinements)
    return answer


def _asked(model: SEAChatModel, lists: Sequence[list[BaseMessage]], ask: Ask) -> _Asked:
    """The prompts, read once, and what is to be done with them."""
    # they import transformers, which takes longer than all else: only a model that answers pays for it
    from langchain_sea import _engine, _in_flight  # noqa: PLC0415
    from langchain_sea.budget import Meter  # noqa: PLC0415
    from langchain_sea.chains import generators_for  # noqa: PLC0415
    from langchain_sea.run import Run  # noqa: PLC0415

    conversations = [template_dicts(messages) for messages in lists]
    policy = _engine.policy_for(ask.model or model.policy, model.device, **model._placement)  # noqa: SLF001 - one class in two files
    name = ask.model or model._policy_name  # noqa: SLF001 - same
    terms = _engine.terms_for(model.rewards, name, policy, retries=model.max_retries)
    try:
        prompts = [_prompt(policy, messages, ask) for messages in conversations]
    except PromptTooLongError as error:
        raise ContextOverflowError(str(error)) from error
    energy, window = _engine.energy_for(policy, terms, ask.preset), ask.preset.window
    count = max(window.chains, window.drafts)
    runs = []
    for prompt in prompts:
        generators = generators_for(ask.seed, prompt.key, count, policy.device)
        problem = (energy, ask.preset.langevin, window)
        runs.append(Run(prompt, [], *problem, generators, Meter(ask.budget), ask.stop))
    queue = _in_flight.queue_for(policy)
    return _Asked(conversations, policy, prompts, runs, queue, [None] * len(runs))


def _prompt(policy: CausalLMPolicy, messages: list[dict[str, Any]], ask: Ask) -> PolicyPrompt:
    """The conversation with its tools and, where the form of the answer is given, its grammar."""
    from langchain_sea._grammar import JsonGrammar  # noqa: PLC0415 - as above

    tools, room = ask.tool_dicts, ask.budget.tokens
    schema = json.loads(ask.schema) if ask.schema else None
    if ask.choice.forced:
        schema = forced_schema(tools, ask.choice)
    elif schema is not None:
        # a grammar says what may be written, not what it is for
        messages = told(
            messages, f"Answer with JSON of this schema: {json.dumps(schema, ensure_ascii=False)}"
        )
    # a tag that is one token stands before the answer; one of several is written in the policy's own pieces
    opening = OPENING if ask.choice.forced and policy.marks(OPENING.strip()) else ""
    around = (OPENING, CLOSING) if ask.choice.forced and not opening else ("", "")
    ends = sorted(policy.end_ids)
    grammar = (
        JsonGrammar(schema, policy.tokenizer, policy.vocab_size, ends, around=around) if schema else None
    )
    if tools and not policy.speaks_tools:
        messages, tools = shown(messages, tools), []
    return policy.prompt(messages, tools=tools or None, room=room, opening=opening, grammar=grammar)


def _take(model: SEAChatModel, asked: _Asked, drafts: Sequence[AIMessage | BaseException]) -> None:
    """What the drafter wrote, in the policy's own tokens; where it failed, the policy drafts itself."""
    for i, (run, draft) in enumerate(zip(asked.runs, drafts, strict=True)):
        text = "" if isinstance(draft, BaseException) else str(draft.text)
        ids = asked.policy.encode(text)[: run.meter.budget.tokens]
        if ids and run.prompt.closed(ids, 0):
            run.drafts = [ids]
            continue
        why = "no whole answer of the schema" if ids else "no text"
        error = draft if isinstance(draft, BaseException) else ValueError(f"the drafter wrote {why}.")
        if model.on_failure == "error":
            raise error
        asked.drafter_errors[i] = f"{type(error).__name__}: {error}"


def _judged(model: SEAChatModel, asked: _Asked, refinements: list[Refinement]) -> list[Answer]:
    """What may leave."""
    from langchain_sea import _engine  # noqa: PLC0415 - as above

    gate = _engine.gate_for(model.gate)
    found = [
        answer_for(_checked(model, refinement), len(prompt.ids), gate, model.gate_threshold, messages)
        for refinement, messages, prompt in zip(refinements, asked.lists, asked.prompts, strict=True)
    ]
    errors = zip(found, asked.drafter_errors, strict=True)
    return [replace(answer, drafter_error=error) for answer, error in errors]


def _checked(model: SEAChatModel, refinement: Refinement) -> Refinement:
    failure = refinement.failure
    if failure is not None and model.on_failure == "error":
        if isinstance(failure, SEAError):
            failure.refinement = refinement
        raise failure
    return refinement
