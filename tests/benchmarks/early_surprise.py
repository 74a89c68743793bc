"""How often `tiny` answers a sum right with each limit on a token's surprise under the worse checkpoint: `--json FILE`.

`--sums "99 + 99,14 + 23" --seeds 4 --plan tiny`. Prints right answers and the texts for each limit.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import torch

from langchain_sea import SEAChatModel, load_model
from langchain_sea.rewards import LogRatioReward


def main() -> None:
    """Print the share of right answers of each limit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limits", default="inf,8,5,3", help="in nats")
    parser.add_argument("--sums", default="99 + 99")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--plan", default="tiny")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    expert, early = load_model("tiny/expert"), load_model("tiny/early_03")
    figures = {}
    for limit in map(float, options.limits.split(",")):
        reward = LogRatioReward(expert, early, max_early_surprise=limit)
        texts, num_right = [], 0
        for question in options.sums.split(","):
            first, second = map(int, question.split("+"))
            for seed in range(options.seeds):
                model = SEAChatModel(model="tiny", rewards=[reward], plan=options.plan, seed=seed)
                text = str(model.invoke(f"What is {question.strip()}?").content)
                texts.append(text)
                num_right += f"The answer is {first + second}." in text
        name = "no limit" if limit == math.inf else f"{limit:g} nats"
        figures[name] = {"value": round(num_right / len(texts), 3), "n": len(texts), "texts": texts}
    text = json.dumps(figures, indent=2)
    print(text)
    if options.json:
        options.json.write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
