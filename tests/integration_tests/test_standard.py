"""LangChain's own standard tests, unmodified, on the test double: every text flag on."""

from __future__ import annotations

import os
from typing import Any

import pytest
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests
from unit_tests.doubles import SMALL_PRESET

from langchain_sea import Budget, SEAChatModel

MODEL = os.environ.get("SEA_POLICY", "tiny")  # the real one: SEA_POLICY=smollm2-135m


class Flags:
    """What the model is said to do."""

    @property
    def chat_model_class(self) -> type[SEAChatModel]:
        return SEAChatModel

    @property
    def chat_model_params(self) -> dict[str, Any]:
        budget = Budget(max_steps=1, max_time=None)
        return {"model": MODEL, "budget": budget, "preset": SMALL_PRESET, "temperature": 0}

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def has_tool_choice(self) -> bool:
        return True

    @property
    def supports_model_override(self) -> bool:
        return True

    @property
    def model_override_value(self) -> str:
        return "tiny/early_30" if MODEL == "tiny" else "tiny"


class TestUnit(Flags, ChatModelUnitTests):
    """Construction, binding, parameters."""


class TestIntegration(Flags, ChatModelIntegrationTests):
    """Answers, streams, tools, structured output."""

    @pytest.mark.xfail(MODEL == "tiny", reason="the double copies a forced call's arguments in few scripts but Latin")
    def test_unicode_tool_call_integration(self, model: Any, **options: Any) -> None:
        super().test_unicode_tool_call_integration(model, **options)
