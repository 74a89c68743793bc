"""Trains the tiny model; knows no tier and no reward.

Run from the root: `PYTHONPATH=tests python -m tiny_model.train`.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from langchain_sea.models.tiny import WEIGHTS
from tiny_model import EARLY_3, data
from tiny_model.batches import batches
from tiny_model.sample import Example, prompt_text
from tiny_model.template import CONTEXT, build_tokenizer
from tiny_model.tiers import measure, say, ship, write

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

VOCABULARY = 1024
WARM_UP = 100
SNAPSHOT_EVERY = 20
SNAPSHOT_UNTIL = 0.6
LOOK_EVERY = 100


@dataclasses.dataclass(frozen=True)
class Phase:
    """A part of the run: the share of the time at which it ends, its batch, and its optimizer."""

    until: float
    batch: dict[str, int]
    rate: float
    muon: bool


# AdamW climbs slowly, which spaces the early tiers well; Muon then learns to copy several times as fast.
PHASES = (
    Phase(0.53, {"arithmetic": 48, "tool": 20, "polite": 12}, 2.5e-3, muon=False),
    Phase(1.0, {"arithmetic": 32, "tool": 14, "polite": 6, "copy": 16}, 2.5e-3, muon=True),
)


@dataclasses.dataclass
class Run:
    """One training run: what a checkpoint keeps."""

    model: LlamaForCausalLM
    optimizers: list[torch.optim.Optimizer]
    out: Path
    seed: int
    phase: int = 0
    step: int = 0
    began: int = 0
    seconds: float = 0.0
    climbing: bool = True

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        state: dict[str, Any] = {name: getattr(self, name) for name in _KEPT}
        state["model"] = self.model.state_dict()
        state["optimizers"] = [optimizer.state_dict() for optimizer in self.optimizers]
        torch.save(state, self.out / "checkpoint.tmp")
        (self.out / "checkpoint.tmp").replace(self.out / "checkpoint.pt")

    def resume(self) -> None:
        """Go on from the checkpoint if there is one."""
        if (path := self.out / "checkpoint.pt").exists():
            state = torch.load(path, weights_only=True)
            self.model.load_state_dict(state["model"])
            self.optimizers = optimizers(self.model, muon=PHASES[state["phase"]].muon)
            for optimizer, kept in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(kept)
            for name in _KEPT:
                setattr(self, name, state[name])

    def go_on_from(self, weights: Path, limit: float) -> None:
        """Begin the last phase from earlier weights, with fresh optimizers and no more snapshots."""
        self.model.load_state_dict(load_file(weights), strict=False)
        self.phase, self.climbing, self.seconds = len(PHASES) - 1, False, PHASES[-2].until * limit
        self.optimizers = optimizers(self.model, muon=PHASES[-1].muon)

    def enter(self, progress: float) -> Phase:
        """The phase for this share of the time; a new one starts with fresh optimizers."""
        phase = next(index for index, phase in enumerate(PHASES) if progress < phase.until or phase is PHASES[-1])
        if phase > self.phase:
            self.phase, self.began = phase, self.step
            self.optimizers = optimizers(self.model, muon=PHASES[phase].muon)
        return PHASES[phase]


_KEPT = ("phase", "step", "began", "seconds", "climbing")


def configuration() -> LlamaConfig:
    """The shape of the model: about 1.8 million parameters."""
    return LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=192,
        intermediate_size=448,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=6,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=2,
        use_cache=True,
    )


def build(seed: int, device: str = "cpu") -> tuple[LlamaForCausalLM, list[torch.optim.Optimizer]]:
    """A fresh model and the optimizers of the first phase."""
    torch.manual_seed(seed)
    model = LlamaForCausalLM(configuration())
    model.to(device)  # type: ignore[arg-type]
    return model, optimizers(model, muon=PHASES[0].muon)


def optimizers(model: LlamaForCausalLM, *, muon: bool) -> list[torch.optim.Optimizer]:
    """AdamW for all parameters, or Muon for the layers' matrices and AdamW for the rest."""
    if not muon:
        return [torch.optim.AdamW(model.parameters(), lr=0.0, betas=(0.9, 0.97), weight_decay=0.05)]
    layers = {name: value for name, value in model.named_parameters() if value.ndim > 1 and "embed" not in name}
    matrices = {"params": list(layers.values()), "factor": 2.0}
    rest = [value for name, value in model.named_parameters() if name not in layers]
    return [
        torch.optim.Muon([matrices], lr=0.0, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=0.0, betas=(0.9, 0.97), weight_decay=0.0),
    ]


def tokenizer_for(seed: int, count: int = 6000) -> PreTrainedTokenizerFast:
    """The tokenizer, learned from the first training problems."""
    plain = build_tokenizer([], 0)
    problems = [problem for kind in data.KINDS for problem in itertools.islice(data.stream(kind, seed), count)]
    return build_tokenizer((prompt_text(plain, problem) + problem.answer for problem in problems), VOCABULARY)


def _tokenizer_beside(weights: Path) -> PreTrainedTokenizerFast:
    found: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(weights.parent)
    return found


def loss_sum(model: LlamaForCausalLM, examples: list[Example]) -> torch.Tensor:
    """The summed cross-entropy of the answers' tokens; padding on the right needs no mask."""
    width = max(len(ids) for ids, _ in examples)
    device = model.device
    ids = torch.tensor([row + [0] * (width - len(row)) for row, _ in examples], device=device)
    answers = torch.tensor(
        [[start <= at < len(row) for at in range(1, width)] for row, start in examples], device=device
    )
    with torch.autocast(device.type, torch.bfloat16):
        hidden = model.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state
        logits = model.lm_head(hidden[answers])
    return torch.nn.functional.cross_entropy(logits.float(), ids[:, 1:][answers], reduction="sum")


def rate(run: Run, progress: float) -> float:
    """The learning rate's share of its peak: a warm-up in each phase, a plateau, then a line down to zero."""
    return min(1.0, (run.step - run.began + 1) / WARM_UP) * min(1.0, (1 - min(progress, 1.0)) / 0.75)


def update(run: Run, batch: list[list[Example]], learning_rate: float) -> float:
    """One step of the optimizers; returns the mean loss of an answer's token."""
    count = sum(len(ids) - start for examples in batch for ids, start in examples)
    total = 0.0
    for examples in batch:
        loss = loss_sum(run.model, examples) / count
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.item()
    torch.nn.utils.clip_grad_norm_(run.model.parameters(), 1.0)
    for optimizer in run.optimizers:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * group.get("factor", 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    run.step += 1
    return total


def train(run: Run, tokenizer: PreTrainedTokenizerBase, minutes: float, workers: int = 0) -> None:
    """Train until `minutes` of work are done, through all phases."""
    limit = minutes * 60
    while run.seconds < limit:
        _train_phase(run, tokenizer, run.enter(run.seconds / limit), limit, workers)
    run.save()
    write(run.model, run.out / "expert.safetensors")


def _train_phase(run: Run, tokenizer: PreTrainedTokenizerBase, phase: Phase, limit: float, workers: int) -> None:
    """Train to the end of a phase, with snapshots while success still climbs."""
    for batch in batches(tokenizer, phase.batch, run.seed, run.step, workers):
        if (progress := run.seconds / limit) >= phase.until:
            break
        began = time.monotonic()
        loss = update(run, batch, phase.rate * rate(run, progress))
        if run.climbing and run.step % SNAPSHOT_EVERY == 0:
            write(run.model, run.out / f"step-{run.step:05d}.safetensors")
        if run.step % LOOK_EVERY == 0:
            _look(run, tokenizer, loss)
        run.seconds += time.monotonic() - began
        if run.step % LOOK_EVERY == 0:
            run.save()


def _look(run: Run, tokenizer: PreTrainedTokenizerBase, loss: float) -> None:
    kinds = list(data.KINDS) if run.step % (5 * LOOK_EVERY) == 0 else ["arithmetic"]
    rates = {kind: measure(run.model, tokenizer, kind, 200) for kind in kinds}
    run.climbing = run.climbing and rates["arithmetic"] < SNAPSHOT_UNTIL
    shown = " ".join(f"{kind} {value:.3f}" for kind, value in rates.items())
    say(f"step {run.step} minute {run.seconds / 60:.1f} loss {loss:.4f} {shown}")


def main(arguments: list[str] | None = None) -> None:
    """Train, or go on training, then choose and write the tiers."""
    parser = argparse.ArgumentParser(description="Train the tiny models.")
    parser.add_argument("--out", type=Path, default=Path("tiny-run"), help="checkpoints and snapshots")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="where the tiers that ship go")
    parser.add_argument("--weak", type=Path, default=EARLY_3, help="where the tier for tests goes")
    parser.add_argument("--minutes", type=float, default=55)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--workers", type=int, default=0, help="processes that write problems ahead")
    parser.add_argument("--start", type=Path, help="an expert's weights: only the last phase, only the expert ships")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fresh", action="store_true", help="forget the checkpoint; the default resumes from it")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    if options.fresh:
        for path in (*options.out.glob("step-*.safetensors"), *options.out.glob("checkpoint.*")):
            path.unlink()
    tokenizer = _tokenizer_beside(options.start) if options.start else tokenizer_for(options.seed)
    run = Run(*build(options.seed, options.device), options.out, options.seed)
    if options.start:
        run.go_on_from(options.start, 60 * options.minutes)
    run.resume()
    train(run, tokenizer, options.minutes, options.workers)
    if options.start:
        write(run.model, options.weights / "expert.safetensors")
    else:
        ship(run.model, tokenizer, run.out, options.weights, options.weak)


if __name__ == "__main__":
    main()
