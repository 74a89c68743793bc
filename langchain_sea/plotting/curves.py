"""Curves of a trace by step and chain, or by round and group, drawn with matplotlib (extra `plot`)."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, NamedTuple

from langchain_sea.plotting.text_diff import escape_control

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from langchain_sea.core.trace import ScoredText, Trace, TraceStep

__all__ = ["INK", "AxisNames", "name_axes", "plot"]

INK = "#010203"
"""The colour of text and axes; an HTML page replaces it by `currentColor`."""
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b5790b", "#cc79a7", "#56b4e9")
"""Okabe and Ito's colours, which remain distinct in common colour blindness, darkened for a white background."""
_NUM_COLUMNS = 2


class AxisNames(NamedTuple):
    """What the steps of a trace are, and what each of its lines is."""

    step: str
    line: str


def name_axes(trace: Trace) -> AxisNames:
    """Return the names for a search with latents, where a group of draws shares one, or for chains."""
    has_latents = any(step.latent_norm for step in trace)
    return AxisNames("round", "group") if has_latents else AxisNames("step", "chain")


class _Panel(NamedTuple):
    title: str
    values: Callable[[TraceStep], Sequence[float | None]]
    """One value for each chain or group of a step."""
    level: Callable[[ScoredText], float] | None
    """The same quantity of a text, drawn as a horizontal line; None where a text has none."""


def plot(trace: Trace) -> Figure:
    """Draw energy, nats per token and each reward by step and chain, and the gap between text and relaxed tokens.

    With latents it draws means over the draws of each group by round, and for each group the norm of its latent and
    the divergence of its draws from the policy.

    Each panel has a thin line for each chain or group; the dashed and the dotted line are draft and answer as text.
    Steps of later blocks or windows follow those of earlier ones.

    Raises:
        ImportError: matplotlib is missing (extra `plot`).
    """
    new_figure = _figure_class()
    panels = [panel for panel in _panels(trace) if _curves(trace, panel)] or _panels(trace)[:2]
    num_rows = math.ceil(len(panels) / _NUM_COLUMNS)
    figure = new_figure(figsize=(4.2 * _NUM_COLUMNS, 2.6 * num_rows), layout="constrained")
    for number, panel in enumerate(panels, start=1):
        axes = figure.add_subplot(num_rows, _NUM_COLUMNS, number)
        _draw(axes, trace, panel)
        if number == 1 and axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=7, labelcolor=INK, framealpha=0)
    return figure


def _draw(axes: Axes, trace: Trace, panel: _Panel) -> None:
    names = name_axes(trace)
    for line, (steps, values) in _curves(trace, panel).items():
        colour = _COLOURS[line % len(_COLOURS)]
        axes.plot(steps, values, color=colour, linewidth=1.2, marker=".", label=f"{names.line} {line}")
    for scored, style, name in ((trace.before, "--", "draft"), (trace.after, ":", "answer")):
        if scored is not None and panel.level is not None:
            axes.axhline(panel.level(scored), color=INK, linestyle=style, linewidth=0.9, label=name)
    axes.set_title(escape_control(panel.title).replace("$", r"\$"), fontsize=10, color=INK)
    axes.set_xlabel(names.step, fontsize=8, color=INK)
    axes.tick_params(labelsize=8, colors=INK)
    axes.locator_params(axis="x", integer=True)
    for spine in axes.spines.values():
        spine.set_color(INK)


def _figure_class() -> type[Figure]:
    """A `Figure` without pyplot's global state, which shows itself in a notebook whatever the backend."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            f"pictures of a trace need matplotlib ({error}): pip install 'langchain-sea[plot]'"
        ) from error

    class NotebookFigure(Figure):
        def _repr_png_(self) -> bytes:
            png = io.BytesIO()
            self.savefig(png, format="png", dpi=110)
            return png.getvalue()

    return NotebookFigure


def _panels(trace: Trace) -> list[_Panel]:
    panels = [
        _Panel("energy", lambda step: step.energy, lambda scored: -scored.score),
        _Panel("nats per token", lambda step: step.nll, lambda scored: scored.nll),
    ]
    panels += [_reward_panel(column, name) for column, name in enumerate(trace.before.rewards if trace.before else ())]
    return [
        *panels,
        _Panel("energy of the text − at the relaxed tokens", lambda step: step.gap, None),
        _Panel("norm of the latent ÷ norm of the states", lambda step: step.latent_norm, None),
        _Panel("divergence of the draws from the policy, nats per token", lambda step: step.divergence, None),
    ]


def _reward_panel(column: int, name: str) -> _Panel:
    return _Panel(
        f"reward: {name}", lambda step: [row[column] for row in step.rewards], lambda scored: scored.rewards[name]
    )


def _curves(trace: Trace, panel: _Panel) -> dict[int, tuple[list[int], list[float]]]:
    """Steps and values by chain or group, without missing and infinite values."""
    curves: dict[int, tuple[list[int], list[float]]] = {}
    for number, step in enumerate(trace):
        for chain, value in zip(step.chains, panel.values(step), strict=False):
            if value is not None and math.isfinite(value):
                steps, values = curves.setdefault(chain, ([], []))
                steps.append(number)
                values.append(value)
    return curves
