"""Make the pictures of the report in docs/images/ from runs of the embedded model.

Usage: python scripts/screenshots.py [RUNS…] [--to docs/images]

RUNS are what `vsr1-bench view` takes: two runs of a task, the first with a second pass, and a
training run. Without RUNS they are made first, in outputs/screenshots (minutes): the embedded model
and one with a bad habit (recipe tiny/weak_start), both with a second pass and without the image,
and four steps of GRPO on the second. What is there already is not made again. Needs Chromium and
the extras `train` and `dev`.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
MADE = ROOT / "outputs" / "screenshots"
SEEING = ("--perception", "--blind", "drop", "-o", "runs")
RUN = ("run", "--backend", "transformers", "--tasks", "demo", *SEEING, "--model")
# In that folder. The same commands resume, so a second call makes nothing again.
MAKE = (
    (*RUN, "tiny"),
    ("train", "sft", "tiny/weak_start", "output_dir=sft"),
    ("train", "export", "sft", "weak_start"),
    (*RUN, "weak_start"),
    (
        *("train", "grpo", "tiny/vision_sr1", "model=weak_start", "output_dir=training"),
        *('backend="transformers"', "engine_args={}", "max_steps=4", "prompts_per_step=6"),
        *("minibatch_prompts=6", "eval_limit=16", "save_every=100"),
    ),
)
SIZES = {"1280": (1280, 1000), "390": (390, 844)}
THEMES = ("light", "dark")
QUALITY = 80
MOST_BYTES = 1_500_000
"""Of all pictures together."""
# The report asks for nothing; without these flags Chromium itself does, at each start.
FLAGS = ("--disable-gpu", "--disable-background-networking", "--disable-component-update")


def command(*words: str) -> None:
    """Run vsr1-bench in the folder of the runs; its failure ends the script."""
    done = subprocess.run([sys.executable, "-m", "vsr1_bench", *words], cwd=MADE, check=False)
    if done.returncode not in (0, 75):
        sys.exit(f"vsr1-bench {words[0]}: exit code {done.returncode}")


def make_runs() -> list[str]:
    """Make the runs that are missing; return what `view` takes of them."""
    for words in MAKE:
        if words[1] != "export" or not (MADE / words[-1]).is_dir():
            command(*words)
    return ["runs", "training"]


def pages(page: Any, index: str) -> Iterator[str]:
    """Open the pages one by one, as a reader would; yield their names."""

    def opened(address: str, sign: str) -> None:
        page.goto("about:blank")
        page.goto(index + address)
        page.locator(sign).first.wait_for(state="attached")

    opened("", ".overview h1")
    yield "overview"
    task = page.locator("section.task h2 a").first.get_attribute("href")
    opened(task, ".vlist .row")
    yield "task"
    # The sample that only this viewer can find: right, but its description does not carry it.
    opened("", ".overview h1")
    page.locator('.square [data-cell="s"]').first.click()
    page.locator(".vlist .row a").first.click()
    page.locator(".sample-page").wait_for()
    page.evaluate("scrollTo(0, 0)")
    yield "sample"
    opened("#~compare/" + task.removeprefix("#") + "?runs=0,1", ".compare-page .vlist .row")
    yield "side-by-side"
    opened("#~train/0?step=3", ".train-page .group")
    page.locator(".steps").evaluate("one => one.scrollIntoView()")
    yield "training-step"


def shoot(browser: Any, report: Path, to: Path) -> int:
    """Write the pictures of one report; return their bytes."""
    from PIL import Image

    total = 0
    for size, (width, height) in SIZES.items():
        for theme in THEMES:
            context = browser.new_context(
                viewport={"width": width, "height": height}, color_scheme=theme, offline=True
            )
            page = context.new_page()
            for name in pages(page, (report / "index.html").resolve().as_uri()):
                page.wait_for_timeout(300)  # thumbnails decode
                picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
                target = to / f"report-{name}-{size}-{theme}.webp"
                picture.save(target, "WEBP", quality=QUALITY, method=6)
                total += target.stat().st_size
                print(f"{target.name}: {target.stat().st_size:,} bytes")
            context.close()
    return total


def main() -> None:
    """Make the runs if need be, the report, and its pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("runs", nargs="*", help="what `vsr1-bench view` takes (default: made)")
    parser.add_argument("--to", type=Path, default=ROOT / "docs" / "images")
    options = parser.parse_args()
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("no chromium on this machine: apt-get install chromium")
    options.to.mkdir(parents=True, exist_ok=True)
    MADE.mkdir(parents=True, exist_ok=True)
    runs = [str(Path(run).resolve()) for run in options.runs] or make_runs()
    command("view", *runs, "-o", "report", "--title", "vsr1-bench")
    with sync_playwright() as playwright:
        root = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=chromium, args=[*FLAGS, *root])
        total = shoot(browser, MADE / "report", options.to)
        browser.close()
    print(f"{total:,} bytes in {options.to}")
    if total > MOST_BYTES:
        sys.exit(f"more than {MOST_BYTES:,} bytes: lower QUALITY")


if __name__ == "__main__":
    main()
