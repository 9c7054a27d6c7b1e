"""Measure `view` on two large runs, and the report that it writes in a headless Chromium.

    python scripts/bench_view.py [--samples 100000]

The runs are those of `bench_tables.py`. Bounds: 60 s and 1.5 GB to write the report; in the
browser, from disk, 2 s until the overview is shown and 200 ms from a click on a filter of the list
until the filtered list is drawn (the slowest of several). Without playwright or Chromium only the
first part is measured.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from bench_tables import TASK, measure, write_run

SECONDS, BYTES = 60.0, 1.5e9
OVERVIEW, FILTER = 2.0, 0.2
FILTERS = ("verdict-i", "verdict-c", "flag-truncated", "flag-unparsed", "flag-disagree")
ROUNDS = 3
# From the click until the frame after the first change of the page.
CLICK = """
(button) => new Promise((done) => {
  const start = performance.now();
  new MutationObserver((_, observer) => {
    observer.disconnect();
    requestAnimationFrame(() => setTimeout(() => done(performance.now() - start)));
  }).observe(document.getElementById("app"), {
    subtree: true, childList: true, characterData: true, attributes: true,
  });
  button.click();
})
"""


def opened(page: Any, address: str, selector: str) -> float:
    """Seconds until a page of the report shows what is looked for."""
    page.goto("about:blank")
    since = time.monotonic()
    page.goto(address)
    page.locator(selector).first.wait_for()
    return time.monotonic() - since


def measure_browser(report: Path, rows: list[tuple[str, float, float]]) -> str:
    """Add (what, seconds, bound) of each step in the browser; return why there are none."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return "no playwright: pip install .[dev]"
    if chromium is None:
        return "no Chromium: apt-get install chromium"
    flags = ["--disable-gpu", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    index = (report / "index.html").resolve().as_uri()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        opened(page, index, "#app h1")  # the browser's own start is not the report's
        times = [opened(page, index, "#app h1") for _ in range(ROUNDS)]
        rows.append(("overview", max(times), OVERVIEW))
        rows.append(("list of samples", opened(page, f"{index}#large", '[role="listitem"], li'), 0))
        slowest: dict[str, float] = {}
        for _ in range(ROUNDS):
            for key in FILTERS:
                button = page.locator(f'[data-key="{key}"]').first
                for _ in ("on", "off"):
                    if button.count() and button.is_enabled():
                        took = button.evaluate(CLICK) / 1000
                        slowest[key] = max(took, slowest.get(key, 0.0))
        rows += [(f"filter {key}", took, FILTER) for key, took in slowest.items()]
        browser.close()
    return "" if slowest else "no filter could be clicked"


def main() -> int:
    """Print both tables; exit with 1 where a bound is broken."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=100_000)
    samples = parser.parse_args().samples
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        (root / "plugins").mkdir()
        (root / "plugins" / "large.py").write_text(TASK, "utf-8")
        flags = ["--include_path", str(root / "plugins")]
        for folder, count in (("small", 100), ("runs", samples)):
            for model, right in (("first", 0.55), ("second", 0.56)):
                write_run(root / folder, model, count, right)
            paths = [str(root / folder / model) for model in ("first", "second")]
            scored = measure(["score", *paths, *flags], root / "bytecode")
            out = ["-o", str(root / f"report-{folder}")]
            seconds, cpu, held = measure(["view", *paths, *out, *flags], root / "bytecode")
        report = root / "report-runs"
        size = sum(path.stat().st_size for path in report.rglob("*") if path.is_file())
        journals = sum(p.stat().st_size for p in (root / "runs").rglob("*") if p.is_file())
        print(f"{samples:,} samples x 2 runs, {journals / 1e6:,.0f} MB of journals, ", end="")
        print(f"{size / 1e6:,.0f} MB of report (`score` took {scored[0]:.1f} s)\n")
        print("| command | seconds | of CPU | memory, MB |\n|---|---|---|---|")
        print(f"| view | {seconds:.1f} | {cpu:.1f} | {held / 1e6:,.0f} |\n", flush=True)
        rows: list[tuple[str, float, float]] = []
        why = measure_browser(report, rows)
    if why:
        print(f"not measured in a browser: {why}")
    else:
        print("| in the browser | seconds | bound |\n|---|---|---|")
        for what, took, bound in rows:
            print(f"| {what} | {took:.3f} | {bound or '–'} |")
    broken = seconds > SECONDS or held > BYTES
    return int(broken or any(bound and took > bound for _, took, bound in rows))


if __name__ == "__main__":
    raise SystemExit(main())
