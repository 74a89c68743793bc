"""How often the rules stop honest calls: `python tests/safety/honest_traffic.py DATA`, where DATA has `agent_traffic/`.

Counts calls that are labelled `benign`, or have no label, in recorded runs; each conversation once. Prints which rule it
was. Not part of the fast tests.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
from collections import Counter
from pathlib import Path

from langchain_sea.safety import CallContext, ContextMessage, GuardConfig, RulesCheck, ToolRules
from langchain_sea.safety.tool_call import freeze_calls


def list_findings(run, policy):
    """(tool, finding) of every honest call of a conversation."""
    schemas = {name: tool.get("parameters") or {"type": "object"} for name, tool in run["tools"].items()}
    context = CallContext((ContextMessage("user", "x"),), schemas, policy)
    for message in run["messages"]:
        for call in message.get("calls") or ():
            if call.get("label", "benign") == "benign":
                frozen = freeze_calls([{"id": "1", "name": call["name"], "args": call["args"]}])
                for finding in RulesCheck()(frozen, context)[0]:
                    yield call["name"], finding


def make_policy(run):
    effects = {name: tool.get("effect") for name, tool in run["tools"].items()}
    return GuardConfig(tools={name: ToolRules(effect=effect) for name, effect in effects.items() if effect})


def main(data):
    for path in sorted((Path(data) / "agent_traffic").glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            runs = [json.loads(line) for line in file]
        for title, policy in (("nothing set", lambda _: GuardConfig()), ("with effects", make_policy)):
            counts, rules, examples = Counter(), Counter(), {}
            for run in runs:
                found = list(list_findings(run, policy(run)))
                counts.update({str(finding.action) for _, finding in found})
                for tool, finding in found:
                    rule = (str(finding.action), re.sub(r"'.*?'|\d+", "…", finding.reason)[:70])
                    rules[rule] += 1
                    examples.setdefault(rule, f"{tool}: {finding.reason[:160]}")
            shares = ", ".join(f"{n} {action}" for action, n in counts.items()) or "none stopped"
            print(f"{path.name}, {title}: {len(runs)} conversations: {shares}")
            for rule, number in rules.most_common():
                print(f"  {number:4} {rule[0]:6} {rule[1]}   e.g. {examples[rule]}")


if __name__ == "__main__":
    main(sys.argv[1])
