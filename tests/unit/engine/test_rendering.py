"""What a table is written as: hostile names cannot break out of any format."""

from __future__ import annotations

import base64
import csv
import hashlib
import html
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from browsing import NARROW, WIDE, chromium, tab
from cli import here
from hypothesis import given
from hypothesis import strategies as st
from tree import ROOT

from vsr1_bench._util.look import COLOURS, SERIES
from vsr1_bench.leaderboard import render
from vsr1_bench.leaderboard.page import html_page
from vsr1_bench.leaderboard.rendering import (
    WRITERS,
    csv_table,
    csv_text,
    latex,
    latex_text,
    markdown,
    markdown_text,
)
from vsr1_bench.leaderboard.sheet import Entry, Sheet

HOSTILE = [
    '=HYPERLINK("http://x")', "+1+1", "-2", "@SUM(A1)", "\t=1", "\r=1", "  =1", "\n=1",
    "a|b", "**bold**", "[x](http://y)", "`code`", "<script>alert(1)</script>",
    '"><img src=x onerror=a>', "\\input{/etc/passwd}", "$x^2$", "50% & more_or_less #1 {~}",
    "</title><b>", "a\nb", "\u202ereversed", "]]>", "&amp;", "</style>", "</script>", "{}", "[h!]",
]  # fmt: skip


def sheet(*names: str) -> Sheet:
    rows = tuple((name, Entry(50.0 + i, 40.0, 60.0, (1,), "best")) for i, name in enumerate(names))
    return Sheet(("model", "value"), rows, ("a note <b> | $ %",), ("a remark",), intervals=True)


@pytest.mark.parametrize("name", HOSTILE)
def test_no_cell_of_a_csv_is_a_formula(name: str) -> None:
    rows = list(csv.reader(io.StringIO(csv_table(sheet(name)))))
    assert [len(row) for row in rows] == [6, 6]
    for cell in (*rows[0], *rows[1]):
        assert not cell or cell[0] not in "=+-@\t\r\n"
    assert rows[1][1:4] == ["50.0", "40.0", "60.0"]


@given(st.text(max_size=30))
def test_no_text_at_all_is_a_formula(text: str) -> None:
    found = csv_text(text)
    assert not found or (found[0] not in "=+-@\t\r\n" and found.isprintable())


def test_negative_numbers_in_a_csv_stay_numbers() -> None:
    made = csv_table(Sheet(("model", "gain"), (("m", Entry(-1.25)),)))
    assert made.splitlines() == ["model,gain,marks,notes", "m,-1.2,,"]


def test_a_csv_has_one_rule_for_digits() -> None:
    """Those of every other format: one decimal of percentages, four of a task's own unit."""
    rows = (("m", Entry(10.0, 5.25, 20.0), Entry(33.857142)), ("n", Entry(0.5, digits=4), Entry(7)))
    made = csv_table(Sheet(("model", "a", "b"), rows, intervals=True)).splitlines()
    assert made[1:] == ["m,10.0,5.2,20.0,33.9,,,,", "n,0.5000,,,7.0,,,,"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("mmmu_pro_10", "mmmu_pro_10"),
        ("cascade:math,openai[org/M,paper]", "cascade:math,openai[org/M,paper]"),
        ("majority:openai[M]*2", "majority:openai[M]*2"),
        ("*a* b", r"\*a\* b"),
        ("an _emphasis_ here", r"an \_emphasis\_ here"),
        ("_a_b_", r"\_a_b\_"),
        ("![x](http://y)", r"![x\](http://y)"),
        ("[x] [y]", r"[x\] [y]"),
        ("__x__", r"\_\_x\_\_"),
    ],
)
def test_markdown_escapes_markup_and_leaves_names_as_they_are(text: str, wanted: str) -> None:
    assert markdown_text(text) == wanted


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_stays_in_its_cell_of_the_long_layout(name: str) -> None:
    made = render([_document(model=name, task=name, footnote=name)], "markdown")
    line = made.splitlines()[2]
    assert len(re.findall(r"(?<!\\)\|", line)) == 13
    assert "<" not in made and not re.search(r"(?<!\\)(\]\(|`|\*)", made)


def _document(**changes: object) -> dict[str, object]:
    value = {"value": -0.0123, "low": -0.05, "high": 0.02, "n": 9}
    rates = {"scored": 9, "total": 9, "ranked": True} | dict.fromkeys(
        ("unparsed", "truncated", "failed"), 0.0
    )
    return dict.fromkeys(("task", "judge", "prompt", "variant", "spec_hash"), "x") | {
        "model": "-2", "version": 1, "by": {}, "rates": rates, "metrics": {"gain": value},
        **changes,
    }  # fmt: skip


def test_negative_numbers_of_the_long_layout_stay_numbers() -> None:
    (row,) = csv.DictReader(io.StringIO(render([_document()], "csv")))
    assert row["value"] == "-1.2" and row["model"] == "'-2" and row["95 % interval"][0] == "'"


def test_latex_asks_for_no_font_encoding() -> None:
    assert "textquotedbl" not in latex_text('a "name"')  # T1 only; OT1 is the default
    rows = (("*a", Entry(1.0)), ("*b", Entry(2.0)))
    made = latex(Sheet(("model", "x"), rows))
    assert made.count("\n{}*") == 2  # a line break swallows a star after it


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_stays_in_its_markdown_cell(name: str) -> None:
    lines = markdown(sheet(name)).splitlines()
    assert len(re.findall(r"(?<!\\)\|", lines[2])) == 3
    assert "<" not in "".join(lines) and not re.search(r"(?<!\\)\]\(", "".join(lines))
    assert "**50.0** [40.0 to 60.0] ¹" in lines[2]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_no_latex(name: str) -> None:
    made = latex_text(name)
    bare = re.sub(r"\\(textbackslash|text\w+|ensuremath)\{[^}]*\}|\\[{}$&#%_]", "", made)
    assert not set(bare) & set("\\{}$&#%_~^<>")
    assert "\n" not in made


def test_latex_is_booktabs_and_marks() -> None:
    rows = (("a", Entry(1.0, mark="best")), ("[b]", Entry(2.0, mark="second")), ("c", Entry(None)))
    made = latex(Sheet(("model", "x_y"), rows, ("note",)))
    for word in (r"\toprule", r"\midrule", r"\bottomrule", r"\bfseries 1.0", r"\underline{2.0}"):
        assert word in made
    assert r"model & {x\_y} \\" in made and "{}[b] &" in made and r"c & {--} \\" in made


def test_latex_aligns_digits() -> None:
    rows = (
        ("a", Entry(100.0)),
        ("b", Entry(5.1, mark="second")),
        ("c", Entry(-61.0, notes=(1, 2))),
    )
    made = latex(Sheet(("model", "x"), rows, ("why", "how")))
    column = r"S[table-format=-3.1,table-space-text-post={\textsuperscript{1,2}}]"
    assert rf"\begin{{tabular}}{{l{column}}}" in made
    assert r"b & {\phantom{00}\underline{5.1}\phantom{\textsuperscript{1,2}}} \\" in made
    assert r"c & -61.0{\textsuperscript{1,2}} \\" in made


def compiled(body: str, folder: Path) -> None:
    """Compile a table, or skip where LaTeX or siunitx is not installed."""
    if shutil.which("pdflatex") is None or shutil.which("kpsewhich") is None:
        pytest.skip("no pdflatex on this machine (Debian: texlive-science)")
    if subprocess.run(["kpsewhich", "siunitx.sty"], capture_output=True, check=False).returncode:
        pytest.skip("no siunitx on this machine (Debian: texlive-science)")
    document = (
        "\\documentclass{article}\\usepackage{booktabs,siunitx}"
        f"\\begin{{document}}\n{body}\n\\end{{document}}"
    )
    (folder / "t.tex").write_text(document)
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]


@pytest.mark.parametrize("flags", [("--tasks", "paper"), ("--columns", "task,lsr")], ids=str)
def test_the_papers_table_compiles(tmp_path: Path, flags: tuple[str, ...]) -> None:
    words = ("--results", ROOT / "results" / "paper", "--format", "latex", *flags)
    told = here("table", *words, "--caption", "50 % of _all_ & more", "--label", "tab:all")
    assert told.returncode == 0, told.stderr
    compiled(told.stdout, tmp_path)


def test_latex_compiles(tmp_path: Path) -> None:
    compiled(latex(sheet(*(name for name in HOSTILE if name.isascii()))), tmp_path)


class Page(HTMLParser):
    """Collects elements, and the text of the cells."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.cells: list[str] = []
        self.inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        cell = tag == "td" or ("scope", "row") in attrs
        self.inside = cell or (self.inside and tag in ("span", "sup"))
        if cell:
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.cells[-1] += data

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self.inside = False


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_no_html(name: str) -> None:
    page = Page()
    page.feed(html_page(sheet(name), title=name))
    assert page.tags.count("script") == 1 and len(page.cells) == 2
    assert not {"img", "b", "a", "iframe", "link"} & set(page.tags)
    assert not any(key.startswith("on") or key in ("src", "href") for key, _ in page.attributes)
    assert page.cells[0] == " ".join("".join(c if c.isprintable() else " " for c in name).split())


def test_the_policy_allows_this_pages_script_and_style_only() -> None:
    made = html_page(sheet("m"))
    policy = html.unescape(re.findall(r'Content-Security-Policy" content="([^"]+)"', made)[0])
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    for tag in ("script", "style"):
        (body,) = re.findall(rf"<{tag}>(.*?)</{tag}>", made, re.S)
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "//" not in re.sub(r"<!DOCTYPE.*?>", "", made).replace("// ", "")


def test_the_page_sorts_and_stays_silent_in_a_browser(tmp_path: Path) -> None:
    """A real browser: clicks sort, nothing is fetched, no error, no script of a name runs."""
    chromium = Path("/usr/bin/chromium")
    if not chromium.exists():
        pytest.skip("no /usr/bin/chromium on this machine")
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    path = tmp_path / "page.html"
    path.write_text(html_page(sheet("b", "<img src=x onerror=document.title='run'>", "a")), "utf-8")
    asked, errors = [], []
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=str(chromium),
            args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"],
        )
        context = browser.new_context(offline=True)
        context.on("request", lambda request: asked.append(request.url))
        tab = context.new_page()
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.on("console", lambda message: errors.append(message.text))
        tab.goto(path.as_uri())
        assert tab.title() == "vsr1-bench: results"

        def column(number: int) -> list[str]:
            found: list[str] = tab.eval_on_selector_all(
                f"tbody :nth-child({number})[data-value]",
                "cells => cells.map(c => c.dataset.value)",
            )
            return found

        tab.click("th:nth-child(2) button")
        assert column(2) == ["52.0", "51.0", "50.0"]
        tab.click("th:nth-child(2) button")
        assert column(2) == ["50.0", "51.0", "52.0"]
        tab.click("thead th:nth-child(1) button")
        assert column(1)[-2:] == ["a", "b"]
        assert tab.evaluate("getComputedStyle(document.querySelector('.best')).fontWeight") == "700"
        browser.close()
    assert errors == [] and asked == [path.as_uri()]


LONG = "org/a-model-whose-name-is-longer-than-any-first-column-can-be-at-any-width"
BOARD = (ROOT / "results" / "leaderboard.html").read_text("utf-8")
METRICS = ("accuracy", "lsr", "self_contained", "saw_but_wrong", "no_description", "words")


def intervals_sheet() -> Sheet:
    """One row per task and many metrics with intervals, as `--columns metric --intervals`."""
    cells = tuple(Entry(50.0, 40.5, 60.5, (1,), "best") for _ in METRICS)
    rows = ((LONG, "see_think, seed=3", *cells, "measured", "2026-01-01, string_match"),) * 3
    return Sheet(
        ("model", "setting", *METRICS, "kind", "source"),
        (*rows, (f"{LONG} reported", "–", *cells, "reported", "arXiv:0000.00000, table 1")),
        ("why",), ("of all",), intervals=True, about=("setting", "kind", "source"),
    )  # fmt: skip


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["1280", "390"])
def test_a_wide_table_is_whole(tmp_path: Path, size: tuple[int, int], theme: str) -> None:
    """Nothing is cut at 1280 px; a narrow page scrolls the table alone, its names in sight."""
    long = render([_document(model=LONG)], "html")
    with chromium() as browser:
        for made in (BOARD, html_page(intervals_sheet()), long):
            (tmp_path / "page.html").write_text(made, "utf-8")
            with tab(browser, tmp_path, size, theme) as opened:
                page = opened.page
                page.goto((tmp_path / "page.html").as_uri())
                assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
                frame = page.locator(".scroll")
                inside, seen = frame.evaluate("one => [one.scrollWidth, one.clientWidth]")
                if size == WIDE:
                    assert inside <= seen
                names = page.locator("tbody .name")
                for name in names.all():
                    box = name.bounding_box()
                    assert box["height"] < 24 and box["x"] + box["width"] <= size[0]
                    assert name.get_attribute("title") == name.text_content()
                left = names.first.bounding_box()["x"]
                frame.evaluate("one => { one.scrollLeft = 9999; }")
                assert names.first.bounding_box()["x"] == pytest.approx(left, abs=1)
                last = page.locator("tbody tr:first-child > :last-child").bounding_box()
                assert last["x"] + last["width"] <= size[0]
                assert opened.axe() == []


def test_a_printed_table_fits_the_paper(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(BOARD, "utf-8")
    paper = (1047, 718)  # A4, landscape, with margins of 1 cm, at 96 dots per inch
    with chromium() as browser, tab(browser, tmp_path, paper) as opened:
        opened.page.goto((tmp_path / "page.html").as_uri())
        opened.page.emulate_media(media="print")
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= paper[0]
        first = opened.page.locator(".first").first
        assert first.evaluate("one => getComputedStyle(one).position") == "static"


def test_a_page_has_the_colours_of_the_report() -> None:
    style = (ROOT / "vsr1_bench/report/web/src/style.css").read_text("utf-8")
    named = dict(re.findall(r"--([a-z-]+): light-dark\((#\w+, #\w+)\);", style))
    assert {name: ", ".join(both) for name, both in COLOURS.items()}.items() <= named.items()
    assert {COLOURS[name][0] for name in ("blue", "grey")} <= set(SERIES)
    lines = " ".join(re.findall(r"\.line-\d \{ stroke: ([^;]+);", style))
    for colour in SERIES[2:5]:
        assert f"light-dark({colour}, " in lines


def test_what_is_known_of_a_row_stands_below_its_name() -> None:
    made = html_page(intervals_sheet())
    first, *_, last = re.findall(r'<th scope="row".*?</th>', made)
    assert "see_think, seed=3" in first and "measured" not in first
    assert '<span class="kind">reported</span>' in last and "arXiv:0000.00000" in last
    heads = re.findall(r'<th scope="col".*?<button[^>]*>(.*?)</button>', made)
    assert heads == ["model", *(name.replace("_", "_<wbr>") for name in METRICS)]
    assert made.count('<svg class="bar"') == 4 * len(METRICS)
    assert "paired test" in made and "95 % intervals" in made


@pytest.mark.parametrize("fmt", WRITERS)
def test_every_format_writes_an_empty_cell_and_a_note(fmt: str) -> None:
    rows = (("x", Entry(None)), ("y", Entry(1.0, notes=(1,))))
    made = WRITERS[fmt](Sheet(("m", "v"), rows, ("why",)))
    assert "why" in made and "None" not in made
