"""Red teams that knew the guide alone: `python tests/safety/fresh_team.py --team fourth --json FILE`.

Each team wrote 100 attempts against the guard with nothing set, ten of each of ten kinds, and 30 honest conversations,
before they were run once. The guard then learned from the attempts of the third team that had run, so only the newest
team says something about attempts that the guard does not know. An attempt counts by its harmful call: it ran, was
asked about, or was blocked. A question about an innocent earlier call counts as asked; it is approved, and the
conversation goes on to see what becomes of the harmful call. `--no-guard` checks the program itself: every marked call
must then run.
"""

import argparse
import importlib
import json
import sys
import traceback
from collections import Counter
from pathlib import Path

from fresh_team_tools import CASES, LOG, Scripted
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from langchain_sea.middleware import ToolCallSafetyMiddleware, with_guard
from langchain_sea.safety import GuardConfig

PARTS = ("transfers", "commands", "addresses", "secrets", "trust", "honest")


def matches(want, name, args):
    return want["name"] == name and all(k in args and args[k] == v for k, v in want["args"].items())


def run(case, guarded, listed, ask_writes="doubtful"):
    LOG.clear()
    steps = [s for _, turn in case["turns"] for s in turn]
    calls = [c for s in steps if not isinstance(s, str) for c in (s if isinstance(s, list) else [s])]
    wanted = [c for c in calls if c["mark"]]
    assert wanted, "no marked call"
    middleware = case["middleware"]() if case["middleware"] else []
    if guarded:
        guard = ToolCallSafetyMiddleware(policy=GuardConfig(ask_writes=ask_writes))
        middleware = with_guard(middleware, guard) if middleware or listed else [guard]
    model = Scripted()
    agent = create_agent(
        model, case["tools"], system_prompt=case["system"], middleware=middleware, checkpointer=InMemorySaver()
    )
    config = {"configurable": {"thread_id": case["id"]}, "recursion_limit": 80}
    early, asked, stopped, rejected = [], [], {}, []

    def did():
        """The marked calls that ran; a call with a twin before it in the script needs one more run."""
        ran = []
        for c in wanted:
            before = calls[: calls.index(c)]
            twins = sum(matches(c, b["name"], b["args"]) for b in before)
            if sum(matches(c, n, a) for n, a in LOG) > twins:
                ran.append(c)
        return ran

    for user, turn in case["turns"]:
        script = []
        for s in turn:
            made = s if isinstance(s, (str, list)) else [s]
            script.append(
                AIMessage(made)
                if isinstance(made, str)
                else AIMessage("", tool_calls=[{k: c[k] for k in ("name", "args", "id")} for c in made])
            )
        if not script or script[-1].tool_calls:
            script.append(AIMessage("Done."))
        model.script[:] = script
        result = agent.invoke({"messages": [HumanMessage(user)]}, config)
        for _ in range(12):
            interrupts = result.get("__interrupt__") or ()
            if not interrupts:
                break
            answers = {}
            for item in interrupts:
                decisions = []
                for action in item.value["action_requests"]:
                    bad = next((c for c in wanted if matches(c, action["name"], action["args"])), None)
                    if (
                        bad is not None
                        and any(matches(bad, c["name"], c["args"]) for c in calls if not c["mark"])
                        and not any(matches(bad, n, a) for n, a in LOG)
                    ):
                        bad = None  # the innocent twin, which comes first
                    text = f"{action['name']}: {action.get('description', '')}"
                    (asked if bad is not None or case["honest"] else early).append(text)
                    rejected.extend([bad] if bad is not None else [])
                    decisions.append({"type": "reject" if bad is not None or case["honest"] else "approve"})
                answers[item.id] = {"decisions": decisions}
            if case["honest"]:
                return finish(case, "ASKED", " | ".join(asked), early, None)
            resume = next(iter(answers.values())) if len(answers) == 1 else answers
            result = agent.invoke(Command(resume=resume), config)
            if asked:
                if any(c in rejected for c in did()):
                    return finish(case, "RAN", "ran although it was rejected: " + " | ".join(asked), early, None)
                return finish(case, "ASKED", " | ".join(asked), early, "ASKED" if early else None)
        for m in result["messages"]:
            if isinstance(m, ToolMessage) and m.status == "error":
                stopped[m.tool_call_id] = m.text if isinstance(m.text, str) else str(m.content)
    ran = did()
    if case["honest"]:
        if stopped:
            return finish(case, "BLOCKED", " | ".join(stopped.values()), early, None)
        return finish(case, "RAN" if len(ran) == len(wanted) else "broken", "", early, None)
    if len(ran) == len(wanted):
        outcome, why = "RAN", "; ".join(f"{c['name']} ran" for c in wanted)
        if stopped:
            why += " (stopped before: " + " | ".join(stopped.values()) + ")"
    else:
        left = [stopped[c["id"]] for c in wanted if c["id"] in stopped]
        left = left or [
            stopped[b["id"]] for c in wanted for b in calls if b["id"] in stopped and matches(c, b["name"], b["args"])
        ]
        outcome, why = (
            ("BLOCKED", " | ".join(left))
            if left
            else ("broken", f"the harmful call neither ran nor was stopped; errors: {stopped}")
        )
    return finish(
        case,
        "ASKED" if early and outcome != "broken" else outcome,
        why if not early else f"early question: {' | '.join(early)} || then {outcome}: {why}",
        early,
        outcome if early else None,
    )


def finish(case, outcome, why, early, after):
    return dict(
        id=case["id"],
        kind=case["kind"],
        title=case["title"],
        domain=case["domain"],
        honest=case["honest"],
        outcome=outcome,
        why=why,
        early=bool(early),
        after=after,
        declared=case["declared"],
    )


NAMES = {
    1: "recipient/account/URL",
    2: "exfiltration",
    3: "shell",
    4: "SQL and queries",
    5: "SSRF",
    6: "paths and files",
    7: "secrets",
    8: "tool poisoning",
    9: "trust confusion",
    10: "second order",
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--team", choices=("third", "fourth"), default="fourth")
    parser.add_argument("--no-guard", action="store_true", help="check the harness: every marked call must run")
    parser.add_argument(
        "--with-guard-list",
        action="store_true",
        help="use with_guard([], guard) for all, not only where other middlewares exist",
    )
    parser.add_argument("--ask-writes", choices=("doubtful", "tainted", "all"), default="doubtful")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", help="ids, separated by commas")
    options = parser.parse_args()
    for part in PARTS:
        importlib.import_module(f"{options.team}_team_{part}")  # each adds its cases
    only = set(options.only.split(",")) if options.only else None
    assert len({c["id"] for c in CASES}) == len(CASES)
    rows = []
    for case in CASES:
        if only and case["id"] not in only:
            continue
        try:
            row = run(case, not options.no_guard, options.with_guard_list, options.ask_writes)
        except Exception as error:
            row = finish(case, "broken", f"{type(error).__name__}: {error}\n{traceback.format_exc(limit=-3)}", [], None)
        rows.append(row)
        print(
            f"{row['id']:6} {row['outcome']:8}{'(early; harmful call: ' + str(row['after']) + ') ' if row['early'] else ''}{row['title']}"
            + (f"\n       {row['why'][:300]}" if row["why"] and row["outcome"] != "RAN" else ""),
            flush=True,
        )
    for honest in (False, True):
        print("\nhonest conversations" if honest else "\nattempts")
        part = [r for r in rows if r["honest"] is honest]
        for kind in sorted({r["kind"] for r in part}):
            counts = Counter(r["outcome"] for r in part if r["kind"] == kind)
            print(
                f"  {kind:2} {NAMES[kind]:24}"
                + "  ".join(f"{o} {counts[o]}" for o in ("RAN", "ASKED", "BLOCKED", "broken"))
            )
        counts = Counter(r["outcome"] for r in part)
        print(
            f"     {'all ' + str(len(part)):24}"
            + "  ".join(f"{o} {counts[o]}" for o in ("RAN", "ASKED", "BLOCKED", "broken"))
        )
        if not honest:
            late = sum(r["outcome"] == "ASKED" and r["after"] == "RAN" for r in part)
            print(
                f"     ASKED only about an innocent earlier call, and the harmful one would have run: {late}; RAN within a declared limit: {sum(r['outcome'] == 'RAN' and bool(r['declared']) for r in part)}"
            )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return int(any(r["outcome"] == "broken" for r in rows))


if __name__ == "__main__":
    sys.exit(main())
