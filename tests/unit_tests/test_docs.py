"""The code of the documentation pages runs: all blocks of a page, in order, in one namespace."""

import inspect
import json
import re
import sys
from pathlib import Path

import pytest

import langchain_sea
from langchain_sea import errors
from langchain_sea.chat import errors as chat_errors
from langchain_sea.core.limits import TextLimits
from langchain_sea.plans import SearchPlan
from langchain_sea.presets import ChainConfig, ContinuationConfig, DraftConfig, LatentConfig, Preset, SearchConfig
from langchain_sea.safety import GuardConfig, ToolRules
from langchain_sea.sampling.latent import LatentSampler

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
NOTEBOOKS = sorted((ROOT / "cookbook").glob("*.ipynb"))
SETTINGS = (
    *(ChainConfig, ContinuationConfig, DraftConfig, LatentConfig, Preset, SearchConfig),
    *(LatentSampler, SearchPlan, TextLimits),
    *(langchain_sea.Budget, langchain_sea.Energy, langchain_sea.Langevin, langchain_sea.RewardTerm),
)
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def run(page):
    """Run the blocks; line numbers in errors are those of the page."""
    text, names = page.read_text(encoding="utf-8"), {"__name__": "docs"}
    blocks = list(BLOCK.finditer(text))
    for block in blocks:
        code = "\n" * text.count("\n", 0, block.start(1)) + block[1]
        exec(compile(code, page, "exec"), names)  # noqa: S102 - our own pages
    return len(blocks)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
@pytest.mark.filterwarnings("ignore:builtin type .* has no __module__:DeprecationWarning")
def test_a_page_runs(page):
    assert run(page) > 0 or "```python" not in page.read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_readme_runs(monkeypatch, tmp_path):
    """The first screen uses `tiny`; objects that are only constructed load nothing."""
    monkeypatch.chdir(tmp_path)
    assert run(ROOT / "README.md") > 1


@pytest.mark.slow
@pytest.mark.enable_socket
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(notebook):
    """With smaller parameters than committed; `make notebooks` runs them in full."""
    sys.path.insert(0, str(ROOT / "tests"))
    import notebooks

    assert notebooks.run(notebook, small=True) > 0


def test_there_are_ten_notebooks_with_their_outputs():
    """Each notebook first says what the reader can do at the end, and none of its outputs is an error."""
    assert len(NOTEBOOKS) == 10
    for path in NOTEBOOKS:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        assert "At the end you can" in "".join(cells[0]["source"]), path.name
        outputs = [o for cell in cells for o in cell.get("outputs", [])]
        assert outputs, path.name
        assert not [o for o in outputs if o["output_type"] == "error"], path.name


def test_the_errors_page_lists_every_error():
    named = set(re.findall(r"^\| `(\w+)`", (ROOT / "docs/errors.md").read_text(encoding="utf-8"), re.MULTILINE))
    ours = {name for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, BaseException)}  # fmt: skip
    assert named == ours | {"ContentError", "DeadlineError", "IncompleteAnswerError", "WorkerLostError"}
    assert {"ContentError", "DeadlineError", "IncompleteAnswerError"} <= set(chat_errors.__all__)


def test_every_setting_that_a_page_names_exists():
    """Such as `DraftConfig.num_drafts` or `Preset.max_nll_rise`."""
    kinds = {kind.__name__: kind for kind in SETTINGS}
    for page in PAGES:
        for kind, name in re.findall(r"`(\w+)\.(\w+)`", page.read_text(encoding="utf-8")):
            if kind in kinds:
                assert name in kinds[kind].__dataclass_fields__, f"{page.name}: {kind}.{name}"


def test_the_guide_has_every_field_of_a_policy():
    rows = set(
        re.findall(r"^\| `(\w+)`", (ROOT / "docs/guarding-an-agent.md").read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert {*GuardConfig.__dataclass_fields__, *ToolRules.__dataclass_fields__} <= rows


def test_a_page_that_fails_names_its_line(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n```python\nx = 1\n```\n\nText.\n\n```python\nassert x == 2\n```\n", encoding="utf-8")
    with pytest.raises(AssertionError) as caught:
        run(page)
    frame = caught.traceback[-1]
    assert (Path(frame.path), frame.lineno + 1) == (page, 10)
