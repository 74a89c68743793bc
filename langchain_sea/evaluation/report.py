"""An evaluation as one self-contained HTML page. Knows no model."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["render_page"]

_STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }
body { max-width: 70rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; width: 100%; margin: 1rem 0 }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #8886; vertical-align: top }
td.n { text-align: right; font-variant-numeric: tabular-nums }
td.t { white-space: pre-wrap; overflow-wrap: anywhere }
"""


def render_page(
    title: str, tables: Mapping[str, Mapping[str, Mapping[str, Any]]], rows: Sequence[Mapping[str, Any]]
) -> str:
    """Return the page.

    Args:
        title: of it.
        tables: by name, by method, by figure.
        rows: answers, each with `question`, `method`, `text` and numbers.
    """
    parts = [f"<h1>{html.escape(title)}</h1>"]
    for name, table in tables.items():
        parts += [f"<h2>{html.escape(name)}</h2>", _figures(table)]
    parts += ["<h2>Answers</h2>", _answers(rows)]
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>\n'
        f"<body><main>\n{body}\n</main></body></html>\n"
    )


def _figures(table: Mapping[str, Mapping[str, Any]]) -> str:
    names = list(next(iter(table.values()), {}))
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in ["method", *names])
    lines = [
        f'<tr><th scope="row">{html.escape(method)}</th>'
        + "".join(f'<td class="n">{_number(figures.get(name))}</td>' for name in names)
        + "</tr>"
        for method, figures in table.items()
    ]
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _answers(rows: Sequence[Mapping[str, Any]]) -> str:
    texts, figures = ("question", "method", "text"), ("reward", "gate", "nll")
    lines = []
    for row in rows:
        cells = "".join(f'<td class="t">{html.escape(str(row[name]))}</td>' for name in texts)
        cells += "".join(f'<td class="n">{_number(row.get(name))}</td>' for name in figures)
        lines.append(f"<tr>{cells}</tr>")
    head = "".join(f'<th scope="col">{name}</th>' for name in (*texts, *figures))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _number(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else html.escape("" if value is None else str(value))
