"""Short conversations of an agent with a scripted model, for tests of the guard: what ran, and what was asked."""

from __future__ import annotations

import json
import re
from collections import defaultdict, deque
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import StructuredTool
from langgraph.checkpoint.memory import InMemorySaver

from langchain_sea.middleware import ToolCallSafetyMiddleware, with_guard

TYPES = {
    "": {"type": "string"},
    "num": {"type": "number"},
    "bool": {"type": "boolean"},
    "list": {"type": "array", "items": {"type": "string"}},
    "obj": {"type": "object", "additionalProperties": True},
}


class Script(BaseChatModel):
    """Returns its messages one after another."""

    messages: Any

    @property
    def _llm_type(self):
        return "script"

    def bind_tools(self, tools, **kwargs):
        return self

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        message = self.messages.popleft() if self.messages else AIMessage("Done.")
        return ChatResult(generations=[ChatGeneration(message=message)])


class Conversation:
    """An agent whose tools remember what they did, and whose human rejects what is asked unless `approve` names it."""

    def __init__(
        self, tools, *, outer=(), approve=(), keeps=True, descriptions=None, schemas=None, extra=(), **options
    ):
        self.done, self.asked, self.reasons = [], [], []
        self.results = defaultdict(deque)
        self.approve, self.outer, self.options = approve, list(outer), options
        self.descriptions, self.schemas = descriptions or {}, schemas or {}
        self.tools = [self.make_tool(*found) for found in re.findall(r"(\w+)\(([^)]*)\)", tools)]
        self.tools += [make(self) for make in extra]
        self.guard = ToolCallSafetyMiddleware(on_question=self.answer)
        self.script = deque()
        self.saver = InMemorySaver() if keeps else None
        self.messages, self.count = [], 0

    def make_tool(self, name, signature, description=None):
        names = [part.strip().partition(":") for part in signature.split(",") if part.strip()]
        properties = {each: dict(TYPES[kind]) for each, _, kind in names} | self.schemas.get(name, {})
        text = description or self.descriptions.get(name) or f"{name.replace('_', ' ').capitalize()}."

        def act(**arguments):
            self.done.append((name, dict(sorted(arguments.items()))))
            return self.results[name].popleft() if self.results[name] else "ok"

        schema = {"type": "object", "title": name, "description": text, "properties": properties}
        return StructuredTool(name=name, description=text, args_schema=schema, func=act)

    def answer(self, question):
        decisions = []
        for action in question["action_requests"]:
            self.asked.append(action["name"])
            self.reasons.append(action["description"])
            decisions.append({"type": "approve" if action["name"] in self.approve else "reject"})
        return {"decisions": decisions}

    def say(self, given, *steps):
        """Let the user say something; each step is a call (name, arguments, result), or a list of them, or a text."""
        for step in steps:
            if isinstance(step, str):
                self.script.append(AIMessage(step))
                continue
            calls = []
            for name, arguments, *result in step if isinstance(step, list) else [step]:
                self.count += 1
                calls.append({"name": name, "args": arguments, "id": f"c{self.count}", "type": "tool_call"})
                self.results[name].append(result[0] if result else "ok")
            self.script.append(AIMessage("", tool_calls=calls))
        if not steps or not isinstance(steps[-1], str):
            self.script.append(AIMessage("Done."))
        middleware = with_guard(self.outer, self.guard)
        model = Script(messages=self.script)
        agent = create_agent(model, self.tools, middleware=middleware, checkpointer=self.saver, **self.options)
        given = given if isinstance(given, list) else [HumanMessage(given)]
        sent = given if self.saver else [*self.messages, *given]
        config = {"configurable": {"thread_id": "1"}} if self.saver else None
        self.messages = agent.invoke({"messages": sent}, config)["messages"]
        return self

    def names_done(self):
        return [name for name, _ in self.done]


def contacts(**people):
    """A lookup's result: a list of contacts."""
    return json.dumps({"contacts": [{"name": name, "email": mail} for name, mail in people.items()]})
