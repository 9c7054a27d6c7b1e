"""The run store: records, which of them counts, and who may write them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stored import folder, made, sample, write

from vsr1_bench.errors import StoreError
from vsr1_bench.records import (
    EncodedImage,
    Generation,
    ImagePlace,
    Judgment,
    Sample,
    Usage,
    Verdict,
)
from vsr1_bench.store import journal
from vsr1_bench.store.lines import (
    record_as,
    record_of_sample,
    sample_of_record,
)
from vsr1_bench.store.writer import RunWriter

TEXT = st.text(st.characters(), max_size=40)
MAYBE = st.none() | TEXT
NUMBER = st.none() | st.floats(allow_nan=False, allow_infinity=False)
USAGE = st.builds(Usage, st.none() | st.integers(0), st.none() | st.integers(0))
INDEX = st.integers(0, 50)
GENERATIONS = st.builds(
    Generation, TEXT, TEXT, INDEX, TEXT, TEXT, USAGE, error=MAYBE, seconds=NUMBER, created=TEXT
)
OUTCOMES = st.sampled_from(["correct", "incorrect", "unscored"])
VERDICTS = st.builds(Verdict, OUTCOMES, MAYBE, st.booleans(), MAYBE, MAYBE, NUMBER)
JUDGMENTS = st.builds(
    Judgment, TEXT, TEXT, INDEX, VERDICTS, created=TEXT, raw=MAYBE, usage=USAGE, cost=NUMBER
)
PARTS = st.lists(TEXT | st.builds(ImagePlace, INDEX), max_size=4).map(tuple)
SAMPLES = st.builds(
    Sample,
    id=TEXT,
    question=PARTS,
    answer=TEXT,
    answer_type=st.sampled_from(["choice", "yes_no", "number", "math", "text"]),
    images=st.lists(st.builds(EncodedImage, st.binary(max_size=9)), max_size=2).map(tuple),
    choices=st.none() | st.lists(TEXT, max_size=10).map(tuple),
    groups=st.dictionaries(TEXT, TEXT, max_size=3),
    extra=st.dictionaries(TEXT, st.lists(st.integers() | TEXT), max_size=3),
)


def through_json(record: dict[str, Any]) -> dict[str, Any]:
    back = json.loads(json.dumps(record))
    assert isinstance(back, dict)
    return back


@given(GENERATIONS)
def test_a_generation_comes_back(generation: Generation) -> None:
    assert record_as(Generation, through_json(asdict(generation))) == generation


@given(JUDGMENTS)
def test_a_judgment_comes_back(judgment: Judgment) -> None:
    assert record_as(Judgment, through_json(asdict(judgment))) == judgment


@given(SAMPLES)
def test_a_sample_comes_back_without_its_images(sample: Sample) -> None:
    record = through_json(record_of_sample(sample, 3))
    assert sample_of_record(record) == replace(sample, images=())
    assert record["images"] == [image.sha256() for image in sample.images]


def test_records_come_back_through_the_journals(tmp_path: Path) -> None:
    run = folder(tmp_path)
    hard = made("k", "a\0b \ud800 \u2028 " + "x" * 1_000_000)
    writer = RunWriter(run)
    writer.add_sample(sample(0), 0)
    writer.add_sample(sample(0), 0)
    writer.add(hard)
    writer.close()
    assert run.generations() == {"k": hard}
    assert run.samples() == {"s0": sample(0)}
    assert (run.path / "samples.jsonl").read_bytes().count(b"\n") == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda r: r.pop("key"), "not a record"),
        (lambda r: r.update(usage=None), "not a record"),
        (lambda r: r.update(colour="red"), "not a record"),
        (lambda r: r.update(schema=2), "schema 2"),
        (lambda r: r.pop("schema"), "schema None"),
    ],
)
def test_a_record_of_another_kind_is_named(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    run = folder(tmp_path)
    write(run, made("a"), made("b"))
    path = run.path / "generations.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    change(records[1])
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    with pytest.raises(StoreError, match=f"generations.jsonl:2: .*{said}"):
        run.generations()


# --- which record counts ---


def test_the_last_record_of_a_key_counts(tmp_path: Path) -> None:
    run = folder(tmp_path)
    write(run, made("a", error="no luck"), made("b", error="first"))
    write(run, made("a", "text"), made("b", error="second"))
    found = run.generations()
    assert (found["a"].text, found["a"].error, found["b"].error) == ("text", None, "second")
    assert len((run.path / "generations.jsonl").read_text().splitlines()) == 4


def test_the_last_verdict_of_a_key_counts(tmp_path: Path) -> None:
    run = folder(tmp_path)
    path = run.judgment_path("math", "0123456789abcdef")
    assert path == run.path / "judgments" / "math-01234567.jsonl"
    with journal.Journal(path) as file:
        for verdict in (Verdict("unscored", reason="no reply"), Verdict("correct")):
            file.append(asdict(Judgment("a", "s", 0, verdict)))
    assert {k: j.verdict.outcome for k, j in run.judgments(path).items()} == {"a": "correct"}


@pytest.mark.parametrize("later", [(0, 1), (0, 2), (1, 2)])
@pytest.mark.parametrize("earlier", [(0, 1), (0, 2), (1, 2)])
def test_a_finished_response_is_not_lost_behind_a_failed_one(
    tmp_path: Path, earlier: tuple[int, int], later: tuple[int, int]
) -> None:
    """Whatever the names of the journals: one run as shards may be finished as a whole."""
    run = folder(tmp_path)
    write(run, made("a", error="no luck"), shard=earlier)
    write(run, made("a", "text"), shard=later)
    assert run.generations()["a"].text == "text"
    writer = RunWriter(run)
    assert writer.finished == {"a"}
    writer.close()


def test_shards_merge_by_key_in_data_order(tmp_path: Path) -> None:
    run = folder(tmp_path)
    for shard in (2, 0, 1):
        writer = RunWriter(run, shard=(shard, 3))
        for number in range(shard, 11, 3):
            writer.add_sample(sample(number), number)
            writer.add(made(f"k{number}", str(number)))
        assert writer.safe == len(range(shard, 11, 3))
        writer.close()
    assert list(run.samples()) == [f"s{number}" for number in range(11)]
    assert {k: g.text for k, g in run.generations().items()} == {f"k{n}": str(n) for n in range(11)}
    writer = RunWriter(run)
    assert len(writer.finished) == len(writer.known_samples) == writer.safe == 11
    writer.close()


def test_shards_write_at_the_same_time_but_each_alone(tmp_path: Path) -> None:
    run = folder(tmp_path)
    first, second = RunWriter(run, shard=(0, 2)), RunWriter(run, shard=(1, 2))
    with pytest.raises(StoreError, match="being written by process"):
        RunWriter(run, shard=(0, 2))
    first.add(made("a"))
    second.add(made("b"))
    first.close()
    second.close()
    assert set(run.generations()) == {"a", "b"}


def test_a_writer_counts_what_is_safe(tmp_path: Path) -> None:
    run = folder(tmp_path)
    write(run, made("a"), made("b", error="no luck"))
    writer = RunWriter(run)
    assert (writer.safe, writer.finished) == (1, {"a"})
    writer.add(made("b"))
    writer.add(made("c", error="no luck"))
    assert (writer.safe, writer.finished) == (2, {"a", "b"})
    writer.close()


# --- one writer, whole or not at all ---


def test_a_writer_that_cannot_open_lets_go_of_its_lock(tmp_path: Path) -> None:
    run = folder(tmp_path)
    path = run.path / "generations.jsonl"
    path.write_text("not json\n")
    with pytest.raises(StoreError, match=r"generations\.jsonl:1:"):
        RunWriter(run)
    path.unlink()
    RunWriter(run).close()


def test_a_writer_stops_when_its_folder_was_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = folder(tmp_path)
    writer = RunWriter(run)

    def lost(self: journal.Lock) -> None:
        raise StoreError("taken over")

    monkeypatch.setattr(journal.Lock, "check", lost)
    with pytest.raises(StoreError, match="taken over"):
        writer.add(made("a"))
    writer.close()
    assert run.generations() == {}


def test_scores_appear_only_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = folder(tmp_path)
    path = run.write_scores("cascade:math,gemini", {"n": 1})
    assert path.parent == run.path / "scores"

    def refuse(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(StoreError):
        run.write_scores("cascade:math,gemini", {"n": 2})
    assert json.loads(path.read_text()) == {"n": 1}
    assert os.listdir(path.parent) == [path.name]
