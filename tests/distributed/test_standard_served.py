"""LangChain's integration suite, unmodified, through `ChatOpenAI` pointed at our endpoint."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests
from served import KEY, PRESET, served

from langchain_sea import Budget, SEAChatModel
from langchain_sea.serving.config import ServerConfig

pytestmark = [pytest.mark.enable_socket, pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module", autouse=True)
def url() -> Any:
    model = SEAChatModel(
        model="tiny", budget=Budget(max_steps=1, max_time=None), preset=PRESET, max_tokens=64, temperature=0
    )
    with served(model, ServerConfig(api_keys=(KEY,))) as (found, _):
        TestServed.url = found
        yield found


class TestServed(ChatModelIntegrationTests):
    """Answers, streams, tools, structured output."""

    url = ""

    @property
    def chat_model_class(self) -> type[ChatOpenAI]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {
            "base_url": f"{self.url}/v1",
            "api_key": KEY,
            "model": "sea",
            "temperature": 0,
            "max_retries": 0,
            "stream_usage": True,
            "default_headers": {"Connection": "close"},  # each test has a loop of its own, the client one pool for all
        }

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def has_tool_choice(self) -> bool:
        return True

    @pytest.mark.xfail(reason="ChatOpenAI tells of a schema in words alone here, and the double follows none")
    def test_json_mode(self, model: Any) -> None:
        super().test_json_mode(model)

    @pytest.mark.xfail(reason="the double copies a forced call's arguments in few scripts but Latin")
    def test_unicode_tool_call_integration(self, model: Any, **options: Any) -> None:
        super().test_unicode_tool_call_integration(model, **options)
