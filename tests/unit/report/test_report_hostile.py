"""Hostile texts: they stay data, whatever they hold."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest
from bundles import made_run, mirror
from cli import here
from reports import CALL, HOSTILE, data, samples, view, written_run
from scored import spec_of, tasks_folder

from vsr1_bench.report.grams import BITS, gram_bits

LONG = "x" * 10_000_000


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hostile")
    plugins = str(tasks_folder(root))
    texts = {f"../../{name}</script>": text for name, text in HOSTILE.items()}
    texts["long"] = LONG
    spec = spec_of("../<script>org</script>", "alpha")
    run = written_run(root / "runs", spec, texts, plugins)
    return view(root, [run], plugins=[plugins])[0]


def test_every_text_comes_back_as_it_was(hostile: Path) -> None:
    found = {one["id"]: one["runs"][0]["responses"][0] for one in samples(hostile)}
    for name, text in HOSTILE.items():
        assert found[f"../../{name}</script>"]["text"] == text
        judgment = found[f"../../{name}</script>"]["judgments"][0]
        assert judgment["raw"] == judgment["reason"] == text
    assert found["long"]["text"] == LONG


def test_no_file_holds_anything_but_one_call_with_base64(hostile: Path) -> None:
    for path in (hostile / "data").iterdir():
        assert CALL.fullmatch(path.read_bytes()), path


def test_names_of_files_come_from_numbers_alone(hostile: Path) -> None:
    names = {p.relative_to(hostile).as_posix() for p in hostile.rglob("*") if p.is_file()}
    wanted = r"index\.html|report\.json|data/(overview|task-\d+(-grams|-chunk-\d+)?)\.js"
    assert all(re.fullmatch(wanted, name) for name in names), names


def test_the_page_holds_no_text_of_a_run(hostile: Path) -> None:
    page = (hostile / "index.html").read_text("utf-8")
    assert "owned" not in page and "org" not in page.partition("<script>")[0]
    assert page.lower().count("</script") == page.count("<script>") == 1
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy is not None and "default-src 'none'" in policy.group(1)
    assert "unsafe" not in policy.group(1) and "http" not in policy.group(1)


def test_spans_count_as_javascript_counts(hostile: Path) -> None:
    (one,) = (s for s in samples(hostile) if "astral" in s["id"])
    response = one["runs"][0]["responses"][0]
    units = response["text"].encode("utf-16-le")
    start, end = response["judgments"][0]["span"]
    assert units[2 * start : 2 * end].decode("utf-16-le") == "A"


def test_the_long_line_has_a_chunk_of_its_own(hostile: Path) -> None:
    index = data(hostile, "task-0")
    assert index["chunks"] == [0, len(HOSTILE)]
    assert len(index["titles"][-1]) == 90 and len(index["golds"][-1]) == 1


@pytest.mark.parametrize("text", ["A caféteria", "boxed{A}", "\U0001f600 Smile now", "x\0y zeta"])
def test_a_search_never_misses_a_chunk(text: str) -> None:
    bits = base64.b64decode(gram_bits(["other", text]))
    assert len(bits) == BITS // 8
    low = text.lower()
    for place in range(len(low) - 2):
        three = low[place : place + 3]
        if three.isascii():
            a, b, c = three.encode()
            at = (a * 961 + b * 31 + c) & (BITS - 1)
            assert bits[at >> 3] >> (at & 7) & 1
    absent = base64.b64decode(gram_bits(["other"]))
    assert absent != bits


def test_a_long_text_is_in_the_index_of_its_pieces() -> None:
    end = "the very end"
    whole = base64.b64decode(gram_bits(["y" * (1 << 20) + end]))
    for three in (end[i : i + 3] for i in range(len(end) - 2)):
        a, b, c = three.encode()
        at = (a * 961 + b * 31 + c) & (BITS - 1)
        assert whole[at >> 3] >> (at & 7) & 1


def test_a_bundle_without_gold_answers_works_and_says_so(tmp_path: Path) -> None:
    run = made_run(tmp_path)
    assert here("publish", tmp_path / "runs", "--to", tmp_path / "bundle").returncode == 0
    here("download", tmp_path / "bundle", "--to", tmp_path / "copy")
    done = here("view", tmp_path / "copy", "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "published without answer" in done.stderr
    overview = data(tmp_path / "out", "overview")
    task = overview["tasks"][0]
    assert not task["has_golds"] and task["has_questions"] and task["samples"] == 12
    assert {one["answer"] for one in samples(tmp_path / "out")} == {None}
    assert any("--data_root DIR" in step["command"] for step in overview["next"])
    # With the data it was made on, the gold answers are there again.
    judged = here("judge", tmp_path / "copy", "--data_root", mirror(tmp_path))
    assert judged.returncode == 0, judged.stderr
    here("view", tmp_path / "copy", "-o", tmp_path / "out")
    assert [one["answer"] for one in samples(tmp_path / "out")][:3] == ["0", "1", "2"]
    assert run.path.exists()
