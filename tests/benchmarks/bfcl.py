"""Forced calls on BFCL v4: `python tests/benchmarks/bfcl.py --json FILE --count 100 [--policy smollm2-135m]`.

Each question's functions are tools and a call is forced. `valid`: calls that are whole and pass their schema.
`draft` and `refined`: those that the set's own answers accept, of the policy's first draft and of what was refined.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path
from typing import Any

import public_data
import torch
from jsonschema import Draft202012Validator

from langchain_sea import Budget, SEAChatModel
from langchain_sea.models.template_fallbacks import CLOSING, OPENING

KINDS = ("simple_python", "multiple", "parallel")
_TYPES = {"dict": "object", "float": "number", "tuple": "array", "any": None}


def typed(schema: Any) -> Any:
    """BFCL's names of types as JSON schema's."""
    if isinstance(schema, list):
        return [typed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {k: typed(v) for k, v in schema.items() if k not in ("default", "optional", "format")}
    if isinstance(schema.get("type"), str):
        kind = _TYPES.get(schema["type"], schema["type"])
        found.pop("type")
        found |= {} if kind is None else {"type": kind}
    return found


def accepted(call: dict[str, Any], truth: list[dict[str, Any]]) -> bool:
    """Whether the set accepts the call as one of its answers."""
    for answer in truth:
        for name, wanted in answer.items():
            given = call["args"]
            required = {k for k, values in wanted.items() if "" not in values}
            if (
                call["name"] == name
                and required <= set(given) <= set(wanted)
                and all(_same(v, wanted[k]) for k, v in given.items())
            ):
                return True
    return False


def _same(value: Any, allowed: list[Any]) -> bool:
    def plain(each: Any) -> Any:
        if isinstance(each, str):
            return each.strip().lower()
        if isinstance(each, list):
            return [plain(x) for x in each]
        return float(each) if isinstance(each, (int, float)) and not isinstance(each, bool) else each

    return plain(value) in [plain(each) for each in allowed]


def asked(data: Path, count: int, seed: int) -> list[dict[str, Any]]:
    """Questions with tools and answers, drawn by the seed, in equal parts of the kinds."""
    found = []
    for kind in KINDS:
        truths = {r["id"]: r["ground_truth"] for r in _lines(data / f"bfcl/possible_answer/BFCL_v4_{kind}.json")}
        rows = _lines(data / f"bfcl/BFCL_v4_{kind}.json")
        for row in random.Random(seed).sample(rows, -(-count // len(KINDS))):
            tools = [
                {
                    "type": "function",
                    "function": {**f, "name": f["name"].replace(".", "_"), "parameters": typed(f["parameters"])},
                }
                for f in row["function"]
            ]
            truth = [{name.replace(".", "_"): v for name, v in answer.items()} for answer in truths[row["id"]]]
            found.append(
                {"id": row["id"], "question": row["question"][0][0]["content"], "tools": tools, "truth": truth}
            )
    return found[:count]


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def read(text: str) -> dict[str, Any] | None:
    """A draft as a call."""
    try:
        found = json.loads(text.strip().removeprefix(OPENING.strip()).removesuffix(CLOSING.strip()))
        return {"name": found["name"], "args": found["arguments"]}
    except (ValueError, KeyError, TypeError):
        return None


def main() -> None:
    """Ask and count."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--policy", default="smollm2-135m")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--tokens", type=int, default=160)
    options = parser.parse_args()
    torch.set_num_threads(2)
    rows = asked(options.data or public_data.find_folder(), options.count, options.seed)
    model = SEAChatModel(
        model=options.policy, budget=Budget(max_time=None), max_tokens=options.tokens, seed=options.seed
    )
    valid = draft = refined = 0
    began, examples = time.monotonic(), []
    for number, row in enumerate(rows, 1):
        message = model.bind_tools(row["tools"], tool_choice="any").invoke(row["question"])
        calls = message.tool_calls
        schemas = {t["function"]["name"]: t["function"]["parameters"] for t in row["tools"]}
        whole = [
            c for c in calls if c["name"] in schemas and Draft202012Validator(schemas[c["name"]]).is_valid(c["args"])
        ]
        valid += bool(calls) and len(whole) == len(calls) and not message.invalid_tool_calls
        refined += any(accepted(c, row["truth"]) for c in calls)
        first = read(message.response_metadata["sea"]["draft"])
        draft += first is not None and accepted(first, row["truth"])
        examples += [[row["id"], calls[0]["args"] if calls else None]] if number <= 5 else []
        print(
            f"{number}/{len(rows)} valid {valid} draft {draft} refined {refined}, {time.monotonic() - began:.0f} s",
            flush=True,
        )
    of = len(rows)
    found = {
        "valid": {"value": valid / of, "of": of}, "draft": {"value": draft / of}, "refined": {"value": refined / of},
        "seconds": round(time.monotonic() - began, 1), "policy": options.policy, "examples": examples,
    }  # fmt: skip
    text = json.dumps(found, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
