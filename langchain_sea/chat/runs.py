"""The run of a call, also where LangChain streams and passes none. Knows no network."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, cast

from langchain_core.callbacks import BaseRunManager, CallbackManager
from langchain_core.runnables import ensure_config
from pydantic import PrivateAttr

from langchain_sea.chat.caching import find_cache
from langchain_sea.chat.retries import with_new_seed
from langchain_sea.chat.settings import SEASettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from typing import Self

    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
    from langchain_core.language_models import LanguageModelInput
    from langchain_core.messages import AIMessageChunk, BaseMessage
    from langchain_core.outputs import ChatResult
    from langchain_core.runnables import RunnableConfig

__all__ = ["SEARuns"]


class SEARuns(SEASettings):
    """A model that knows the run of a streamed call, to whose handlers plan and steps are reported.

    LangChain passes the run to `_generate`, and not to `_stream`. It is therefore kept on a copy of the model that
    answers this one call.
    """

    _run = PrivateAttr(default=cast("BaseRunManager | None", None))

    def stream(
        self,
        input: LanguageModelInput,  # noqa: A002 - LangChain's name
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Iterator[AIMessageChunk]:
        """Yield the chunks of an answer; see `_stream`."""
        config, model = self._begin_run(config)
        yield from super(SEARuns, model).stream(input, config, stop=stop, **kwargs)

    async def astream(
        self,
        input: LanguageModelInput,  # noqa: A002 - LangChain's name
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[AIMessageChunk]:
        """Yield the chunks of an answer without blocking the event loop."""
        config, model = self._begin_run(config)
        async for chunk in super(SEARuns, model).astream(input, config, stop=stop, **kwargs):
            yield chunk

    def _generate_with_cache(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        """Keep the run, because LangChain may stream here; a retry has its own seed; failures are not stored."""
        model = self._with_run(run_manager)
        model.cache = find_cache(self.cache)
        kwargs = self._with_seed_of_attempt(run_manager, kwargs)
        return super(SEARuns, model)._generate_with_cache(messages, stop, run_manager, **kwargs)

    async def _agenerate_with_cache(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        """Keep the run, because LangChain may stream here; a retry has its own seed; failures are not stored."""
        model = self._with_run(run_manager)
        model.cache = find_cache(self.cache)
        kwargs = self._with_seed_of_attempt(run_manager, kwargs)
        return await super(SEARuns, model)._agenerate_with_cache(messages, stop, run_manager, **kwargs)

    def _begin_run(self, config: RunnableConfig | None) -> tuple[RunnableConfig, Self]:
        """Return the configuration with the id of a run, and a model that knows this run."""
        config = ensure_config(config)
        run_id = config["run_id"] = config.get("run_id") or uuid.uuid4()
        manager = CallbackManager.configure(
            config.get("callbacks"),
            self.callbacks,
            self.verbose,
            config.get("tags"),
            self.tags,
            config.get("metadata"),
            self.metadata,
        )
        run = BaseRunManager(
            run_id=run_id,
            handlers=manager.handlers,
            inheritable_handlers=manager.inheritable_handlers,
            tags=manager.tags,
            metadata=manager.metadata,
        )
        return config, self._with_run(run)

    def _with_seed_of_attempt(self, run: BaseRunManager | None, kwargs: dict[str, Any]) -> dict[str, Any]:
        default = None if "seed" in self.model_fields_set else self.seed
        return with_new_seed(kwargs, None if run is None else run.tags, default)

    def _with_run(self, run: BaseRunManager | None) -> Self:
        model = self.model_copy()
        model._run = run  # noqa: SLF001 - a copy of this object
        return model
