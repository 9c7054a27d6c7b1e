"""Indexes beside journals: they save time, and never say anything that the journal does not."""

from __future__ import annotations

import json
import logging
import os
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stored import SPEC, folder, made, sample

from vsr1_bench.errors import DamagedRunError, StoreError
from vsr1_bench.records import Generation, Judgment, Verdict
from vsr1_bench.scoring.join import join_responses
from vsr1_bench.scoring.metrics import Response
from vsr1_bench.store import journal_index
from vsr1_bench.store.journal import Journal, read_journal
from vsr1_bench.store.journal_index import (
    GENERATIONS,
    JUDGMENTS,
    OutputSummary,
    index_path,
    summaries,
)
from vsr1_bench.store.lines import record_of_sample
from vsr1_bench.store.run_folder import RunFolder
from vsr1_bench.store.writer import RunWriter


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write an index however small a journal is."""
    monkeypatch.setattr(journal_index, "WORTH_BYTES", 1)
    monkeypatch.setattr(journal_index, "BATCH", 3)


def written(path: Path, *records: Generation | Judgment) -> Path:
    with Journal(path) as journal:
        for record in records:
            journal.append(asdict(record))
    return path


def many(first: int, last: int) -> list[Generation]:
    return [
        made(f"k{n}", "x" * (n % 7), "no luck" if n % 3 == 0 else None) for n in range(first, last)
    ]


def said(path: Path) -> list[str]:
    return [one.key for one in summaries(path, GENERATIONS)]


def wanted(path: Path) -> list[str]:
    return [record["key"] for record in read_journal(path)]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the journal's lines that were read, not taken from an index."""
    found: list[int] = []
    read_lines = journal_index.read_lines

    def counting(*arguments: Any) -> Iterator[tuple[int, bytes]]:
        for number, line in read_lines(*arguments):
            found.append(number)
            yield number, line

    monkeypatch.setattr(journal_index, "read_lines", counting)
    return found


def test_the_second_reading_is_of_the_index_alone(tmp_path: Path, reads: list[int]) -> None:
    path = written(tmp_path / "j.jsonl", *many(0, 10))
    first = list(summaries(path, GENERATIONS))
    assert first[:2] == [
        OutputSummary("k0", "s-k0", 0, True, False),
        OutputSummary("k1", "s-k1", 0, False, False),
    ]
    assert len(reads) == 10 and index_path(path).exists()
    assert list(summaries(path, GENERATIONS)) == first and len(reads) == 10


def test_of_a_journal_that_has_grown_only_what_is_new_is_read(
    tmp_path: Path, reads: list[int]
) -> None:
    path = written(tmp_path / "j.jsonl", *many(0, 10))
    assert said(path) == wanted(path)
    written(path, *many(10, 14))
    reads.clear()
    for _ in range(2):
        assert said(path) == wanted(path)
    assert reads == [11, 12, 13, 14]


def test_small_journals_have_no_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_index, "WORTH_BYTES", 1_000_000)
    path = written(tmp_path / "j.jsonl", *many(0, 10))
    assert said(path) == wanted(path) and os.listdir(tmp_path) == ["j.jsonl"]


def drop_a_line(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:4] + lines[5:]))


def rename_a_key(path: Path) -> None:
    data = path.read_bytes().replace(b'"k4"', b'"K4"')
    with path.open("r+b") as file:  # the same file, of the same size
        file.write(data)


def shorten(path: Path) -> None:
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:3]))


def replace_and_grow(path: Path) -> None:
    path.unlink()
    written(path, *many(20, 40))


def drop_a_line_and_grow(path: Path) -> None:
    drop_a_line(path)
    written(path, *many(10, 30))


@pytest.mark.parametrize(
    "change", [drop_a_line, rename_a_key, shorten, replace_and_grow, drop_a_line_and_grow]
)
def test_a_journal_that_was_changed_is_read_anew(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    path = written(tmp_path / "j.jsonl", *many(0, 10))
    before = said(path)
    change(path)
    for _ in range(2):
        assert said(path) == wanted(path) != before


def flip(data: bytes) -> bytes:
    at = len(data) // 3
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize(
    "harm",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: data[:-1],
        lambda data: data[30:],
        lambda data: os.urandom(5000),
        flip,
        lambda data: data.replace(b'"version":1', b'"version":0'),
        lambda data: data.replace(b'"kind":"Generation"', b'"kind":"Judgment"'),
    ],
)
def test_a_damaged_or_old_index_is_made_anew_without_a_word(
    tmp_path: Path, harm: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    path = written(tmp_path / "j.jsonl", *many(0, 10))
    found = said(path)
    whole = index_path(path).read_bytes()
    index_path(path).write_bytes(harm(whole))
    with caplog.at_level(logging.INFO):
        assert said(path) == found
    assert caplog.text == "" and index_path(path).read_bytes() == whole


def test_without_a_place_for_an_index_reading_goes_on(tmp_path: Path) -> None:
    path = written(tmp_path / "j.jsonl", *many(0, 10))
    # Root may write anywhere: a folder stands where the index is to be written.
    index_path(path).with_name(f"{index_path(path).name}.{os.getpid()}.tmp").mkdir()
    assert said(path) == wanted(path)
    assert not index_path(path).exists()


def test_a_reader_that_stops_leaves_nothing_half_written(tmp_path: Path) -> None:
    path = written(tmp_path / "j.jsonl", *many(0, 10))
    reading = summaries(path, GENERATIONS)
    next(reading)
    reading.close()  # type: ignore[attr-defined]
    assert os.listdir(tmp_path) == ["j.jsonl"]


def test_a_torn_last_line_is_no_part_of_an_index(tmp_path: Path) -> None:
    path = written(tmp_path / "j.jsonl", *many(0, 10))
    with path.open("ab") as file:
        file.write(b'{"key": "torn')
    assert said(path) == wanted(path)
    written(path, *many(10, 12))  # cuts it off first
    assert said(path) == wanted(path) and len(wanted(path)) == 12


def test_a_bad_line_behind_an_index_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "j.jsonl", *many(0, 10))
    said(path)
    with path.open("ab") as file:
        file.write(b"not json\n")
    written(path, *many(10, 12))
    for _ in range(2):
        with pytest.raises(StoreError, match=r"j\.jsonl:11: not a record"):
            said(path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"usage": None}, "not a record"),
        ({"colour": "red"}, "unknown colour"),
        ({"schema": 2}, "schema 2"),
        ({"text": 7}, "not a record"),
    ],
)
def test_every_field_is_checked_though_few_are_kept(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    run = folder(tmp_path)
    lines = [json.dumps(asdict(made("a")) | more) + "\n" for more in ({}, change)]
    (run.path / "generations.jsonl").write_text("".join(lines))
    with pytest.raises(DamagedRunError, match=f"generations.jsonl:2: .*{reason}"):
        run.finished()


def test_half_a_surrogate_pair_passes_through_an_index(tmp_path: Path, reads: list[int]) -> None:
    judgments = [Judgment(f"k{n}", "s", 0, Verdict("correct", "\ud800 \udfff")) for n in range(7)]
    path = written(tmp_path / "j.jsonl", *judgments)
    first = list(summaries(path, JUDGMENTS))
    assert first[6].extracted == "\ud800 \udfff" and len(reads) == 7
    assert list(summaries(path, JUDGMENTS)) == first and len(reads) == 7


def test_texts_are_not_held(tmp_path: Path) -> None:
    run = folder(tmp_path)
    writer = RunWriter(run)
    for n in range(3):
        writer.add_sample(sample(n), n)
    for n in range(40):
        writer.add(replace(made(f"k{n}", "x" * 1_000_000), sample_id=f"s{n % 3}"))
    writer.close()
    tracemalloc.start()
    try:
        assert len(run.finished()) == 40
        assert len(join_responses(run, run.path / "none.jsonl")) == 3
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 8_000_000


# --- joined as the whole records would be ---

KEYS = [f"k{n}" for n in range(12)]
"""Some share their sample and index: the question was another one once."""
MADE = st.builds(
    lambda n, text, finish_reason, error: Generation(
        KEYS[n], f"s{n % 4}", n // 4 % 2, text, finish_reason, error=error
    ),
    st.integers(0, 11),
    st.sampled_from(["", "long " * 50]),
    st.sampled_from(["stop", "length"]),
    st.sampled_from([None, None, "no luck"]),
)
TOLD = st.builds(
    Judgment,
    key=st.sampled_from(KEYS),
    sample_id=st.just("s0"),
    index=st.just(0),
    verdict=st.builds(
        Verdict,
        st.sampled_from(["correct", "incorrect", "unscored"]),
        st.sampled_from([None, "A", "B"]),
        st.booleans(),
        score=st.sampled_from([None, None, 0.5]),
    ),
)


def whole_join(run: RunFolder, verdicts: Path) -> list[Response]:
    """What joining is to say, by the whole records."""
    judged = run.judgments(verdicts)
    found = {(g.sample_id, g.index): g for g in run.generations().values()}
    placed, left_out = run.placed_samples(), run.skipped()
    responses = []
    for row in range(run.wanted()):
        for index in range(2):
            one = placed.get(row)
            if row in left_out:
                continue
            if one is None:
                responses.append(Response(f"row {row}", {}, None, made=False))
                continue
            g, groups = found.get((one.id, index)), dict(one.groups)
            if g is None or g.error is not None:
                responses.append(Response(one.id, groups, None, failed=g is not None))
                continue
            v = judged[g.key].verdict if g.key in judged else Verdict("unscored")
            correct = None
            if v.outcome != "unscored":
                correct = float(v.outcome == "correct") if v.score is None else v.score
            responses.append(
                Response(one.id, groups, correct, v.extracted, g.truncated, v.unparsed)
            )
    return responses


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 1), MADE), max_size=25),
    st.lists(TOLD, max_size=15),
    st.sets(st.integers(0, 3)),
    st.sets(st.integers(4, 5)),
    st.integers(1, 7),
)
def test_responses_are_joined_as_whole_records_would_be(
    tmp_path_factory: pytest.TempPathFactory,
    made: list[tuple[int, Generation]],
    told: list[Judgment],
    known: set[int],
    left_out: set[int],
    size: int,
) -> None:
    sampling = SPEC.sampling.model_copy(update={"n": 2}) if SPEC.sampling else None
    run = folder(tmp_path_factory.mktemp("run"), SPEC.model_copy(update={"sampling": sampling}))
    meta = json.loads((run.path / "run.json").read_text())
    (run.path / "run.json").write_text(json.dumps(meta | {"samples": 6}))
    with Journal(run.path / "samples.jsonl") as journal:
        for n in range(4):
            one = replace(sample(n), groups={"figure": str(n % 2)} if n in known else {})
            journal.append(record_of_sample(one, n))
        for row in left_out:
            journal.append({"schema": 1, "row": row, "left_out": "no image"})
    verdicts = run.judgment_path("exact", "0" * 8)
    # In two steps: the second extends the indexes of the first.
    for part in (slice(0, size), slice(size, None)):
        for shard, generation in made[part]:
            written(run.path / f"generations.{shard}-of-2.jsonl", generation)
        written(verdicts, *told[part])
        assert join_responses(run, verdicts) == whole_join(run, verdicts)
        keys = {key for key, g in run.generations().items() if g.error is None}
        assert run.finished() == keys
