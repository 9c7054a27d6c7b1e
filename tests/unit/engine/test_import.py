"""Responses made elsewhere: by id, by row, and every line that is not usable."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest
from cli import error_line, here

from vsr1_bench.data.dataset import DataOptions
from vsr1_bench.errors import UsageError
from vsr1_bench.imports.responses import ImportOptions, import_responses
from vsr1_bench.judge import JudgeOptions
from vsr1_bench.scoring.runs import judge_and_score, score_run
from vsr1_bench.store.run_folder import RunFolder

ROWS = [{"question": f"{n} + 0?", "answer": f"so\n#### {n}"} for n in range(6)]


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    folder = tmp_path / "mirror/openai/gsm8k/main"
    folder.mkdir(parents=True)
    (folder / "test.jsonl").write_text("\n".join(map(json.dumps, ROWS)) + "\n")
    return tmp_path / "mirror"


def write(path: Path, lines: list[object]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def load(mirror: Path, responses: Path, **changes: object) -> RunFolder:
    options = ImportOptions(
        task="gsm8k",
        responses=responses,
        model="theirs",
        output_path=mirror.parent / "runs",
        data=DataOptions(mirror),
        progress=False,
        **changes,  # type: ignore[arg-type]
    )
    return import_responses(options)


def accuracy(run: RunFolder, judge: str | None = None, labels: Path | None = None) -> list[object]:
    document = judge_and_score(run, judge, options=JudgeOptions(labels=labels), progress=False)
    value = document["metrics"]["accuracy"]
    return [value["value"], value["n"], document["rates"]["scored"], document["rates"]["total"]]


def test_by_row_line_k_answers_row_k(mirror: Path, tmp_path: Path) -> None:
    lines = [{"response": f"\\boxed{{{n if n < 4 else 99}}}"} for n in range(6)]
    run = load(mirror, write(tmp_path / "r.jsonl", lines), by="row")
    assert accuracy(run) == [4 / 6, 6, 6, 6]
    spec = run.spec()
    assert spec.sampling is None and not spec.model.verified and spec.prompt.format == "imported"


def test_by_id_in_any_order_and_another_field(mirror: Path, tmp_path: Path) -> None:
    by_row = load(mirror, write(tmp_path / "r.jsonl", [{"response": "1"}] * 6), by="row")
    ids = list(by_row.samples())
    lines = [{"id": i, "text": f"Answer: {n}"} for n, i in reversed(list(enumerate(ids)))]
    run = load(mirror, write(tmp_path / "i.jsonl", lines), response_field="text")
    assert accuracy(run) == [1.0, 6, 6, 6]


def test_several_responses_of_one_id(mirror: Path, tmp_path: Path) -> None:
    ids = list(load(mirror, write(tmp_path / "r.jsonl", [{"response": "1"}]), by="row").samples())
    lines = [
        {"id": i, "response": f"\\boxed{{{k * n}}}"} for k in (1, 2) for n, i in enumerate(ids)
    ]
    run = load(mirror, write(tmp_path / "i.jsonl", lines))
    document = judge_and_score(run, None, progress=False)
    assert document["metrics"]["accuracy"]["value"] == pytest.approx(7 / 12)
    assert document["metrics"]["pass@2"]["value"] == 1.0


def test_what_is_missing_is_not_scored_and_not_wrong(mirror: Path, tmp_path: Path) -> None:
    run = load(mirror, write(tmp_path / "r.jsonl", [{"response": "\\boxed{0}"}]), by="row")
    assert accuracy(run) == [1.0, 1, 1, 6]


def test_importing_twice_changes_nothing(mirror: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "r.jsonl", [{"response": "\\boxed{0}"}] * 6)
    first = load(mirror, file, by="row")
    journal = (first.path / "generations.jsonl").read_bytes()
    assert load(mirror, file, by="row").path == first.path
    assert (first.path / "generations.jsonl").read_bytes() == journal


@pytest.mark.parametrize(
    ("lines", "by", "said"),
    [
        ([{"id": "nobody", "response": "x"}], "id", r"r\.jsonl:1: .* no sample 'nobody'.*--by row"),
        ([{"response": "x"}], "id", r"r\.jsonl:1: wanted .*id"),
        ([{"response": "x"}, {"answer": "y"}], "row", r"r\.jsonl:2: wanted .*response"),
        ([{"response": 5}], "row", "is no text"),
        ([{"response": "x"}] * 7, "row", "7 lines for 6 rows"),
        ([{"response": "x", "finish_reason": "bored"}], "row", "finish_reason"),
        ([], "row", r"r\.jsonl:1: wanted|no responses"),
    ],
)
def test_lines_that_are_not_usable(
    mirror: Path, tmp_path: Path, lines: list[object], by: str, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        load(mirror, write(tmp_path / "r.jsonl", lines), by=by)
    assert not (tmp_path / "runs").exists()


def test_labels_by_row_and_by_id(mirror: Path, tmp_path: Path) -> None:
    run = load(mirror, write(tmp_path / "r.jsonl", [{"response": "?"}] * 6), by="row")
    ids = list(run.samples())
    labels = [
        {"row": 0, "label": 1},
        {"row": 1, "label": "Correct"},
        {"id": ids[2], "label": 0},
        {"id": ids[3], "label": "unclear"},
        {"row": 4, "label": 0.5},
    ]
    # scored: 1, 1, 0 and the graded half; `unclear` and the row without a label stay out
    file = write(tmp_path / "l.jsonl", labels)
    assert accuracy(run, "labels", file) == [2.5 / 4, 4, 4, 6]
    # labels that came later are judged anew, the missing ones with them
    file = write(tmp_path / "l.jsonl", [*labels, {"row": 5, "label": 0}])
    assert accuracy(run, "labels", file) == [2.5 / 5, 5, 5, 6]


def test_labels_that_are_not_usable(mirror: Path, tmp_path: Path) -> None:
    run = load(mirror, write(tmp_path / "r.jsonl", [{"response": "?"}]), by="row")
    with pytest.raises(UsageError, match="needs --labels"):
        accuracy(run, "labels")
    twice = write(tmp_path / "l.jsonl", [{"row": 0, "label": 1}, {"row": 0, "label": 0}])
    with pytest.raises(UsageError, match=r"l\.jsonl:2: 0 has two labels"):
        accuracy(run, "labels", twice)


def test_labels_of_several_responses_need_their_index(mirror: Path, tmp_path: Path) -> None:
    one = write(tmp_path / "r.jsonl", [{"response": "1"}])
    ids = list(load(mirror, one, by="row").samples())
    run = load(
        mirror, write(tmp_path / "i.jsonl", [{"id": i, "response": "x"} for i in ids for _ in "ab"])
    )
    whole = [{"row": 0, "label": 1}]  # says nothing about which of the two it means
    assert accuracy(run, "labels", write(tmp_path / "a.jsonl", whole))[2:] == [0, 12]
    each = [{"row": 0, "index": 0, "label": 1}, {"row": 0, "index": 1, "label": 0}]
    file = write(tmp_path / "b.jsonl", each)
    assert accuracy(run, "labels", file) == [0.5, 2, 2, 12]
    (name,) = (name for name in run.judged() if name.startswith("labels[b~"))
    document = score_run(run, name)
    assert document["metrics"]["majority@2"]["value"] is None  # nobody read an answer to vote with


def test_labels_find_their_rows_in_a_shard(mirror: Path, tmp_path: Path) -> None:
    run = load(mirror, write(tmp_path / "r.jsonl", [{"response": "?"}] * 6), by="row")
    journal = run.path / "samples.jsonl"
    kept = [line for n, line in enumerate(journal.read_text().splitlines()) if n % 2]
    journal.rename(run.path / "samples.1-of-2.jsonl").write_text("\n".join(kept) + "\n")
    made = run.path / "generations.jsonl"
    odd = [line for n, line in enumerate(made.read_text().splitlines()) if n % 2]
    made.write_text("\n".join(odd) + "\n")
    labels = write(tmp_path / "l.jsonl", [{"row": 0, "label": 0}, {"row": 1, "label": 1}])
    # row 0 is the other shard's; what was asked for and is not there counts in the total
    assert accuracy(run, "labels", labels) == [1.0, 1, 1, 6]


def test_the_score_names_its_verdicts(mirror: Path, tmp_path: Path) -> None:
    run = load(mirror, write(tmp_path / "r.jsonl", [{"response": "?"}] * 6), by="row")
    good = write(tmp_path / "good.jsonl", [{"row": n, "label": 1} for n in range(6)])
    bad = write(tmp_path / "bad.jsonl", [{"row": n, "label": 0} for n in range(6)])
    for file in (good, bad, good):  # the last judging has nothing left to write
        accuracy(run, "labels", file)
    found = {d["judge"][:11]: d["metrics"]["accuracy"]["value"] for d in run.scores()}
    assert found == {"labels[good": 1.0, "labels[bad~": 0.0}


def test_files_of_labels_stand_side_by_side(mirror: Path, tmp_path: Path) -> None:
    """Also two of one name, and beside what was stored before names held the file."""
    run = load(mirror, write(tmp_path / "r.jsonl", [{"response": "?"}] * 6), by="row")
    files = []
    for annotator, share in (("ann", 6), ("bob", 3)):
        (tmp_path / annotator).mkdir()
        lines = [{"row": n, "label": int(n < share)} for n in range(6)]
        files.append(write(tmp_path / annotator / "labels.jsonl", lines))
        accuracy(run, "labels", files[-1])
    first, second = (f"labels[labels~{sha256(f.read_bytes()).hexdigest()[:8]}]" for f in files)
    done = here("table", run.path, "--layout", "long", "--format", "json")
    found = {d["judge"]: d["metrics"]["accuracy"]["value"] for d in json.loads(done.stdout)}
    assert found == {first: 1.0, second: 0.5}
    done = here("agreement", run.path, "--judges", f"{first},{second}", "--json")
    assert json.loads(done.stdout)[0]["table"] == [[3, 3], [0, 0]]
    said = error_line(2, 2, here("agreement", run.path, "--judges", "labels").stderr)
    assert first in said and second in said
    # Typed as it is printed; what stands in brackets must be the file's.
    told = ("--labels", files[0], "--data_root", mirror)
    assert here("judge", run.path, "--judge", first, *told).returncode == 0
    done = here("judge", run.path, "--judge", second, *told)
    assert f"makes it {first!r}" in error_line(done.returncode, 2, done.stderr)
    # An older score keeps its name.
    journal = run.judged()[second]
    journal.rename(run.judgment_path("labels", "0" * 8))
    (old,) = (path for path in (run.path / "scores").iterdir() if second[14:22] in path.name)
    document = json.loads(old.read_text()) | {
        "judge": "labels",
        "verdicts": "labels-00000000.jsonl",
    }
    (run.path / "scores" / "labels.json").write_text(json.dumps(document))
    old.unlink()
    accuracy(run, "labels", files[1])
    assert {d["judge"] for d in run.scores()} == {"labels", first, second}
    done = here("score", run.path, "--judge", "labels", "--json")
    assert [d["metrics"]["accuracy"]["value"] for d in json.loads(done.stdout)] == [0.5]


def test_a_verdict_on_another_text_does_not_count(mirror: Path, tmp_path: Path) -> None:
    run = load(mirror, write(tmp_path / "r.jsonl", [{"response": "\\boxed{9}"}] * 6), by="row")
    assert accuracy(run)[0] == 0
    journal = run.path / "generations.jsonl"
    journal.write_text(journal.read_text().replace("boxed{9}", "boxed{3}"))
    assert accuracy(run)[0] == pytest.approx(1 / 6)


def test_blank_lines_null_responses_and_null_finish_reasons(mirror: Path, tmp_path: Path) -> None:
    lines = [
        {"response": "\\boxed{0}", "finish_reason": None},
        {"response": None},
        {"response": "\\boxed{2}", "finish_reason": "length"},
    ]
    file = tmp_path / "r.jsonl"
    file.write_text("\ufeff\n" + "\n \n\n".join(map(json.dumps, lines)) + "\r\n\n", "utf-8")
    run = load(mirror, file, by="row")
    found = list(run.generations().values())
    assert [one.text for one in found] == ["\\boxed{0}", "", "\\boxed{2}"]
    assert [one.finish_reason for one in found] == ["stop", "stop", "length"]
    assert accuracy(run) == [2 / 3, 3, 3, 6]
    file.write_text('{"response": "x"}\n\n{"response": 5}\n')
    with pytest.raises(UsageError, match=r"r\.jsonl:3: .*is no text"):
        load(mirror, file, by="row")
