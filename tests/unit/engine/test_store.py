"""The run store: keys, folders, records, shards."""

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

from vsr1_bench import journal
from vsr1_bench.errors import StoreError
from vsr1_bench.record_lines import (
    generation_of_record,
    judgment_of_record,
    record_of_sample,
    sample_of_record,
)
from vsr1_bench.records import (
    EncodedImage,
    Generation,
    ImagePlace,
    Judgment,
    Message,
    Sample,
    Usage,
    Verdict,
)
from vsr1_bench.run_writer import RunWriter
from vsr1_bench.spec import (
    DataSpec,
    ModelSpec,
    PromptSpec,
    RunSpec,
    SamplingSpec,
    TaskSpec,
    request_key,
)
from vsr1_bench.store import RunFolder, find_runs, safe_name

SPEC = RunSpec(
    model=ModelSpec(id="org/model", fingerprint="f"),
    sampling=SamplingSpec(
        temperature=0.0,
        top_p=1.0,
        top_k=-1,
        min_p=0.0,
        repetition_penalty=1.0,
        max_tokens=10,
        stop=(),
        seed=0,
        n=1,
        min_pixels=1,
        max_pixels=2,
    ),
    prompt=PromptSpec(format="cot", hash="h", chat_template_hash=None, system=None),
    task=TaskSpec(name="sums", version=1),
    data=DataSpec(id="d", config=None, split="test", revision=None, fingerprint="r"),
)


def folder(root: Path, spec: RunSpec = SPEC) -> RunFolder:
    run = RunFolder.of(root, spec)
    run.write_meta(spec, 3, {"command": "vsr1-bench"})
    return run


def sample(number: int) -> Sample:
    return Sample(f"s{number}", ("why?",), "A", "choice", choices=("x", "y"))


def made(key: str, text: str = "", error: str | None = None) -> Generation:
    return Generation(key, f"s-{key}", 0, text, "error" if error else "stop", error=error)


def write(run: RunFolder, *generations: Generation, shard: tuple[int, int] = (0, 1)) -> None:
    writer = RunWriter(run, shard=shard)
    for generation in generations:
        writer.add(generation)
    writer.close()


# --- another question is another key ---

RED, BLUE = EncodedImage(data=b"red"), EncodedImage(data=b"blue")
ASKED = (Message("user", (ImagePlace(0), "or", ImagePlace(1), "?")),)


def key(
    spec: str = "spec",
    sample_id: str = "s",
    messages: tuple[Message, ...] = ASKED,
    images: tuple[EncodedImage, ...] = (RED, BLUE),
    index: int = 0,
) -> str:
    return request_key(spec, sample_id, messages, images, index)


def test_the_same_request_has_the_same_key() -> None:
    assert key() == key(images=(EncodedImage(data=b"red"), EncodedImage(data=b"blue")))


def test_the_key_is_that_of_earlier_versions() -> None:
    """Another key would have every stored response generated, and paid for, again."""
    assert key() == "9d4c8ad8cc0d99b55842ff020a45c93b"


@pytest.mark.parametrize(
    "other",
    [
        {"images": (RED, EncodedImage(data=b"green"))},
        {"images": (BLUE, RED)},
        {"messages": (Message("user", (ImagePlace(1), "or", ImagePlace(0), "?")),)},
        {"messages": (Message("user", ("or", ImagePlace(0), ImagePlace(1), "?")),)},
        {"messages": (Message("user", (ImagePlace(0), "or", ImagePlace(1), "!")),)},
        {"messages": (Message("system", ("be brief",)), *ASKED)},
        {"messages": (Message("system", ASKED[0].content),)},
        {"sample_id": "t"},
        {"index": 1},
        {"spec": "another"},
    ],
)
def test_another_request_has_another_key(other: dict[str, Any]) -> None:
    assert key(**other) != key()


def test_an_image_is_known_by_its_bytes_not_by_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"red")
    on_disk = EncodedImage(path=tmp_path / "a.png")
    assert key(images=(on_disk, BLUE)) == key()
    (tmp_path / "a.png").write_bytes(b"green")
    assert key(images=(on_disk, BLUE)) != key()


# --- another spec is another folder ---


def changed(path: str, value: object) -> RunSpec:
    document = SPEC.model_dump()
    part, _, name = path.rpartition(".")
    (document[part] if part else document)[name] = value
    return RunSpec.model_validate(document)


OTHERS = {
    "model.id": "org/other",
    "model.revision": "v2",
    "model.fingerprint": "g",
    "model.verified": False,
    "sampling.temperature": 0.5,
    "sampling.top_p": 0.9,
    "sampling.top_k": 5,
    "sampling.min_p": 0.1,
    "sampling.repetition_penalty": 1.1,
    "sampling.max_tokens": 11,
    "sampling.stop": ("x",),
    "sampling.seed": 1,
    "sampling.n": 2,
    "sampling.min_pixels": 2,
    "sampling.max_pixels": 3,
    "prompt.format": "direct",
    "prompt.hash": "i",
    "prompt.chat_template_hash": "c",
    "prompt.system": "be brief",
    "task.name": "sums2",
    "task.version": 2,
    "data.id": "e",
    "data.config": "main",
    "data.split": "train",
    "data.revision": "v2",
    "data.fingerprint": "q",
    "variant": "drop",
    "imported_per_sample": 2,
    "schema_version": 2,
}


def leaves(document: dict[str, Any], prefix: str = "") -> set[str]:
    found: set[str] = set()
    for name, value in document.items():
        path = f"{prefix}{name}"
        found |= leaves(value, f"{path}.") if isinstance(value, dict) else {path}
    return found


def test_every_field_of_the_spec_is_tried_below() -> None:
    assert leaves(SPEC.model_dump()) == set(OTHERS)


@pytest.mark.parametrize("path", sorted(OTHERS))
def test_another_spec_is_another_folder(tmp_path: Path, path: str) -> None:
    other = changed(path, OTHERS[path])
    assert RunFolder.of(tmp_path, other).path != RunFolder.of(tmp_path, SPEC).path


def test_a_folder_of_another_spec_is_not_written(tmp_path: Path) -> None:
    """Eight digits of a hash may collide, and folders get renamed."""
    run = folder(tmp_path)
    before = run.meta()
    with pytest.raises(StoreError, match="holds another run"):
        run.write_meta(changed("sampling.seed", 1), 3, {})
    assert run.meta() == before


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("Qwen/Qwen2.5-VL-7B", "Qwen--Qwen2.5-VL-7B"),
        ("../../etc", "--..--etc"),
        ("..", "model"),
        ("/abs/path/", "abs--path"),
        ("a b\0c\u2028d", "a-b-c-d"),
        ("x" * 300, "x" * 120),
    ],
)
def test_names_stay_inside_their_folder(tmp_path: Path, name: str, safe: str) -> None:
    assert safe_name(name) == safe
    spec = changed("model.id", name)
    spec = spec.model_copy(update={"task": TaskSpec(name=name, version=1)})
    place = Path(os.path.normpath(RunFolder.of(tmp_path, spec).path))
    assert place.parent.parent == tmp_path
    folder(tmp_path, spec)


# --- run.json ---


def test_run_json_gives_the_spec_back(tmp_path: Path) -> None:
    run = folder(tmp_path)
    created = run.meta()["created"]
    run.write_meta(SPEC, 3, {"command": "vsr1-bench again"})
    assert run.spec() == SPEC
    assert run.meta()["spec_hash"] == SPEC.digest()
    assert run.meta()["command"] == "vsr1-bench again"
    assert run.meta()["created"] == created


@pytest.mark.parametrize("text", ["", "{", "[]", '{"spec_hash": "x"}', "\xff"])
def test_a_damaged_run_json_is_named(tmp_path: Path, text: str) -> None:
    run = folder(tmp_path)
    (run.path / "run.json").write_text(text, "latin-1")
    with pytest.raises(StoreError, match=r"run\.json: not a run's run\.json"):
        run.spec()


def test_a_spec_of_another_version_is_named_by_its_field(tmp_path: Path) -> None:
    run = folder(tmp_path)
    meta = run.meta()
    meta["spec"]["sampling"]["top_q"] = 1
    (run.path / "run.json").write_text(json.dumps(meta))
    with pytest.raises(StoreError, match=r"spec\.sampling\.top_q"):
        run.spec()


def test_find_runs(tmp_path: Path) -> None:
    runs = [folder(tmp_path, changed("sampling.seed", seed)) for seed in range(3)]
    assert [run.path for run in find_runs(tmp_path)] == sorted(run.path for run in runs)
    assert [run.path for run in find_runs(runs[1].path)] == [runs[1].path]
    for nothing in (tmp_path / "none", runs[0].path / "run.json"):
        with pytest.raises(StoreError, match="no run there"):
            find_runs(nothing)


# --- records ---

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
    assert generation_of_record(through_json(asdict(generation))) == generation


@given(JUDGMENTS)
def test_a_judgment_comes_back(judgment: Judgment) -> None:
    assert judgment_of_record(through_json(asdict(judgment))) == judgment


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
