"""The report in a real browser, from disk: every page, filter and key, and hostile outputs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import cli
import pytest
from browsed import Made, N, made_report
from browsing import NARROW, TALL, WIDE, Tab, chromium, tab
from reports import HOSTILE, data

PAGES = {
    "overview": "",
    "task": "#pictures",
    "sample": "#pictures/p1?run=0",
    "two runs of a sample": "#pictures/p1?runs=0,1",
    "side by side": "#~compare/pictures?runs=0,1",
    "training": "#~train/0?step=2",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made_report(tmp_path_factory.mktemp("browser"))


@pytest.fixture(scope="module")
def browser(made: Made) -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture
def shown(browser: Any, made: Made) -> Iterator[Tab]:
    """A page of the report; the test fails if it logs, asks for or violates anything."""
    with tab(browser, made.folder, TALL) as opened:
        yield opened


def task_of(made: Made, name: str) -> dict[str, Any]:
    tasks = data(made.folder, "overview")["tasks"]
    return next(task for task in tasks if task["name"] == name)  # type: ignore[no-any-return]


def found(page: Any) -> int:
    """How many samples the list says it has."""
    text = page.locator(".found").inner_text()
    return int(text.split(" ")[0].replace(",", ""))


def rows(page: Any) -> list[str]:
    return page.locator(".vlist .row .id").all_inner_texts()  # type: ignore[no-any-return]


def test_the_overview_has_the_numbers_and_every_square_leads_to_its_samples(
    shown: Tab, made: Made
) -> None:
    shown.open()
    page = shown.page
    score = task_of(made, "pictures")["runs"][0]["judges"][0]["score"]
    card = page.locator("article.card", has_text="org/first").first
    value = dict(score["metrics"])["accuracy"]["value"]
    assert card.locator("tr.headline .value").inner_text() == f"{100 * value:.1f}"
    table = score["perception"]["table"]
    cells = {
        "a": table["sufficient"]["correct"],
        "b": table["sufficient"]["incorrect"],
        "s": table["insufficient"]["correct"],
        "d": table["insufficient"]["incorrect"],
    }
    assert min(cells.values()) > 0
    for code, n in cells.items():
        field = card.locator(f'.square [data-cell="{code}"]')
        assert field.locator(".n").inner_text() == str(n)
        field.click()
        page.locator(".vlist .row").first.wait_for()
        assert found(page) == n
        assert page.locator(f'[data-key="cell-{code}"][aria-pressed="true"]').count() == 1
        page.go_back()
        page.locator(".overview").wait_for()
    assert page.get_by_role("link", name="1 truncated").first.is_visible()
    page.get_by_role("button", name="Judge and n of each number").click()
    assert "string_match" in page.locator(".wide .detail").first.inner_text()


def test_each_filter_leaves_as_many_samples_as_it_says(shown: Tab) -> None:
    shown.open("#pictures")
    page = shown.page
    page.locator(".vlist .row").first.wait_for()
    assert found(page) == N
    keys = page.locator("button.chip").evaluate_all("all => all.map(one => one.dataset.key)")
    kinds = {key.split("-")[0] for key in keys}
    assert kinds == {"verdict", "cell", "flag"}
    assert {"flag-blind_right", "flag-unparsed", "flag-truncated", "flag-disagree"} <= set(keys)
    assert {"verdict-c", "verdict-i", "verdict-f"} <= set(keys)
    for key in keys:
        chip = page.locator(f'[data-key="{key}"]')
        n = int(chip.locator(".n").inner_text())
        chip.click()
        assert chip.get_attribute("aria-pressed") == "true"
        assert found(page) == n == len(rows(page)), key
        page.go_back()  # each click is a step of the history
        page.locator(f'[data-key="{key}"][aria-pressed="false"]').wait_for()
    assert found(page) == N


def test_the_list_is_sorted_by_disagreement_and_by_length(shown: Tab, made: Made) -> None:
    index = data(made.folder, task_of(made, "pictures")["file"])
    first, second = (index["runs"][run]["verdict"] for run in (0, 1))
    chars = index["runs"][0]["chars"]
    flips = [{first[n], second[n]} == {"c", "i"} for n in range(N)]
    assert 0 < sum(flips) < N
    ranks = {
        "disagreement": lambda n: not flips[n],
        "longest": lambda n: -chars[n],
        "shortest": lambda n: chars[n],
    }
    for name, rank in ranks.items():
        shown.open(f"#pictures?sort={name}")
        shown.page.locator(".vlist .row").first.wait_for()
        assert rows(shown.page) == [f"p{n}" for n in sorted(range(N), key=rank)], name


def test_category_order_run_and_free_text(shown: Tab) -> None:
    shown.open("#pictures")
    page = shown.page
    page.get_by_label("kind", exact=True).select_option("odd")
    assert found(page) == N // 2 and all(int(one[1:]) % 2 for one in rows(page))
    page.get_by_role("button", name="Clear all filters").click()
    page.get_by_label("Order").select_option("data")
    assert rows(page) == [f"p{n}" for n in range(N)]
    page.get_by_label("Order").select_option("longest")
    assert rows(page) != [f"p{n}" for n in range(N)]
    page.locator(".run-part .tabs button", has_text="org/second").click()
    assert "run=" in page.url
    # Only the response has this word, so the full texts are searched.
    page.get_by_role("searchbox").fill("cannot TELL")
    page.locator(".found", has_text=re.compile(f"^1 of {N}")).wait_for()
    assert rows(page) == ["p21"]
    page.get_by_role("searchbox").fill("nowhere at all")
    page.locator(".found", has_text=re.compile(f"^0 of {N}")).wait_for()


def test_a_sample_shows_image_passes_judges_and_the_words_that_were_read(
    shown: Tab, made: Made
) -> None:
    shown.open()
    page = shown.page
    page.locator('.square [data-cell="s"]').first.click()
    page.locator(".vlist .row a").first.click()
    page.locator(".sample-page").wait_for()
    field = page.locator(".field-s > [aria-hidden]")
    assert field.inner_text() == "right, but its description does not carry it"
    picture = page.locator(".question img")
    picture.scroll_into_view_if_needed()
    assert picture.evaluate("one => one.decode().then(() => one.naturalWidth)") == 40
    name = page.locator("h1").inner_text()
    gold = name[1:]
    assert page.locator(".gold-answer strong").inner_text() == gold
    assert page.locator(".response > .pieces mark").all_inner_texts() == [gold]
    assert page.locator(".response > .pieces .description").inner_text().endswith(f"a scene {gold}")
    assert page.locator(".second mark").inner_text() == str(800 + int(gold))
    assert "not sufficient" in page.locator(".second .verdict-line").inner_text().lower()
    assert page.locator(".blind summary").count() == 1
    judges = page.locator(".response > .judges .judge").all_inner_texts()
    assert [one.split("\n")[-1].split(" ")[0] for one in judges] == ["string_match", "exact"]
    assert page.locator(".again code").inner_text().startswith("vsr1-bench run")
    assert page.locator(".between").count() == 0  # the headings name the channels
    assert page.locator(".second .piece.thinking").inner_text().endswith("r")
    page.keyboard.press("m")  # the text as it is, tags and all
    assert page.locator(".response > .pieces .between").first.inner_text() == "<description>"
    assert page.locator('button[aria-pressed="false"]', has_text="Formatted").count() == 1
    assert page.locator(".response > .pieces mark").all_inner_texts() == [gold]
    shown.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator(".again button").click()
    page.get_by_text("Command copied").wait_for()
    command = page.evaluate("navigator.clipboard.readText()")
    assert command == page.locator(".again code").inner_text()  # nothing is copied unseen
    page.get_by_role("button", name="Copy as JSON").click()
    page.get_by_text("JSON copied").wait_for()
    copied = json.loads(page.evaluate("navigator.clipboard.readText()"))
    assert copied["id"] == name and copied["runs"][0]["responses"][0]["text"].endswith(
        f"{{{gold}}}"
    )


def test_an_image_is_zoomed(shown: Tab) -> None:
    shown.open("#pictures/p1")
    page = shown.page
    page.get_by_role("button", name="Zoom: Image of the question").click()
    dialog = page.get_by_role("dialog")
    assert dialog.locator("output").inner_text() == "100 %"
    dialog.get_by_role("button", name="Larger").click()
    page.keyboard.press("+")
    assert dialog.locator("output").inner_text() == "196 %"
    assert "scale(1.96)" in dialog.locator("img").evaluate("one => one.style.transform")
    page.keyboard.press("Escape")
    dialog.wait_for(state="detached")
    assert page.locator("h1").inner_text() == "p1"


def test_keys_walk_through_the_list_and_the_samples(shown: Tab) -> None:
    shown.open("#pictures?cell=s&sort=data")
    page = shown.page
    listed = rows(page)
    page.keyboard.press("j")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("k")
    assert page.locator(".row.selected .id").inner_text() == listed[0]
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.locator(".sample-page").wait_for()
    assert page.locator("h1").inner_text() == listed[1]
    assert f"2 of {len(listed)}" in page.locator(".walk").inner_text()
    page.keyboard.press("j")
    page.locator("h1", has_text=re.compile(f"^{listed[2]}$")).wait_for()
    page.keyboard.press("ArrowLeft")
    page.locator("h1", has_text=re.compile(f"^{listed[1]}$")).wait_for()
    page.keyboard.press("u")
    page.locator(".task-page").wait_for()
    assert rows(page) == listed
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "search"
    page.keyboard.type("j?")  # typed, not obeyed
    assert page.get_by_role("searchbox").input_value() == "j?"
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    assert "next sample" in page.get_by_role("dialog").inner_text()
    page.keyboard.press("Escape")
    page.keyboard.press("t")
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    page.keyboard.press("t")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"


def test_side_by_side_has_the_numbers_of_compare_and_the_flips(shown: Tab, made: Made) -> None:
    first, second = (run.path for run in made.runs if run.spec().variant == "none")
    paths = [flag for one in made.include for flag in ("--include_path", one)]
    done = cli.here("compare", first, second, "--json", *paths)
    assert done.returncode == 0, done.stderr
    (pair,) = (
        json.loads(done.stdout)["comparisons"]
        if "comparisons" in done.stdout
        else json.loads(done.stdout)
    )
    paired = pair["paired"]
    shown.open()
    page = shown.page
    page.get_by_role("link", name="Side by side").first.click()
    page.locator(".compare-page .vlist .row").first.wait_for()
    text = page.locator(".pair").inner_text()
    assert (
        f"{abs(100 * paired['difference']):.1f}" in page.locator(".difference strong").inner_text()
    )
    assert f"p {paired['p_value']:.4f}" in text
    flips = found(page)
    assert flips == paired["wins"] + paired["losses"] > 0
    for show, n in (("wins", paired["wins"]), ("losses", paired["losses"])):
        button = page.locator(".bar .tabs button").nth(1 if show == "wins" else 2)
        button.click()
        assert found(page) == n
    page.locator(".bar .tabs button").first.click()
    page.locator(".vlist .row a").first.click()
    page.locator(".sample-page").wait_for()
    verdicts = page.locator("article.run .verdict-line .outcome strong").all_inner_texts()
    assert len(verdicts) >= 2
    mains = page.locator(
        "article.run > .response > .verdict-line .outcome strong"
    ).all_inner_texts()
    assert sorted(one.lower() for one in mains) == ["correct", "incorrect"]
    assert f"1 of {flips}" in page.locator(".walk").inner_text()


def test_a_training_run_has_curves_and_groups_of_responses(shown: Tab) -> None:
    shown.open()
    page = shown.page
    page.locator(".trainings h3 a").click()
    page.locator(".train-page .group").first.wait_for()
    assert page.locator(".curve").count() >= 3
    assert page.locator(".curve .line-0").first.get_attribute("d")
    assert page.locator(".group").count() == 3
    assert page.locator(".group").first.locator("tbody tr:not(.more)").count() == 8
    excluded = page.locator(".excluded li").all_inner_texts()
    assert len(excluded) == 2 and sum(int(one.split(" ")[0]) for one in excluded) == 9
    assert page.locator("tr.excluded").count() >= 1
    row = page.locator(".group").first.locator("tbody tr:not(.more)").nth(1)
    assert [text.strip() for text in row.locator("td.number").all_inner_texts()][:2] == ["1.1", "1"]
    assert "+0.50" in row.locator(".advantage").inner_text()
    row.locator("button.open").click()
    opened = page.locator("tr.more:not([hidden])")
    assert "1 dots" in opened.inner_text() and "Second pass" in opened.inner_text()
    page.get_by_label("Step", exact=True).select_option("1")
    assert page.url.endswith("step=1")
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    assert page.url.endswith("step=2")
    page.get_by_label("First step shown").fill("1")
    page.get_by_label("Last step shown").fill("2")
    page.keyboard.press("Enter")
    assert page.locator(".curve text").last.text_content() == "2"
    page.get_by_role("button", name="All", exact=True).click()
    box = page.locator(".lines").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + 30)
    page.mouse.up()
    assert page.get_by_label("First step shown").input_value() == "1"


def test_a_print_has_the_list_in_its_flow_and_no_controls(browser: Any, made: Made) -> None:
    with tab(browser, made.folder, (1280, 500)) as shown:
        shown.open("#pictures?sort=data")
        page = shown.page
        page.keyboard.press("t")
        page.keyboard.press("t")  # a dark screen is no reason for dark paper
        page.emulate_media(media="print")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert rows(page) == [f"p{n}" for n in range(N)]
        tops = page.locator(".vlist .row").evaluate_all(
            "all => all.map(one => one.getBoundingClientRect().top)"
        )
        assert tops == sorted(tops) and len(set(tops)) == N
        for hidden in ("header.top", ".filters", "#search"):
            assert not page.locator(hidden).is_visible(), hidden
        assert page.locator(".square .top").first.is_visible()
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert paper == "rgb(255, 255, 255)"
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        page.emulate_media(media="screen")
        assert page.locator(".vlist.printed").count() == 0 and rows(page)
        assert page.pdf().startswith(b"%PDF")


def test_numbers_use_the_width_and_rollouts_fit_a_phone(browser: Any, made: Made) -> None:
    with tab(browser, made.folder, WIDE) as wide:
        wide.open()
        page = wide.page
        board = page.locator(".leaderboard").bounding_box()
        table = page.locator("table.wide").bounding_box()
        assert abs(table["width"] - board["width"]) < 2
        alone = page.locator("section.task", has_text="mixed").locator("article.card")
        assert alone.count() == 1 and alone.bounding_box()["width"] > 0.95 * board["width"]
        wide.open("#~compare/pictures?runs=0,1")
        part, facts = page.locator(".interval-part"), page.locator(".pair .numbers .facts")
        assert part.bounding_box()["y"] == facts.bounding_box()["y"]  # beside each other
    with tab(browser, made.folder, NARROW) as narrow:
        narrow.open("#~train/0?step=2")
        page = narrow.page
        frame = page.locator(".group .scroll").first
        assert frame.evaluate("one => one.scrollWidth <= one.clientWidth")
        frame.locator("button.open").first.click()
        assert page.locator("tr.more:not([hidden]) .piece.description").is_visible()
        label = page.locator(".responses td.component").first.evaluate(
            "one => getComputedStyle(one, '::before').content"
        )
        assert label == '"accuracy"'


def test_links_from_elsewhere_open_their_page(shown: Tab) -> None:
    page = shown.page
    for address, title in (
        ("#pictures/p7?run=0", "p7"),
        ("#~compare/pictures?runs=0,1", "Side by side"),
        ("#nothing", "This page cannot be shown"),
        ("#pictures/p999", "This page cannot be shown"),
        ("#~train/7", "This page cannot be shown"),
        ("#%E0%A4%A/%ff", "This page cannot be shown"),
        ("#pictures?run=99&verdict=zz&sort=x&flags=q&by.none=1", "pictures"),
    ):
        shown.open(address)
        assert page.locator("h1").inner_text() == title
    assert "p7" in page.locator("body").inner_text() or found(page) == 0


@pytest.mark.parametrize("name", [*HOSTILE, "long", "deep"])
def test_hostile_outputs_are_text(shown: Tab, made: Made, name: str) -> None:
    page = shown.page
    ids = data(made.folder, task_of(made, "mixed")["file"])["ids"]
    (sample,) = (one for one in ids if one in (name, f"../{name}</script>#?%"))
    shown.open("#mixed?sort=data")
    assert len(rows(page)) == len(HOSTILE) + 2
    page.locator(".vlist .row a").nth(ids.index(sample)).click()
    page.locator(".sample-page").wait_for()
    shown_as = {
        "script": "<script>document.title = 'owned'</script>",
        "handler": "<img src=x onerror=",
        "closing": "</script></style><!--",
        "markdown": "[x](javascript:document.title='owned')",
        "nul": "beforeNULafter",
        "surrogates": "U+D83D",
        "bidi": "RLO" if "\u202e" in HOSTILE["bidi"] else "RLE",
        "ansi": "ESC[31mred",
        "astral": "\U0001f600",
        "long": "characters are not shown",
        "deep": ">>>",
    }
    pieces = page.locator(".response > .pieces")
    for _ in range(2):  # formatted, then as it is
        assert pieces.inner_text().strip()
        for inside in ("script", "img", "a", "svg", "iframe", "[onerror]", "[style]", "[href]"):
            assert page.locator(f".pieces {inside}, .question .rich {inside}").count() == 0
        page.keyboard.press("m")
    page.keyboard.press("m")
    page.locator('button[aria-pressed="false"]', has_text="Formatted").wait_for()
    text = pieces.inner_text()
    assert shown_as.get(name, "") in text
    assert "owned" not in page.title()
    if name == "long":
        assert page.locator(".response > .pieces mark").count() == 1  # far behind what is shown
        before = len(text)
        pieces.locator(".gap").first.click()
        assert len(pieces.inner_text()) > before + 40_000


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_every_page_is_accessible_and_fits(
    browser: Any, made: Made, size: tuple[int, int], theme: str
) -> None:
    with tab(browser, made.folder, size, theme) as opened:
        for name, address in PAGES.items():
            opened.open(address)
            opened.page.locator("#app h1").wait_for()
            opened.page.wait_for_timeout(150)
            assert opened.axe() == [], name
            width = opened.page.evaluate("document.documentElement.scrollWidth")
            assert width <= size[0], f"{name} is {width} px wide"
        opened.page.keyboard.press("?")
        opened.page.get_by_role("dialog").wait_for()
        assert opened.axe() == []
