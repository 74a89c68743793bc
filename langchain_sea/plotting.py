"""Pictures of a refinement for eyes: curves, a word diff, one page that needs nothing else, a progress bar.

Curves need matplotlib (extra `plot`); the diff and the bar do not. What a text says is shown, never obeyed.
"""

from __future__ import annotations

import io
import math
import re
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import BaseCallbackHandler

from langchain_sea.text_diff import Diff, as_html, inert

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from langchain_sea.core.trace import ScoredText, Trace, TraceStep

__all__ = ["Diff", "ProgressBar", "plot", "to_html"]

# Told apart by eyes that see few colours, and seen on white and on black (after Okabe and Ito).
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b5790b", "#cc79a7", "#56b4e9")
_INK = "#010203"  # what the page replaces by the colour of its text
_ACROSS = 2

Curve = tuple[list[int], list[float]]


def plot(trace: Trace) -> Any:  # noqa: ANN401 - a matplotlib Figure
    """A figure of energy, nats per token, each reward and the soft–hard gap, by step and chain.

    A panel holds a thin line for each chain; the dashed and the dotted line are draft and answer as text.
    Windows follow one another: steps are counted through.

    Raises:
        ImportError: matplotlib is missing (extra `plot`).
    """
    figure_of = _matplotlib()
    panels = [panel for panel in _panels(trace) if _curves(trace, panel[1])] or _panels(trace)[:2]
    down = math.ceil(len(panels) / _ACROSS)
    figure = figure_of(figsize=(4.2 * _ACROSS, 2.6 * down), layout="constrained")
    for place, (title, read, level) in enumerate(panels, start=1):
        axes = figure.add_subplot(down, _ACROSS, place)
        for chain, (steps, values) in _curves(trace, read).items():
            colour = _COLOURS[chain % len(_COLOURS)]
            axes.plot(steps, values, color=colour, linewidth=1.2, marker=".", label=f"chain {chain}")
        for scored, style, name in ((trace.before, "--", "draft"), (trace.after, ":", "answer")):
            if scored is not None and level is not None:
                axes.axhline(level(scored), color=_INK, linestyle=style, linewidth=0.9, label=name)
        axes.set_title(_label(title), fontsize=10, color=_INK)
        axes.set_xlabel("step", fontsize=8, color=_INK)
        axes.tick_params(labelsize=8, colors=_INK)
        axes.xaxis.get_major_locator().set_params(integer=True)
        for spine in axes.spines.values():
            spine.set_color(_INK)
        if place == 1 and axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=7, labelcolor=_INK, framealpha=0)
    return figure


def to_html(trace: Trace) -> str:
    """One self-contained page: numbers, diff, curves, all steps, every text that was scored.

    It runs no script, loads nothing, and follows the reader's choice of light or dark.

    Raises:
        ImportError: matplotlib is missing (extra `plot`).
    """
    changed = trace.before is not None and trace.after is not None and trace.before.text != trace.after.text
    verdict = "The refined answer left." if changed else "The draft stands."
    if trace.before is None:
        verdict = "No text could be scored: a reward failed."
    curves = f"<figure>{_svg(trace)}<figcaption>Thin lines: chains. Dashed: the draft as text; dotted: the answer.</figcaption></figure>"  # fmt: skip
    parts = [
        f"<h1>How this answer was found</h1><p>{verdict}</p>",
        "<h2>Numbers</h2>" + _numbers(trace),
        "<h2>Draft → answer</h2>" + Diff.of(trace).to_html(),
        "<h2>Steps</h2>" + (curves + _steps(trace) if trace else "<p>No step was taken.</p>"),
        "<h2>Texts</h2>" + _texts(trace),
    ]
    return _PAGE.replace("BODY", "\n".join(parts))


class ProgressBar(BaseCallbackHandler):
    """A bar of steps, in terminal and notebook: `model.invoke(…, config={"callbacks": [ProgressBar()]})`.

    It shows the best score so far. `total` is the number of steps, if it is known.
    """

    def __init__(self, total: int | None = None) -> None:
        """Draw nothing yet."""
        self.total = total
        self._bars: dict[Any, Any] = {}

    def on_custom_event(self, name: str, data: Any, *, run_id: Any, **_: Any) -> None:  # noqa: ANN401 - core's
        """One step further."""
        if name != "sea_step":
            return
        if run_id not in self._bars:
            from tqdm.auto import tqdm  # noqa: PLC0415 - chooses between terminal and notebook when asked

            self._bars[run_id] = tqdm(total=self.total, desc="refining", unit="step")
        bar = self._bars[run_id]
        bar.set_postfix(score=f"{data['score']:.2f}", refresh=False)
        bar.update()

    def on_llm_end(self, response: Any, *, run_id: Any, **_: Any) -> None:  # noqa: ANN401, ARG002 - core's
        """The call is over."""
        self._close(run_id)

    def on_llm_error(self, error: BaseException, *, run_id: Any, **_: Any) -> None:  # noqa: ANN401, ARG002 - core's
        """So it is."""
        self._close(run_id)

    def _close(self, run_id: Any) -> None:  # noqa: ANN401 - core's
        bar = self._bars.pop(run_id, None)
        if bar is not None:
            bar.close()


def _matplotlib() -> Any:  # noqa: ANN401 - the class Figure, without pyplot's global state
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - the extra
    except ImportError as error:
        raise ImportError(
            f"pictures of a trace need matplotlib ({error}): pip install 'langchain-sea[plot]'"
        ) from error

    class Curves(Figure):
        """Shows itself in a notebook, whatever backend is set there."""

        def _repr_png_(self) -> bytes:
            data = io.BytesIO()
            self.savefig(data, format="png", dpi=110)
            return data.getvalue()

    return Curves


def _panels(
    trace: Trace,
) -> list[tuple[str, Callable[[TraceStep], Sequence[float | None]], Callable[[ScoredText], float] | None]]:
    """Title, what a step gives of it for each chain, and the same of a text."""
    found: list[Any] = [
        ("energy", lambda step: step.energy, lambda scored: -scored.score),
        ("nats per token", lambda step: step.nll, lambda scored: scored.nll),
    ]
    names = list(trace.before.rewards) if trace.before else []
    for column, name in enumerate(names):
        found.append((
            f"reward: {name}",
            lambda step, c=column: [row[c] for row in step.rewards],
            lambda scored, n=name: scored.rewards[n],
        ))  # fmt: skip
    found.append(("energy of the text − at the relaxed tokens", lambda step: step.gap, None))
    return found


def _curves(trace: Trace, read: Callable[[TraceStep], Sequence[float | None]]) -> dict[int, Curve]:
    curves: dict[int, Curve] = {}
    for at, step in enumerate(trace):
        for chain, value in zip(step.chains, read(step), strict=False):
            if value is not None and math.isfinite(value):
                steps, values = curves.setdefault(chain, ([], []))
                steps.append(at)
                values.append(value)
    return curves


def _label(text: str) -> str:
    """As matplotlib shows it, not as it would set a formula."""
    return inert(text).replace("$", r"\$")


def _svg(trace: Trace) -> str:
    import matplotlib  # noqa: PLC0415, ICN001 - the extra; `_matplotlib` has said what is missing

    figure, file = plot(trace), io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "sea"}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    drawn = file.getvalue()
    drawn = drawn[drawn.index("<svg") :].replace(_INK, "currentColor")
    drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn, flags=re.DOTALL)
    return drawn.replace("<svg", '<svg role="img" aria-label="Curves by step; the table below holds the numbers"', 1)  # fmt: skip


def _table(head: Iterable[str], rows: Iterable[Iterable[Any]], caption: str) -> str:
    def cell(value: Any) -> str:  # noqa: ANN401 - a number, None, or a text
        if value is None:
            return "<td>–</td>"
        return f"<td>{value:.3f}</td>" if isinstance(value, float) else f"<td>{as_html(str(value))}</td>"

    titles = "".join(f'<th scope="col">{as_html(title)}</th>' for title in head)
    body = "".join(f"<tr>{''.join(map(cell, row))}</tr>" for row in rows)
    # A table wider than the screen scrolls, by keyboard, too.
    return f'<div class="wide" tabindex="0" role="region" aria-label="{as_html(caption)}"><table><caption>{as_html(caption)}</caption><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>'  # fmt: skip


def _numbers(trace: Trace) -> str:
    names = list(trace.before.rewards) if trace.before else []
    rows = [
        (who, scored.score, *scored.rewards.values(), scored.nll)
        for who, scored in (("draft", trace.before), ("answer", trace.after))
        if scored is not None
    ]
    return _table(["", "score", *names, "nats per token"], rows, "Draft and answer, scored as text")


def _steps(trace: Trace) -> str:
    names = list(trace.before.rewards) if trace.before else []
    rows = [
        (at, chain, step.energy[c], step.nll[c], *step.rewards[c], step.gap[c], step.changed[c])
        for at, step in enumerate(trace)
        for c, chain in enumerate(step.chains)
    ]
    head = ["step", "chain", "energy", "nats per token", *names, "gap", "tokens changed"]
    return f"<details><summary>All {len(rows)} rows</summary>{_table(head, rows, 'Steps')}</details>"


def _texts(trace: Trace) -> str:
    best = sorted(trace.candidates, key=lambda scored: -scored.score)
    rows = [(scored.score, scored.nll, "yes" if scored.met else "no", scored.text) for scored in best]
    head = ["score", "nats per token", "thresholds met", "text"]
    return f"<details><summary>All {len(rows)} texts that were scored, best first</summary>{_table(head, rows, 'Texts')}</details>"  # fmt: skip


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>How this answer was found</title>
<style>
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  background: light-dark(#ffffff, #15181c); color: light-dark(#1b1f24, #e6e8eb); }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding: .3rem 0; } th, td { text-align: left; padding: .25rem .75rem .25rem 0;
  border-bottom: 1px solid light-dark(#d0d7de, #3a4048); vertical-align: top; white-space: pre-wrap; overflow-wrap: anywhere; }
td { min-width: 4rem; } figure { margin: 0; } svg { width: 100%; height: auto; } summary { cursor: pointer; padding: .4rem 0; }
del { color: light-dark(#b3261e, #ff8a80) !important; } ins { color: light-dark(#1a7f37, #7ee787) !important; }
:focus-visible { outline: 3px solid light-dark(#0072b2, #56b4e9); outline-offset: 2px; }
</style></head><body><main>
BODY
</main></body></html>
"""
