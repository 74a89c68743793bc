"""Look at the built pages in a browser: `python tests/pages.py SITE SHOTS`; fails on what it finds.

Seven pages and the page of a trace, at 400 and 1,400 pixels, light and dark: axe-core's serious findings, text that runs
over the edge, pictures that are missing, links that lead nowhere, and a hostile trace that must not run.
"""

from __future__ import annotations

import json
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag

from axe_core_python.selenium import Axe
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

sys.path.insert(0, str(Path(__file__).parent / "unit_tests"))
from test_plotting import PAYLOADS, trace_of

from langchain_sea import Budget, SEAChatModel
from langchain_sea.plotting import to_html

LOOKED_AT = (
    *("index.html", "tutorial.html", "which-reward.html", "bring-your-own-model.html"),
    *("rewards.html", "how-it-works.html", "paper.html", "api.html", "trace.html"),
)
WIDTHS = (400, 1400)
SCHEMES = ("light", "dark")
SCRIPT_SECONDS = 300  # axe-core reads the page of the API for a minute on a busy core
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--hide-scrollbars")  # fmt: skip


class Links(HTMLParser):
    """Where a page leads, and what can be led to."""

    def __init__(self, text: str) -> None:
        """Read a page."""
        super().__init__()
        self.to, self.ids = list[str](), set[str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect."""
        found = dict(attrs)
        self.ids |= {str(found[name]) for name in ("id", "name") if found.get(name)}
        for name in ("href", "src"):
            if found.get(name) and tag != "base":
                self.to.append(str(found[name]))


def dead_links(site: Path) -> list[str]:
    """Links inside the site that lead to no file or no heading."""
    pages = {path: Links(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    dead = []
    for path, page in pages.items():
        if path.name == "404.html":  # its links are those of the site's root
            continue
        for link in page.to:
            where, part = urldefrag(link)
            if "://" in where or where.startswith(("mailto:", "data:")):
                continue
            target = (path.parent / unquote(where)).resolve() if where else path
            target = target / "index.html" if target.is_dir() else target
            if not target.exists() or (part and target in pages and unquote(part) not in pages[target].ids):
                dead.append(f"{path.name}: {link}")
    return dead


def browser() -> webdriver.Chrome:
    """Chromium without a window."""
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in FLAGS:
        options.add_argument(flag)
    chrome = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    chrome.set_script_timeout(SCRIPT_SECONDS)
    # the theme keeps the scheme of the first page, whatever the next one is asked for
    chrome.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": "try { localStorage.clear() } catch {}"})
    return chrome


def looked(chrome: webdriver.Chrome, page: Path, shots: Path) -> list[str]:
    """What is wrong with one page."""
    wrong = []
    for width in WIDTHS:
        for scheme in SCHEMES:
            chrome.execute_cdp_cmd(
                "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
            )
            chrome.execute_cdp_cmd(
                "Emulation.setDeviceMetricsOverride", {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
            )  # fmt: skip
            chrome.get(page.as_uri())
            where = f"{page.name} {width} {scheme}"
            over = chrome.execute_script("return document.documentElement.scrollWidth - window.innerWidth")
            wrong += [f"{where}: runs {over} px over the edge"] * (over > 0)
            missing = chrome.execute_script("return [...document.images].filter(i => !i.naturalWidth).map(i => i.src)")  # fmt: skip
            wrong += [f"{where}: no picture {name}" for name in missing]
            found: Any = Axe().run(chrome)
            for violation in found["violations"]:
                if violation["impact"] in {"serious", "critical"}:
                    nodes = [node["html"][:120] for node in violation["nodes"][:3]]
                    wrong.append(f"{where}: {violation['id']}: {nodes}")
            (shots / f"{page.stem}-{width}-{scheme}.png").write_bytes(chrome.get_screenshot_as_png())
    return wrong


def hostile(chrome: webdriver.Chrome, folder: Path) -> list[str]:
    """Payloads, all in one trace each, as a browser runs them: nothing may happen."""
    wrong = []
    harmless = None
    for payload in ["words", *PAYLOADS]:
        page = folder / "hostile.html"
        page.write_text(to_html(trace_of(payload, f"{payload} again", name=payload)), encoding="utf-8")
        chrome.get(page.as_uri())
        tags = chrome.execute_script("return [...new Set([...document.querySelectorAll('*')].map(e => e.tagName))].sort()")  # fmt: skip
        harmless = harmless or set(tags)
        if strange := set(tags) - harmless - {"DEL", "INS", "SPAN"}:
            wrong.append(f"{payload!r} made {strange}")
        if chrome.title != "How this answer was found":
            wrong.append(f"{payload!r} changed the title")
    page.unlink()
    return wrong


def main(site: Path, shots: Path) -> int:
    """Print what is wrong; the number of findings."""
    shots.mkdir(parents=True, exist_ok=True)
    model = SEAChatModel(model="tiny", budget=Budget(max_steps=6, max_time=None), max_tokens=24)
    trace = model.refinement("What is 14 + 23?").trace
    (site / "trace.html").write_text(to_html(trace), encoding="utf-8")
    chrome = browser()
    try:
        wrong = dead_links(site)
        wrong += [line for name in LOOKED_AT for line in looked(chrome, site / name, shots)]
        wrong += hostile(chrome, shots)
    finally:
        chrome.quit()
    print("\n".join(wrong))
    print(json.dumps({"pages": len(LOOKED_AT), "payloads": len(PAYLOADS), "findings": len(wrong)}))
    return len(wrong)


if __name__ == "__main__":
    sys.exit(min(1, main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())))
