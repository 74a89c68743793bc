"""Methods of `SEAChatModel` that look into the model: its tokens, and the refinement behind an answer."""

from __future__ import annotations

from concurrent.futures import wait
from typing import TYPE_CHECKING, Any

from langchain_sea.chat.generate import generate_answers, is_stepped_here, load_policy, wait_for_calls
from langchain_sea.chat.messages import require_unicode, to_template_messages
from langchain_sea.chat.options import require_one_answer
from langchain_sea.chat.runs import SEARuns
from langchain_sea.chat.tools import to_openai_tools

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future

    from langchain_core.language_models import LanguageModelInput
    from langchain_core.messages import BaseMessage

    from langchain_sea.engine.selection import Refinement
    from langchain_sea.models.causal_lm import CausalLMPolicy

__all__ = ["SEAInspection"]


class SEAInspection(SEARuns):
    """A model whose tokens and refinements can be looked at."""

    def refinement(self, input: LanguageModelInput, **kwargs: Any) -> Refinement:  # noqa: A002 - as in `invoke`
        """Answer once and return the refinement: every scored text and, in its `trace`, every step.

        For inspection: the gate changes nothing here, and callbacks are not called.

        Args:
            input: as for `invoke`.
            kwargs: options of a call, as for `invoke`.
        """
        config, options = self._settings_of_call(kwargs.pop("stop", None), kwargs)
        messages = self._convert_input(input).to_messages()
        (answer,) = generate_answers(config, require_one_answer(options), messages)
        return answer.refinement

    def get_token_ids(self, text: str) -> list[int]:
        """Return the model's token ids of a text; all special tokens but markers of calls and thoughts are text."""
        require_unicode(text, "the text")
        return self._load_policy().encode(text)

    def get_num_tokens_from_messages(self, messages: list[BaseMessage], tools: Sequence[Any] | None = None) -> int:
        """Return the number of tokens of the prompt made of these messages and tools."""
        policy, openai_tools = self._load_policy(), to_openai_tools(tools or [])
        require_unicode(openai_tools, "a tool")
        return policy.count_tokens(to_template_messages(messages), openai_tools or None)

    def _wait_for_calls(self, calls: Sequence[Future[Any]], kwargs: dict[str, Any]) -> None:
        """Wait for calls of other threads with these options, while this thread computes for them."""
        try:
            config, _ = self._settings_of_call(None, {name: v for name, v in kwargs.items() if name != "stop"})
            wait_for_calls(config, calls)
        except Exception:  # noqa: BLE001 - a wrong option or name: each call reports it
            wait(calls)

    def _is_stepped_here(self, kwargs: dict[str, Any]) -> bool:
        """Return whether this is the thread that computes for calls with these options."""
        try:
            config, _ = self._settings_of_call(None, {name: v for name, v in kwargs.items() if name != "stop"})
            return is_stepped_here(config)
        except Exception:  # noqa: BLE001 - a wrong option or name: each call reports it
            return False

    def _load_policy(self) -> CausalLMPolicy:
        config, _ = self._settings_of_call(None, {})
        return load_policy(config)
