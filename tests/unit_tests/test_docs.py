"""The code of the documentation pages runs: all blocks of a page, in order, in one namespace."""

import importlib.util
import inspect
import json
import re
import sys
from pathlib import Path

import pytest
import torch
from slow_cases import make_slow

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))  # programs, which import each other by their names

from architectures import ALL_ARCHITECTURES, tiny_model
from call_forms import FORMS
from templates import FOLDER
from test_agent_templates import FAMILIES
from test_architectures import HYBRID

import langchain_sea
from langchain_sea import errors, rewards
from langchain_sea.chat import errors as chat_errors
from langchain_sea.core.limits import TextLimits
from langchain_sea.models.loading.quantization import QuantizedLinear, quantize
from langchain_sea.plans import SearchPlan
from langchain_sea.presets import ChainConfig, ContinuationConfig, DraftConfig, LatentConfig, Preset, SearchConfig
from langchain_sea.safety import GuardConfig, ToolRules
from langchain_sea.sampling.latent import LatentSampler

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
# these answer many questions, and the tests of what they show ask fewer
HEAVY = {
    *("bring-your-own-model", "evaluate", "integration", "llamaindex", "rewards", "traces", "tuning", "tutorial"),
    *("which-reward", "writing-a-reward"),
}
NOTEBOOKS = sorted((ROOT / "cookbook").glob("*.ipynb"))
SETTINGS = (
    *(ChainConfig, ContinuationConfig, DraftConfig, LatentConfig, Preset, SearchConfig),
    *(LatentSampler, SearchPlan, TextLimits),
    *(langchain_sea.Budget, langchain_sea.Energy, langchain_sea.Langevin, langchain_sea.RewardTerm),
)
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TYPES = {"gemma3_text" if name == "gemma3" else name for name in ALL_ARCHITECTURES}


def run(page):
    """Run the blocks; line numbers in errors are those of the page."""
    text, names = page.read_text(encoding="utf-8"), {"__name__": "docs"}
    blocks = list(BLOCK.finditer(text))
    for block in blocks:
        code = "\n" * text.count("\n", 0, block.start(1)) + block[1]
        exec(compile(code, page, "exec"), names)  # noqa: S102 - our own pages
    return len(blocks)


@pytest.mark.parametrize(
    "page", [page if page.stem not in HEAVY else make_slow(page) for page in PAGES], ids=lambda page: page.stem
)
@pytest.mark.filterwarnings("ignore:builtin type .* has no __module__:DeprecationWarning")
@pytest.mark.usefixtures("one_small_plan")
def test_a_page_runs(page):
    """With a small plan: the largest one that fits takes as long as a page allows, on any machine."""
    assert run(page) > 0 or "```python" not in page.read_text(encoding="utf-8")


@pytest.mark.usefixtures("one_small_plan")
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


def read_table(page, first_cell):
    """Return the rows of the table whose heading begins with this cell, as lists of cells."""
    lines = (ROOT / "docs" / page).read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {first_cell} |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return rows


def split_names(cells, word):
    """Return what cells name as code, and what they name behind this word; without what is behind "not"."""
    names, marked = set(), set()
    for cell in cells:
        plain, _, behind = cell.partition("; not ")[0].partition(word)
        names |= set(re.findall(r"`([^`]+)`", plain))
        marked |= set(re.findall(r"`([^`]+)`", behind))
    return names, marked


def test_the_families_are_tested_as_the_page_says():
    """Types, templates, prompts of an agent and forms of calls are those of the tests that the page names."""
    rows = read_table("bring-your-own-model.md", "family")
    assert len(rows) == 10
    _, sizes, types, templates, calls = zip(*rows, strict=True)
    packed, whole = split_names(types, "whole:")
    assert packed <= TYPES - HYBRID
    assert whole <= HYBRID
    prints, loops = split_names(templates, "loop:")
    assert prints <= {path.stem for path in FOLDER.glob("*.jinja")}
    assert loops == set(FAMILIES)
    assert split_names(calls, "whole:")[0] <= set(FORMS)
    gigabytes = {f"{row[0]}: {row[3]}" for row in read_table("bring-your-own-model.md", "model")}
    assert set(sizes) <= gigabytes


@pytest.fixture(scope="module")
def memory():
    spec = importlib.util.spec_from_file_location("memory", ROOT / "docs/memory.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_of_memory_is_what_its_command_prints(memory):
    rows = read_table("bring-your-own-model.md", "model")
    assert [f"| {' | '.join(row)} |" for row in rows] == memory.list_rows()


@pytest.mark.parametrize("bits", ["int8", "int4"])
@pytest.mark.parametrize("name", ["llama", "qwen3_moe"])
def test_the_memory_of_quantized_weights_is_counted_right(memory, name, bits):
    """Against the tensors of a model that was quantized; experts are not."""
    model = tiny_model(name, dtype=torch.bfloat16)
    expected = getattr(memory.count_bytes(model), bits)
    quantize(model, bits)
    layers = [part for part in model.modules() if isinstance(part, QuantizedLinear)]
    tensors = [*model.parameters(), *(tensor for part in layers for tensor in part.buffers())]
    assert sum(tensor.numel() * tensor.element_size() for tensor in tensors) == expected


def describe_judgement(reward):
    """Return what a class of rewards judges, in the words of the page."""
    if getattr(reward, "is_token_additive", False):
        return "a sum over tokens"
    return "beginnings" if hasattr(reward, "scores_prefixes") else "texts"


def test_rewards_judge_what_the_page_says():
    for row in read_table("which-reward.md", "your problem"):
        classes = re.findall(r"`(\w+)`", row[2])
        judged = row[3].split("; ")
        assert classes, row
        expected = [describe_judgement(getattr(rewards, name)) for name in classes]
        assert judged in (expected, expected[:1]), row
        assert len(judged) == len(expected) or len(set(expected)) == 1, row


def test_the_new_names_of_the_changelog_exist():
    """Those to which the tables of renames and moves lead."""
    sources = Path(langchain_sea.__file__).parent.rglob("*.py")
    known = {word for path in sources for word in re.findall(r"\w+", path.read_text(encoding="utf-8"))}
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").partition("#### Renamed")[2].partition("#### Moved")[0]
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 30
    names = {word for row in rows for code in re.findall(r"`([^`]+)`", row[1]) for word in re.findall(r"[A-Za-z]\w+", code)}  # fmt: skip
    assert names - known == set()


def test_a_page_that_fails_names_its_line(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n```python\nx = 1\n```\n\nText.\n\n```python\nassert x == 2\n```\n", encoding="utf-8")
    with pytest.raises(AssertionError) as caught:
        run(page)
    frame = caught.traceback[-1]
    assert (Path(frame.path), frame.lineno + 1) == (page, 10)
