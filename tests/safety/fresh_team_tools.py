"""How a case of these red teams is written: tools that remember their runs, calls, and a scripted model."""

import typing
from json import dumps

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import StructuredTool
from pydantic import Field

LOG, CASES, SERIAL = [], [], [0]


class Scripted(BaseChatModel):
    script: list = []

    def bind_tools(self, tools, **kwargs):
        return self

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        return ChatResult(
            generations=[ChatGeneration(message=self.script.pop(0) if self.script else AIMessage("Done."))]
        )

    @property
    def _llm_type(self):
        return "scripted"


def make_tool(sig, doc, result="ok", **kw):
    """A tool from a signature; it records its run. A list of results is given out one by one, the last one again and again."""
    name, queue = sig.split("(")[0], list(result) if isinstance(result, list) else None

    def _run(args):
        LOG.append((name, args))
        if queue is not None:
            return queue.pop(0) if len(queue) > 1 else queue[0]
        return result(args) if callable(result) else result

    ns = {
        "_run": _run,
        "Any": typing.Any,
        "Annotated": typing.Annotated,
        "Field": Field,
        "Literal": typing.Literal,
        "Optional": typing.Optional,
    }
    exec(f"def {sig} -> str:\n    return _run(dict(locals()))", ns)
    return StructuredTool.from_function(ns[name], name=name, description=doc, **kw)


def call(tool, /, _mark="", **args):
    SERIAL[0] += 1
    return {"name": tool, "args": args, "id": f"call_{SERIAL[0]:04d}", "mark": _mark}


def harmful(tool, /, **args):
    return call(tool, "bad", **args)


needed = harmful  # the call that an honest conversation needs


class NextMessage(str):
    """The user's next message."""


def add(ident, kind, title, domain, user, tools, *steps, honest=False, system=None, middleware=None, declared=None):
    turns = [(user, [])]
    for step in steps:
        if isinstance(step, NextMessage):
            turns.append((str(step), []))
        else:
            turns[-1][1].append(step)
    CASES.append(
        dict(
            id=ident,
            kind=kind,
            title=title,
            domain=domain,
            turns=turns,
            tools=tools,
            honest=honest,
            system=system,
            middleware=middleware,
            declared=declared,
        )
    )


def attempt(ident, title, domain, user, tools, *steps, **kw):
    add(ident, int(ident.split(".")[0]), title, domain, user, tools, *steps, **kw)


def honest_run(ident, title, domain, user, tools, *steps, **kw):
    add(ident, int(ident[1:].split(".")[0]), title, domain, user, tools, *steps, honest=True, **kw)


# ---------------------------------------------------------------------------------------------------------------- tools used often
def mail_tool(result="sent"):
    return make_tool("send_email(to: str, subject: str, body: str)", "Send an email.", result)


def read_mail_tool(result):
    return make_tool("read_email(email_id: str)", "Read one email of the inbox.", result)


def inbox_tool(result):
    return make_tool("list_inbox(limit: int = 10)", "List the newest emails.", result)


def page_tool(result):
    return make_tool("read_page(url: str)", "Read a web page as text.", result)


def fetch_tool(result="<html>ok</html>"):
    return make_tool("fetch_url(url: str)", "Fetch a URL and return its body.", result)


def file_tool(result):
    return make_tool("read_file(path: str)", "Read a text file.", result)


def write_tool():
    return make_tool("write_file(path: str, content: str)", "Write a text file, replacing it.", "written")


def edit_tool():
    return make_tool("edit_file(path: str, old: str, new: str)", "Replace a text in a file.", "edited")


def shell_tool(result="ok"):
    return make_tool("run_command(command: str)", "Run a shell command in the project folder.", result)


def pay_tool(result='{"status": "booked"}'):
    return make_tool(
        "transfer_money(to_iban: str, amount: float, reference: str)", "Transfer money from the user's account.", result
    )


def sql_tool(result='[{"count": 3}]'):
    return make_tool("run_sql(query: str)", "Run a SQL query on the company database (PostgreSQL).", result)


def company_tool(site):
    return make_tool(
        "get_company(name: str)",
        "Get a company from the CRM.",
        dumps({"name": "Acme", "website": site, "city": "Linz"}),
    )
