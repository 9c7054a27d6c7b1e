"""The page of a labelling sheet in a real browser: labels by hand, kept, downloaded, calibrated."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cli
import picture_runs
import pytest
from browsing import NARROW, TALL, WIDE, Tab, chromium, tab
from labelled import fill, sheet_rows
from reports import HOSTILE, data

N = 24
MODEL = "org/secret-model"


@dataclass(frozen=True)
class Made:
    """A sheet with a second pass, and its page."""

    folder: Path
    sheet: Path
    runs: Path
    include: tuple[Any, ...]

    def words(self, name: str) -> tuple[Any, ...]:
        return (name, self.runs, *self.include)

    def page(self, sheet: Path, folder: Path) -> Path:
        done = cli.here(*self.words("view"), "--labels", sheet, "-o", folder)
        assert done.returncode == 0, done.stderr
        return folder

    def calibrated(self, sheet: Path) -> dict[str, Any]:
        words = (*self.words("calibrate"), "--judge", "string_match", "--labels", sheet)
        done = cli.here(*words, "--json")
        assert done.returncode == 0, done.stderr
        [document] = json.loads(done.stdout)
        return dict(document)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = tmp_path_factory.mktemp("labelling")
    hostile = list(HOSTILE.values())
    lines = []
    for n in range(N):
        first, second = picture_runs.both(n, sufficient=n % 4 != 0, right=n % 5 != 0)
        if n < len(hostile):
            first["response"] = hostile[n] + first["response"]
            second["response"] = hostile[n] + second["response"]
        lines += [first, second]
    # One response has no description, so there is nothing to read.
    lines[-2]["response"] = "\\boxed{23}"
    picture_runs.run_and_score(root, lines, N, model=MODEL)
    sheet, include = root / "sheet.csv", ("--include_path", picture_runs.plugins(root))
    made = Made(root / "page", sheet, root / "runs", include)
    words = (*made.words("calibrate"), "--judge", "string_match", "--labels", sheet)
    assert cli.here(*words).returncode == 0
    made.page(sheet, made.folder)
    return made


@pytest.fixture(scope="module")
def browser(made: Made) -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture
def shown(browser: Any, made: Made) -> Iterator[Tab]:
    with tab(browser, made.folder, TALL) as opened:
        yield opened


def downloaded(page: Any, folder: Path) -> Path:
    """The file that the button gives."""
    with page.expect_download() as caught:
        page.get_by_role("button", name="Download the sheet").click()
    path = folder / caught.value.suggested_filename
    caught.value.save_as(path)
    return path


def heading(page: Any) -> str:
    return str(page.locator("h1").inner_text())


def at(page: Any, number: int) -> None:
    page.locator("h1", has_text=f"Response {number} of").wait_for()


def answers(row: dict[str, str]) -> tuple[str, str]:
    """What people say here: of response and reading, as keys to press."""
    n = int(row["id"][1:])
    return "1" if n % 5 else "2", "4" if n % 4 else "5"


def test_people_label_by_key_and_the_download_calibrates(
    shown: Tab, made: Made, tmp_path: Path
) -> None:
    shown.open()
    page, rows = shown.page, sheet_rows(made.sheet)
    for number, row in enumerate(rows, 1):
        at(page, number)
        first, second = answers(row)
        page.keyboard.press(first)
        if row["description"]:
            assert heading(page) == f"Response {number} of {N}"  # the reading is open still
            page.keyboard.press(second)
    assert page.locator(".done").inner_text() == f"{N} of {N} labelled"
    path = downloaded(page, tmp_path)
    assert path.name == "sheet-filled.csv"
    filled = sheet_rows(path)
    said = {"1": "correct", "2": "incorrect", "4": "correct", "5": "incorrect"}
    for old, new in zip(rows, filled, strict=True):
        first, second = answers(old)
        read = said[second] if old["description"] else ""
        assert new == {**old, "label": said[first], "reading_label": read}
    document = made.calibrated(path)
    assert document["metrics"]["accuracy"]["labels"] == N
    assert document["metrics"]["self_contained"]["ppi"]["value"] == pytest.approx(17 / 23)
    assert document["unclear"] == 0


def test_labels_survive_a_reload_and_can_be_taken_back(browser: Any, made: Made) -> None:
    with tab(browser, made.folder) as opened:
        opened.open("#2")
        page = opened.page
        right = page.locator('[data-label="0-correct"]')
        unclear = page.locator('[data-label="1-unclear"]')
        right.click()
        assert right.get_attribute("aria-pressed") == "true"
        unclear.click()
        at(page, 3)
        page.reload()
        at(page, 3)
        assert page.locator(".done").inner_text() == f"1 of {N} labelled, 1 unclear"
        page.keyboard.press("k")
        at(page, 2)
        assert right.get_attribute("aria-pressed") == "true"
        page.keyboard.press("2")  # a change leads nowhere
        page.wait_for_timeout(100)
        assert heading(page) == f"Response 2 of {N}"
        page.keyboard.press("1")
        right.click()  # once more takes it back
        assert right.get_attribute("aria-pressed") == "false"
        assert page.locator(".done").inner_text() == f"0 of {N} labelled, 1 unclear"
        page.keyboard.press("0")
        assert page.locator(".done").inner_text() == f"0 of {N} labelled"
        page.keyboard.press("n")
        at(page, 3)
        # A second window of the same sheet has its own page and the same labels.
        other = page.context.new_page()
        other.goto(made.folder.as_uri() + "/index.html#5")
        at(other, 5)
        other.keyboard.press("1")
        page.keyboard.press("2")
        other.wait_for_function("localStorage.length > 0")
        kept = [json.loads(page.evaluate("name => localStorage.getItem(name)", name))
                for name in page.evaluate("Object.keys(localStorage)")
                if name.startswith("vsr1-labels-")]  # fmt: skip
        assert [sorted(map(tuple, one.values())) for one in kept] == [
            [("", ""), ("correct", ""), ("incorrect", "")]
        ]
        opened.problems.remove("opened: about:blank")
        # A window hears of another's labels late: what is stored is read before it is replaced.
        name = next(n for n in page.evaluate("Object.keys(localStorage)") if "labels" in n)
        page.evaluate(
            "([name, id]) => localStorage.setItem(name, JSON.stringify({[id]: ['unclear', '']}))",
            [name, "elsewhere"],
        )
        page.keyboard.press("1")
        assert "elsewhere" in page.evaluate("name => localStorage.getItem(name)", name)


def test_the_page_shows_the_question_and_neither_model_nor_verdict(shown: Tab, made: Made) -> None:
    sheet = data(made.folder, "labels")
    texts = json.dumps(sheet)
    assert MODEL not in texts and "extracted" not in texts and "outcome" not in texts
    page = shown.page
    for number, row in enumerate(sheet_rows(made.sheet), 1):
        shown.open(f"#{number}")
        at(page, number)
        body = page.locator("body").inner_text()
        assert "string_match" not in body and "population" not in body and row["run"] not in body
        assert page.locator('[aria-pressed="true"][data-label]').count() == 0
        assert page.locator(".gold-answer strong").inner_text() == row["gold_answer"]
        picture = page.locator(".question img")
        assert picture.evaluate("image => image.complete && image.naturalWidth") == 40
        assert page.locator('[data-label^="1-"]').count() == (3 if row["description"] else 0)
    assert page.title().startswith(f"{N} of {N}")


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_violation_of_accessibility(
    browser: Any, made: Made, size: tuple[int, int], theme: str
) -> None:
    with tab(browser, made.folder, size, theme) as opened:
        opened.open("#3")
        opened.page.keyboard.press("1")
        assert opened.axe() == []
        width = opened.page.evaluate("document.documentElement.scrollWidth")
        assert width <= size[0]
        opened.page.keyboard.press("?")
        assert "the response is right, wrong, unclear" in opened.page.locator("dialog").inner_text()


def test_a_browser_without_storage_says_so_and_still_downloads(
    browser: Any, made: Made, tmp_path: Path
) -> None:
    with tab(browser, made.folder) as opened:
        denied = "Object.defineProperty(window, 'localStorage', {get() { throw new Error() }})"
        opened.page.add_init_script(denied)
        opened.open("#1")
        assert opened.page.get_by_text("keeps nothing for pages from disk").is_visible()
        opened.page.keyboard.press("3")
        assert sheet_rows(downloaded(opened.page, tmp_path))[0]["label"] == "unclear"


def test_a_sheet_that_is_half_filled_in_goes_on(browser: Any, made: Made, tmp_path: Path) -> None:
    """As JSON lines, in another order; the browser knows nothing of it yet."""
    sheet = tmp_path / "half.jsonl"
    words = (*made.words("calibrate"), "--judge", "string_match", "--labels", sheet)
    assert cli.here(*words).returncode == 0
    rows = [json.loads(line) for line in sheet.read_text("utf-8").rstrip("\n").split("\n")][::-1]
    for row in rows[:5]:
        row |= {"label": "wrong", "reading_label": "?" if row["description"] else ""}
    sheet.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    with tab(browser, made.page(sheet, tmp_path / "page")) as opened:
        opened.open()
        at(opened.page, 6)  # the first without a label
        opened.page.keyboard.press("1")
        path = downloaded(opened.page, tmp_path)
    assert path.name == "half-filled.jsonl"
    filled = [json.loads(line) for line in path.read_text("utf-8").rstrip("\n").split("\n")]
    assert [row["label"] for row in filled[:7]] == ["incorrect"] * 5 + ["correct", ""]
    assert {**filled[3], "label": "", "reading_label": ""} == {
        **rows[3], "label": "", "reading_label": ""
    }  # fmt: skip
    assert made.calibrated(path)["unclear"] == sum(bool(row["description"]) for row in rows[:5])


def test_cells_that_a_spreadsheet_would_run_stay_escaped(
    browser: Any, made: Made, tmp_path: Path
) -> None:
    sheet = tmp_path / "sheet.csv"
    sheet.write_bytes(made.sheet.read_bytes())
    fill(sheet, lambda row: {"gold_answer": "'=1+1", "choices": 'a;"b"\r\nc,d'})
    with tab(browser, made.page(sheet, tmp_path / "page")) as opened:
        opened.open()
        path = downloaded(opened.page, tmp_path)
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    assert sheet_rows(path) == sheet_rows(sheet)
