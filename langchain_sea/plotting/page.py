"""A trace as one self-contained HTML page: it runs no script and loads nothing."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

from langchain_sea.plotting.curves import INK, name_axes, plot
from langchain_sea.plotting.text_diff import Diff, escape_html

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from langchain_sea.core.trace import Trace

__all__ = ["to_html"]

Cell = str | float | None


def to_html(trace: Trace) -> str:
    """Return one page with numbers, diff, curves, all steps, and every text that was scored.

    It runs no script, loads nothing, and follows the reader's choice of light or dark.

    Raises:
        ImportError: matplotlib is missing (extra `plot`).
    """
    draft, answer = (scored.text if scored else "" for scored in (trace.before, trace.after))
    verdict = "The refined answer was returned." if draft != answer else "The draft was returned."
    if trace.before is None:
        verdict = "No text could be scored: a reward failed."
    lines = {"chain": "chains", "group": "groups of draws, each a mean"}[name_axes(trace).line]
    curves = f"<figure>{_svg(trace)}<figcaption>Thin lines: {lines}. Dashed: the draft as text; dotted: the answer.</figcaption></figure>"  # fmt: skip
    parts = [
        f"<h1>How this answer was found</h1><p>{verdict}</p>",
        "<h2>Numbers</h2>" + _numbers(trace),
        "<h2>Draft → answer</h2>" + Diff.between(draft, answer).to_html(),
        "<h2>Steps</h2>" + (curves + _steps(trace) if trace else "<p>No step was taken.</p>"),
        "<h2>Texts</h2>" + _texts(trace),
    ]
    return _PAGE.replace("BODY", "\n".join(parts))


def _svg(trace: Trace) -> str:
    figure, file = plot(trace), io.StringIO()
    import matplotlib as mpl

    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "sea"}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    return svg.replace("<svg", '<svg role="img" aria-label="Curves by step; the table below holds the numbers"', 1)  # fmt: skip


def _table(head: Iterable[str], rows: Iterable[Iterable[Cell]], caption: str) -> str:
    titles = "".join(f'<th scope="col">{escape_html(title)}</th>' for title in head)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    # A table wider than the screen scrolls; `tabindex` lets the keyboard scroll it, too.
    return f'<div class="wide" tabindex="0" role="region" aria-label="{escape_html(caption)}"><table><caption>{escape_html(caption)}</caption><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>'  # fmt: skip


def _cell(value: Cell) -> str:
    if value is None:
        return "<td>–</td>"
    return f"<td>{value:.3f}</td>" if isinstance(value, float) else f"<td>{escape_html(str(value))}</td>"


def _numbers(trace: Trace) -> str:
    names = list(trace.before.rewards) if trace.before else []
    rows: list[tuple[Cell, ...]] = [
        (name, scored.score, *scored.rewards.values(), scored.nll)
        for name, scored in (("draft", trace.before), ("answer", trace.after))
        if scored is not None
    ]
    return _table(["", "score", *names, "nats per token"], rows, "Draft and answer, scored as text")


def _steps(trace: Trace) -> str:
    names, axes = list(trace.before.rewards) if trace.before else [], name_axes(trace)
    has_groups = axes.line == "group"
    rows: list[tuple[Cell, ...]] = []
    for number, step in enumerate(trace):
        for i, line in enumerate(step.chains):
            last = (_at(step.latent_norm, i), _at(step.divergence, i)) if has_groups else (step.gap[i], step.changed[i])
            rows.append((number, line, step.energy[i], step.nll[i], *step.rewards[i], *last))
    last_titles = ["norm of the latent", "divergence"] if has_groups else ["gap", "tokens changed"]
    head = [axes.step, axes.line, "energy", "nats per token", *names, *last_titles]
    return f"<details><summary>All {len(rows)} rows</summary>{_table(head, rows, f'{axes.step.title()}s')}</details>"


def _at(values: Sequence[float], index: int) -> float | None:
    """Return the value, or None where nothing was computed."""
    return values[index] if values else None


def _texts(trace: Trace) -> str:
    best = sorted(trace.candidates, key=lambda scored: -scored.score)
    rows = [(scored.score, scored.nll, "yes" if scored.meets_thresholds else "no", scored.text) for scored in best]
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
