"""A real Chromium that opens reports from disk, and writes down whatever is wrong."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
# Without the background flags Chromium asks its own hosts at each start.
FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WIDE, NARROW = (1280, 900), (390, 844)
TALL = (1280, 2400)
"""Shows a whole list of a few dozen samples."""


@contextmanager
def chromium() -> Iterator[Any]:
    """A headless browser; skips where there is none."""
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="no playwright: pip install .[dev]"
    )
    if CHROMIUM is None:
        pytest.skip("no Chromium: apt-get install chromium")
    root = ("--no-sandbox",) if os.geteuid() == 0 else ()
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *root])
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Tab:
    """A page of a report, and the problems that it had."""

    page: Any
    folder: Path
    problems: list[str] = field(default_factory=list)

    def open(self, address: str = "") -> None:
        """Open an address of the report, as a link from elsewhere does: with a new document."""
        self.page.goto("about:blank")
        self.page.goto(self.folder.as_uri() + "/index.html" + address)
        self.page.locator("#app h1").wait_for()

    def axe(self) -> list[str]:
        """Violations that axe-core finds on the page as it is."""
        axe = pytest.importorskip("axe_playwright_python.sync_playwright")
        found = axe.Axe().run(self.page).response["violations"]
        return [
            f"{one['id']}: {node['html'][:200]} {node['failureSummary'][:300]}"
            for one in found
            for node in one["nodes"][:3]
        ]


@contextmanager
def tab(
    browser: Any, folder: Path, size: tuple[int, int] = WIDE, theme: str = "light"
) -> Iterator[Tab]:
    """A page without network; its block fails if anything was asked for, logged or violated."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, color_scheme=theme, offline=True
    )
    page = context.new_page()
    opened = Tab(page, folder)
    wrong = opened.problems
    own = folder.as_uri() + "/"

    def requested(request: Any) -> None:
        if not request.url.startswith((own, "data:", "about:blank")):
            wrong.append(f"request: {request.url}")

    page.on("request", requested)

    def failed(request: Any) -> None:
        if request.failure != "net::ERR_ABORTED":  # of a page that was left while it loaded
            wrong.append(f"failed: {request.url[:200]} ({request.failure})")

    page.on("requestfailed", failed)
    page.on("console", lambda message: wrong.append(f"{message.type}: {message.text[:400]}"))
    page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    page.on("dialog", lambda dialog: (wrong.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    context.on("page", lambda other: wrong.append(f"opened: {other.url}"))
    try:
        yield opened
        assert wrong == [], wrong
    finally:
        context.close()
