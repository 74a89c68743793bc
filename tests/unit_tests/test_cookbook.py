"""The pages' code runs as it stands there: every block of a page in order, in one namespace."""

import re
from pathlib import Path

import pytest

PAGES = sorted((Path(__file__).parents[2] / "cookbook").glob("*.md"))
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def run(page):
    """Each line keeps its number, so that an error names the page's own."""
    text, names = page.read_text(encoding="utf-8"), {"__name__": "cookbook"}
    blocks = list(BLOCK.finditer(text))
    for block in blocks:
        code = "\n" * text.count("\n", 0, block.start(1)) + block[1]
        exec(compile(code, page, "exec"), names)  # noqa: S102 - our own pages
    return len(blocks)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_runs(page):
    assert run(page) > 0


def test_there_are_pages():
    assert "writing-a-reward" in [page.stem for page in PAGES]


def test_a_page_that_fails_names_its_line(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# Page\n\n```python\nx = 1\n```\n\nText.\n\n```python\nassert x == 2\n```\n", encoding="utf-8"
    )
    with pytest.raises(AssertionError) as caught:
        run(page)
    frame = caught.traceback[-1]
    assert (Path(frame.path), frame.lineno + 1) == (page, 10)
