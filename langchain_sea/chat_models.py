"""`SEAChatModel`: the one place where policy, rewards, preset and budget meet LangChain's messages."""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Self

from langchain_core.exceptions import ContextOverflowError
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables.config import run_in_executor
from pydantic import ConfigDict, Field, model_validator

from langchain_sea._messages import template_dicts
from langchain_sea._report import Answer, answer_for
from langchain_sea.budget import Budget
from langchain_sea.errors import PromptTooLongError, SEAError
from langchain_sea.presets import Preset, preset_named

if TYPE_CHECKING:
    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
    from langchain_core.language_models import LangSmithParams, LanguageModelInput
    from langchain_core.runnables import RunnableConfig

    from langchain_sea._in_flight import Queue
    from langchain_sea.best import Refinement
    from langchain_sea.policy import CausalLMPolicy, PolicyPrompt
    from langchain_sea.run import Run

__all__ = ["SEAChatModel"]

_SEEDS = range(2**63)


@dataclass(frozen=True, slots=True)
class _Ask:
    """The settings of one call."""

    preset: Preset
    budget: Budget
    seed: int
    stop: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is refined for one call, and where."""

    lists: list[list[dict[str, Any]]]
    policy: CausalLMPolicy
    prompts: list[PolicyPrompt]
    runs: list[Run]
    queue: Queue
    drafter_errors: list[str | None]


_Key = tuple[int, _Ask, str]
_ready: ContextVar[dict[_Key, Answer] | None] = ContextVar("_ready", default=None)


class SEAChatModel(BaseChatModel):
    """A local chat model whose every answer is refined by gradient before it leaves.

    The policy drafts, the draft is moved through continuous logits towards higher reward (Simple Energy
    Adaptation, arXiv 2505.20081), and the best text is returned; it is never worse than the draft by the
    energy's own score, `response_metadata["sea"]` shows both. Constructing loads nothing.

    Attributes:
        policy: `smollm2-135m`, `tiny`, a hub id, a folder, a .gguf file, or a `CausalLMPolicy`.
        rewards: names, callables `(prompt, completions) -> scores`, rewards or `Term`s; None takes the
            policy's own (`smollm2-135m`: safety; `tiny`: arithmetic).
        preset: `default`, `paper`, `reference`, or a `Preset`.
        budget: steps, seconds, tokens, evaluations; the best so far at whichever comes first.
        seed: the same seed gives the same answer, whatever else is in the batch.
        gate: `safety` or a callable like a reward: decides whether an answer may leave. An answer that does
            not pass is replaced by the draft if that passes, else by a refusal.
        gate_threshold: what passes; None takes the gate's own, or 0.5.
        on_failure: a reward that fails returns the draft, flagged (`draft`), or raises (`error`).
        temperature: of drafting; None takes the preset's.
        max_tokens: the longest answer; None takes the budget's.
        stop: strings before which an answer ends.
        timeout: seconds; tightens the budget's.
        max_retries: of a callable reward that lost its connection (an `OSError`).
        drafter: a LangChain chat model, say of a server, whose answer is the draft in place of the policy's
            own. One that fails, or writes no text, is treated as `on_failure` says.
        device: None chooses; or `device_map`, as transformers takes it, spreads the policy over several.
        dtype: of the policy's weights; None takes bfloat16 on hardware that multiplies it, else float32.
        quantization: `int8` or `int4`: keeps the policy's linear layers in so many bits. Slower, and smaller.

    Example:
        >>> from langchain_sea import SEAChatModel
        >>> model = SEAChatModel(policy="tiny")
        >>> model.invoke("What is 14 + 23?").content  # doctest: +SKIP
        '14 + 23 = 37. The answer is 37.'
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, populate_by_name=True)

    policy: Any = "smollm2-135m"
    rewards: Sequence[Any] | None = None
    preset: str | Preset = "default"
    budget: Budget = Field(default_factory=Budget)
    seed: int = 0
    gate: Any = None
    gate_threshold: float | None = None
    on_failure: Literal["draft", "error"] = "draft"
    temperature: float | None = Field(default=None, ge=0)
    max_tokens: int | None = Field(default=None, ge=1)
    stop: list[str] | None = None
    timeout: float | None = Field(default=None, gt=0)
    max_retries: int = Field(default=2, ge=0)
    drafter: BaseChatModel | None = None
    device: str | None = None
    device_map: str | dict[str, Any] | None = None
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    quantization: Literal["int8", "int4"] | None = None

    @model_validator(mode="before")
    @classmethod
    def _known_options(cls, values: dict[str, Any]) -> dict[str, Any]:
        _require_known(values, cls.model_fields)
        return values

    @model_validator(mode="after")
    def _valid(self) -> Self:
        self._ask(None, {})
        how = {name: value for name, value in self._placement.items() if value is not None}
        if how and not isinstance(self.policy, (str, os.PathLike)):
            raise ValueError(f"{', '.join(how)}: this is for a policy to load, and the one given is loaded.")
        if self.device is not None and self.device_map is not None:
            raise ValueError("device and device_map both say where the policy goes: pass one of them.")
        return self

    @property
    def _placement(self) -> dict[str, Any]:
        """How the policy's weights are loaded, beside `device`."""
        return {name: getattr(self, name) for name in ("dtype", "quantization", "device_map")}

    @property
    def _llm_type(self) -> str:
        return "sea-chat"

    @property
    def _policy_name(self) -> str:
        name = getattr(getattr(self.policy, "model", None), "name_or_path", None)
        return str(name or self.policy)

    @property
    def _identifying_params(self) -> dict[str, Any]:
        """All that decides an answer, so that two different models never share a cache key."""
        from langchain_sea._engine import describe  # noqa: PLC0415 - as in `_engine`

        rewards = None if self.rewards is None else [describe(reward) for reward in self.rewards]
        plain = {
            name: getattr(self, name) for name in ("seed", "gate_threshold", "on_failure", "temperature")
        }
        return (
            plain
            | self._placement
            | {
                "model_name": self._policy_name,
                "rewards": rewards,
                "preset": asdict(preset_named(self.preset)),
                "budget": asdict(self.budget),
                "gate": None if self.gate is None else describe(self.gate),
                "max_tokens": self.max_tokens,
                "stop_sequences": self.stop,  # core has a key "stop" of its own, for the call
                "timeout": self.timeout,
                "device": self.device,
                # core's own cache key of the drafter, which holds no secrets
                "drafter": None if self.drafter is None else self.drafter._get_llm_string(),  # noqa: SLF001
            }
        )

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = "sea"
        params["ls_model_name"] = self._policy_name
        return params

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002 - LangChain passes it by name
        **kwargs: Any,
    ) -> ChatResult:
        ask = self._ask(stop, kwargs)
        answer = (_ready.get() or {}).get(self._key(messages, ask))
        return self._result(answer or self._answers([messages], ask)[0], ask)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002 - LangChain passes it by name
        **kwargs: Any,
    ) -> ChatResult:
        """The event loop is never held, and a call that is cancelled leaves at its next step."""
        ask = self._ask(stop, kwargs)
        asked = await run_in_executor(None, self._asked, [messages], ask)
        if self.drafter is not None:
            try:
                drafts: Sequence[Any] = [await self.drafter.ainvoke(messages)]
            except Exception as error:  # noqa: BLE001 - `_take` has the say
                drafts = [error]
            self._take(asked, drafts)
        refinements = await asked.queue.arefine(asked.runs)
        (answer,) = await run_in_executor(None, self._judged, asked, refinements)
        return self._result(answer, ask)

    def _result(self, answer: Answer, ask: _Ask) -> ChatResult:
        message = AIMessage(
            content=answer.text,
            usage_metadata=answer.usage(),
            response_metadata=self._metadata(answer, ask),
        )
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002 - core reports the chunks itself
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        """Only text that passed keep-best and the gate, a word a chunk; the numbers on the last."""
        ask = self._ask(stop, kwargs)
        answer = self._answers([messages], ask)[0]
        for word in re.findall(r"\s*\S+\s*$|\s*\S+", answer.text):
            yield ChatGenerationChunk(message=AIMessageChunk(content=word))
        last = AIMessageChunk(
            content="",
            usage_metadata=answer.usage(),
            response_metadata=self._metadata(answer, ask),
            chunk_position="last",
        )
        yield ChatGenerationChunk(message=last)

    def batch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """Answer all inputs; their prompts are refined together, under one clock."""
        stop, options = kwargs.get("stop"), {key: value for key, value in kwargs.items() if key != "stop"}
        ready: dict[_Key, Answer] = {}
        # what fails here fails again, alone and reported for its own input, in the call below
        with contextlib.suppress(Exception):
            lists = [self._convert_input(value).to_messages() for value in inputs]
            ask = self._ask(stop, options)
            unique = {self._key(messages, ask): messages for messages in lists}
            answers = self._answers(list(unique.values()), ask)
            ready = dict(zip(unique, answers, strict=True))
        token = _ready.set(ready)
        try:
            return super().batch(inputs, config, return_exceptions=return_exceptions, **kwargs)
        finally:
            _ready.reset(token)

    def get_token_ids(self, text: str) -> list[int]:
        """The policy's ids of a text, special tokens split."""
        from langchain_sea._engine import policy_for  # noqa: PLC0415 - as in `_engine`

        return policy_for(self.policy, self.device, **self._placement).encode(text)

    def _key(self, messages: list[BaseMessage], ask: _Ask) -> _Key:
        """What a batch's answers are found by: another model or other settings never take them."""
        return id(self), ask, json.dumps(template_dicts(messages), default=str)

    def _ask(self, stop: list[str] | None, kwargs: dict[str, Any]) -> _Ask:
        """The model's settings with those of the call over them."""
        _require_known(kwargs, _PER_CALL)
        given: dict[str, Any] = {name: getattr(self, name) for name in _PER_CALL} | kwargs
        if given["seed"] not in _SEEDS:
            raise ValueError(f"seed={given['seed']!r} must be a whole number from 0 to 2**63 - 1.")
        preset, budget = preset_named(given["preset"]), given["budget"]
        if given["temperature"] is not None:
            preset = replace(preset, window=replace(preset.window, temperature=given["temperature"]))
        if given["max_tokens"] is not None:
            budget = replace(budget, tokens=given["max_tokens"])
        if given["timeout"] is not None:
            budget = replace(budget, seconds=min(given["timeout"], budget.seconds or given["timeout"]))
        return _Ask(preset, budget, given["seed"], tuple(stop or self.stop or ()))

    def _answers(self, lists: Sequence[list[BaseMessage]], ask: _Ask) -> list[Answer]:
        """One answer for each list of messages; they are refined together, beside whatever else is asked."""
        asked = self._asked(lists, ask)
        if self.drafter is not None:
            try:
                drafts: Sequence[Any] = self.drafter.batch(list(lists), return_exceptions=True)
            except Exception as error:  # noqa: BLE001 - some models' batch returns none
                drafts = [error] * len(lists)
            self._take(asked, drafts)
        return self._judged(asked, asked.queue.refine(asked.runs))

    def _asked(self, lists: Sequence[list[BaseMessage]], ask: _Ask) -> _Asked:
        """The prompts, read once, and what is to be done with them."""
        # they import transformers, which takes longer than all else: only a model that answers pays for it
        from langchain_sea import _engine, _in_flight  # noqa: PLC0415
        from langchain_sea.budget import Meter  # noqa: PLC0415
        from langchain_sea.chains import generators_for  # noqa: PLC0415
        from langchain_sea.run import Run  # noqa: PLC0415

        conversations = [template_dicts(messages) for messages in lists]
        policy = _engine.policy_for(self.policy, self.device, **self._placement)
        terms = _engine.terms_for(self.rewards, self._policy_name, policy, retries=self.max_retries)
        try:
            prompts = [policy.prompt(messages, room=ask.budget.tokens) for messages in conversations]
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

    def _take(self, asked: _Asked, drafts: Sequence[AIMessage | BaseException]) -> None:
        """What the drafter wrote, in the policy's own tokens; where it failed, the policy drafts itself."""
        for i, (run, draft) in enumerate(zip(asked.runs, drafts, strict=True)):
            text = "" if isinstance(draft, BaseException) else str(draft.text)
            ids = asked.policy.encode(text)[: run.meter.budget.tokens]
            if ids:
                run.drafts = [ids]
                continue
            error = draft if isinstance(draft, BaseException) else ValueError("the drafter wrote no text.")
            if self.on_failure == "error":
                raise error
            asked.drafter_errors[i] = f"{type(error).__name__}: {error}"

    def _judged(self, asked: _Asked, refinements: list[Refinement]) -> list[Answer]:
        """What may leave."""
        from langchain_sea import _engine  # noqa: PLC0415 - as above

        gate = _engine.gate_for(self.gate)
        answers = [
            answer_for(self._checked(refinement), len(prompt.ids), gate, self.gate_threshold, messages)
            for refinement, messages, prompt in zip(refinements, asked.lists, asked.prompts, strict=True)
        ]
        errors = zip(answers, asked.drafter_errors, strict=True)
        return [replace(answer, drafter_error=error) for answer, error in errors]

    def _checked(self, refinement: Refinement) -> Refinement:
        failure = refinement.failure
        if failure is not None and self.on_failure == "error":
            if isinstance(failure, SEAError):
                failure.refinement = refinement
            raise failure
        return refinement

    def _metadata(self, answer: Answer, ask: _Ask) -> dict[str, Any]:
        return {
            "model_name": self._policy_name,
            "model_provider": "sea",
            "finish_reason": answer.finish_reason(ask.budget.tokens),
            "sea": answer.report() | {"seed": ask.seed, "preset": ask.preset.name},
        }


_PER_CALL = ("preset", "budget", "seed", "temperature", "max_tokens", "timeout")


def _require_known(given: dict[str, Any], known: Any) -> None:  # noqa: ANN401 - any container of names
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"the options are {', '.join(sorted(known))}."
            raise ValueError(f"there is no option {name!r}; {hint}")
