"""Measure `view` on two large runs, and the report that it writes in a headless Chromium.

    python scripts/bench_view.py [--samples 100000] [--characters 1280]

The runs are those of `bench_store.py`: the same samples, answers of `--characters` each. Bounds:
60 s and 1.5 GB to write the report; in the browser, from disk, 2 s until the overview is shown, and
200 ms from a click on a filter until the filtered list is drawn (the slowest of several). Every
filter of the list is used, and every order. Without playwright or Chromium only the first part is
measured.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from bench_store import MISSING, TASK, measure, write_run

SECONDS, BYTES = 60.0, 1.5e9
OVERVIEW, FILTER = 2.0, 0.2
ROUNDS = 3
# From the event until the frame after the page has changed.
ACT = """
(element, value) => new Promise((done) => {
  const start = performance.now();
  if (value === null) element.click();
  else {
    element.value = value;
    element.dispatchEvent(new Event("change"));
  }
  requestAnimationFrame(() => setTimeout(() => done(performance.now() - start)));
})
"""


def opened(page: Any, address: str, selector: str) -> float:
    """Seconds until a page of the report shows what is looked for."""
    page.goto("about:blank")
    since = time.monotonic()
    page.goto(address)
    page.locator(selector).first.wait_for()
    return time.monotonic() - since


def filter_times(page: Any) -> dict[str, float]:
    """The slowest use of each filter and order, in seconds; each is used and then undone."""
    slowest: dict[str, float] = {}

    def act(name: str, element: Any, value: str | None = None) -> None:
        took = element.evaluate(ACT, value) / 1000
        slowest[name] = max(took, slowest.get(name, 0.0))

    keys = page.locator("button.chip").evaluate_all("all => all.map((one) => one.dataset.key)")
    selects = page.locator(".samples select").evaluate_all("all => all.map((one) => one.id)")
    for _ in range(ROUNDS):
        for key in keys:
            for _ in ("on", "off"):
                act(f"filter {key}", page.locator(f'[data-key="{key}"]').first)
        for place in range(len(selects)):  # their ids change whenever the filters are drawn
            box = page.locator(".samples select").nth(place)
            label = box.evaluate("one => one.labels[0].textContent").lower()
            values = box.evaluate("one => [...one.options].map((option) => option.value)")
            for value in (*values[1:4], values[0]):
                act(f"select {label}", page.locator(".samples select").nth(place), value)
    return slowest


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
        rows.append(("list of samples", opened(page, f"{index}#large", ".vlist .row"), 0))
        slowest = filter_times(page)
        rows += [(name, took, FILTER) for name, took in slowest.items()]
        since = time.monotonic()
        page.locator(".vlist .row a").first.click()
        page.locator(".sample-page .response").first.wait_for()
        rows.append(("sample", time.monotonic() - since, 0))
        rows.append(
            ("side by side", opened(page, f"{index}#~compare/large?runs=0,1", ".vlist .row"), 0)
        )
        browser.close()
    return "" if slowest else "no filter could be clicked"


def main() -> int:
    """Print both tables; exit with 1 where a bound is broken."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--characters", type=int, default=1280, help="of each answer")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench_view-") as temporary:
        root = Path(temporary)
        (root / "plugins").mkdir()
        (root / "plugins" / "large.py").write_text(TASK.format(n=options.samples), "utf-8")
        flags = ["--include_path", str(root / "plugins")]
        for model, right, missing in (("first", 0.55, MISSING), ("second", 0.56, 0)):
            write_run(root, model, right, options.characters, missing)
        paths = [str(root / "runs" / model) for model in ("first", "second")]
        bytecode, report = root / "bytecode", root / "report"
        scored = measure(["score", *paths, *flags], bytecode)
        seconds, cpu, held = measure(["view", *paths, "-o", str(report), *flags], bytecode)
        size = sum(path.stat().st_size for path in report.rglob("*") if path.is_file())
        journals = sum(p.stat().st_size for p in (root / "runs").rglob("*.jsonl"))
        print(
            f"{options.samples:,} samples x 2 runs, {journals / 1e6:,.0f} MB of journals, ", end=""
        )
        print(f"{size / 1e6:,.0f} MB of report\n")
        print("| command | seconds | of CPU | memory, MB |\n|---|---|---|---|")
        for name, (wall, used, most) in (("score", scored), ("view", (seconds, cpu, held))):
            print(f"| {name} | {wall:.1f} | {used:.1f} | {most / 1e6:,.0f} |", flush=True)
        rows: list[tuple[str, float, float]] = []
        why = measure_browser(report, rows)
    if why:
        print(f"\nnot measured in a browser: {why}")
    else:
        print("\n| in the browser | seconds | bound |\n|---|---|---|")
        for what, took, bound in rows:
            print(f"| {what} | {took:.3f} | {bound or '–'} |")
    broken = seconds > SECONDS or held > BYTES
    return int(broken or any(bound and took > bound for _, took, bound in rows))


if __name__ == "__main__":
    raise SystemExit(main())
