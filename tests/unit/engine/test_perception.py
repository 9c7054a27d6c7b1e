"""The second pass from script to score: every cell, every fault, every denominator."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli import records
from picture_runs import answer, both, options, plugins, reading, run_and_score, score
from statsmodels.stats.proportion import proportion_confint

from vsr1_bench.cli.main import main
from vsr1_bench.errors import Interrupted, UsageError
from vsr1_bench.leaderboard import render
from vsr1_bench.leaderboard.collect import collect
from vsr1_bench.leaderboard.wide import Wanted, build_grid
from vsr1_bench.perception.reader import ReaderOptions, description_hash
from vsr1_bench.pipeline.run import generate
from vsr1_bench.scoring.groups import score_groups
from vsr1_bench.scoring.runs import judge_and_score, score_run
from vsr1_bench.scoring.shortcuts import undescribed_note
from vsr1_bench.scoring.statistics import ratio_interval
from vsr1_bench.store.run_folder import RunFolder, find_runs

# Ten samples: (description sufficient, answer correct).
CELLS = [(1, 1)] * 4 + [(1, 0)] + [(0, 1)] * 3 + [(0, 0)] * 2
LINES = [line for n, (s, c) in enumerate(CELLS) for line in both(n, sufficient=bool(s), right=c)]


def value(document: dict[str, Any], name: str) -> float | None:
    found: float | None = document["metrics"][name]["value"]
    return found


def test_the_four_cells_give_exactly_the_stated_rates(tmp_path: Path) -> None:
    document = run_and_score(tmp_path, LINES, 10)["none"]
    part = document["perception"]
    assert part["table"] == {
        "sufficient": {"correct": 4, "incorrect": 1},
        "insufficient": {"correct": 3, "incorrect": 2},
    }
    assert (part["n"], part["undescribed"], part["uncounted"]) == (10, 0, 0)
    assert part["reader"]["label"] == "self" and part["reader"]["model"] == "m"
    wanted = {"accuracy": 7, "lsr": 3, "self_contained": 5, "saw_but_wrong": 1, "leakage": 0}
    for name, count in wanted.items():
        found = document["metrics"][name]
        low, high = proportion_confint(count, 10, method="wilson")
        assert found["value"] == count / 10 and found["n"] == 10
        assert (found["low"], found["high"]) == pytest.approx((low, high), abs=1e-9)


def test_categories_and_their_tables(tmp_path: Path) -> None:
    document = run_and_score(tmp_path, LINES, 10)["none"]
    odd = document["perception"]["by"]["kind"]["odd"]
    mine = [cell for n, cell in enumerate(CELLS) if n % 2]
    assert odd["n"] == len(mine) == 5
    assert odd["table"]["insufficient"]["correct"] == mine.count((0, 1))
    assert odd["metrics"]["lsr"]["value"] == mine.count((0, 1)) / 5
    text = render([document], "markdown", by="kind")
    assert "lsr [kind=odd]" in text and "self_contained [kind=even]" in text


def test_clusters_widen_the_intervals_as_the_library_says(tmp_path: Path) -> None:
    document = run_and_score(tmp_path, LINES, 10, tasks="figures")["none"]
    shortcut = np.array([float(cell == (0, 1)) for cell in CELLS])
    wanted = ratio_interval(shortcut.reshape(5, 2).sum(axis=1), np.full(5, 2.0))
    found = document["metrics"]["lsr"]
    assert wanted is not None
    assert (found["low"], found["high"]) == pytest.approx(wanted)


def test_a_missing_description_is_counted_and_never_a_shortcut(tmp_path: Path) -> None:
    lines = [*LINES, answer(10, right=True, description=None), answer(11, right=False)]
    lines += [reading(11, right=False), answer(12, right=True, description=None)]
    lines[-1]["response"] = "<description> four, so \\boxed{12}"  # unclosed: missing
    document = run_and_score(tmp_path, lines, 13)["none"]
    part = document["perception"]
    assert (part["n"], part["undescribed"], part["uncounted"]) == (13, 2, 0)
    assert value(document, "no_description") == 2 / 13
    assert value(document, "lsr") == 3 / 13
    assert value(document, "self_contained") == 5 / 11
    assert document["metrics"]["leakage"]["n"] == 11
    (run,) = find_runs(tmp_path / "runs")
    assert len(run.perceptions()) == 11


def test_what_has_no_verdict_is_left_out_and_counted(tmp_path: Path) -> None:
    lines = [*LINES, answer(10, right=True), {"id": "p10", "stage": "reading", "error": "no luck"}]
    lines += [{"id": "p11", "error": "no luck"}]
    chosen = options(tmp_path, lines, 12)
    (run,) = generate(chosen)
    assert run.failed == 2 and run.further[0].reasons == {"no luck": 1}
    document = score([run], tmp_path)["none"]
    part = document["perception"]
    assert (part["n"], part["uncounted"]) == (10, 2)
    assert value(document, "lsr") == 0.3
    assert document["metrics"]["no_description"]["n"] == 11

    # The same command tries what failed again, and nothing else.
    repaired = [line for line in lines if "error" not in line]
    repaired += [reading(10, right=False), *both(11, sufficient=True, right=True)]
    document = run_and_score(tmp_path, repaired, 12)["none"]
    assert len(records(run.folder.path / "generations.jsonl")) == 12 + 1
    assert len(records(run.folder.path / "perceptions.jsonl")) == 11 + 2
    assert document["perception"]["uncounted"] == 0
    assert value(document, "lsr") == 4 / 12


def test_a_finished_run_gets_its_second_pass_and_nothing_is_made_twice(tmp_path: Path) -> None:
    plain = run_and_score(tmp_path, LINES, 10, perception=None)["none"]
    assert "lsr" not in plain["metrics"] and "perception" not in plain
    (folder,) = find_runs(tmp_path / "runs")
    made = (folder.path / "generations.jsonl").read_bytes()
    document = run_and_score(tmp_path, LINES, 10)["none"]
    assert value(document, "lsr") == 0.3
    read = (folder.path / "perceptions.jsonl").read_bytes()
    # Nothing is missing now, so no engine is opened: a script that would die is not even read.
    assert run_and_score(tmp_path, [{"id": "*", "die": "asked"}], 10)["none"] == document
    assert (folder.path / "generations.jsonl").read_bytes() == made
    assert (folder.path / "perceptions.jsonl").read_bytes() == read


def test_a_reading_counts_for_its_own_description_only(tmp_path: Path) -> None:
    run_and_score(tmp_path, LINES, 10)
    (folder,) = find_runs(tmp_path / "runs")
    journal = folder.path / "generations.jsonl"
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    lines[0]["text"] = lines[0]["text"].replace("a scene", "another scene")
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    document = judge_and_score(folder, None, (str(plugins(tmp_path)),), progress=False)
    assert document["perception"]["uncounted"] == 1
    document = run_and_score(tmp_path, LINES, 10)["none"]
    assert document["perception"]["uncounted"] == 0
    assert len(records(folder.path / "perceptions.jsonl")) == 11


def test_the_reader_is_greedy_sees_no_image_and_is_told_the_description(tmp_path: Path) -> None:
    from vsr1_bench.generation.scripted import ScriptedArgs, ScriptedGenerator

    chosen = options(tmp_path, LINES, 10, gen_kwargs={"temperature": 0.7, "top_p": 0.9, "seed": 3})
    asked = []

    class Listening(ScriptedGenerator):
        def submit(self, request: Any) -> None:
            asked.append(request)
            super().submit(request)

    with Listening(ScriptedArgs(script=Path(chosen.model_args["script"]), capacity=4)) as engine:
        generate(chosen, engine)
    readings = [request for request in asked if request.stage == "reading"]
    assert len(readings) == 10
    for request in readings:
        (message,) = request.messages
        (text,) = message.content
        n = request.sample_id[1:]
        assert isinstance(text, str)
        assert text.startswith(f"Text description: a scene {n}\nQuestion: In  count {n}.\nYou are")
        assert request.images == () and "\\boxed{}" in text
        assert (request.sampling.temperature, request.sampling.top_p) == (0.0, 1.0)
    assert {r.sampling.temperature for r in asked if r.stage == "answer"} == {0.7}
    # The second pass does not wait for the first one's end.
    stages = [request.stage for request in asked]
    assert stages.index("reading") < 8 and stages[:4] == ["answer"] * 4


def test_several_responses_a_sample(tmp_path: Path) -> None:
    lines = [
        *(
            {**answer(0, right=right, description=f"d{i}"), "index": i}
            for i, right in enumerate((True, True, False))
        ),
        *({**reading(0, right=right), "index": i} for i, right in enumerate((False, True, True))),
        *both(1, sufficient=False, right=True),
    ]
    kwargs = {"temperature": 1.0, "n": 3}
    document = run_and_score(tmp_path, lines, 2, gen_kwargs=kwargs)["none"]
    assert document["perception"]["table"] == {
        "sufficient": {"correct": 1, "incorrect": 1},
        "insufficient": {"correct": 1 + 3, "incorrect": 0},
    }
    assert document["metrics"]["lsr"]["n"] == 6
    assert value(document, "lsr") == 4 / 6


def test_captions_are_asked_for_once_a_sample_and_shared(tmp_path: Path) -> None:
    lines = [
        {"id": "*", "response": "\\boxed{0}"},
        {"id": "p1", "response": "\\boxed{1}"},
        {"id": "*", "stage": "caption", "response": "<think>hm</think>A grey picture."},
        {"id": "p2", "stage": "caption", "error": "no luck"},
        {"id": "*", "stage": "reading", "response": "\\boxed{0}"},
    ]
    kwargs = {"temperature": 1.0, "n": 2}
    (run,) = generate(options(tmp_path, lines, 4, perception="caption", gen_kwargs=kwargs))
    assert [c.text for c in run.folder.captions().values() if not c.error] == [
        "<think>hm</think>A grey picture."
    ] * 3
    assert len(run.folder.perceptions()) == 3
    document = score([run], tmp_path)["none"]
    part = document["perception"]
    assert part["reader"]["descriptions"] == "caption"
    assert (part["n"], part["uncounted"]) == (6, 2)
    assert part["table"]["sufficient"]["correct"] == 2  # p0
    assert part["table"]["insufficient"]["correct"] == 2  # p1
    lines[3] = {"id": "p2", "stage": "caption", "response": "<description>grey</description>"}
    again = run_and_score(tmp_path, lines, 4, perception="caption", gen_kwargs=kwargs)["none"]
    assert again["perception"]["uncounted"] == 0
    assert len(records(run.folder.path / "captions.jsonl")) == 4 + 1
    assert len(records(run.folder.path / "perceptions.jsonl")) == 3 + 1


def test_captions_that_always_fail_do_not_end_a_resumed_run(tmp_path: Path) -> None:
    lines = [{"id": "*", "response": "\\boxed{0}"}]
    lines += [{"id": f"p{n}", "stage": "caption", "response": "grey"} for n in range(4)]
    lines += [{"id": "*", "stage": "caption", "error": "too large"}]
    lines += [{"id": "*", "stage": "reading", "response": "\\boxed{0}"}]
    for _ in range(2):
        document = run_and_score(tmp_path, lines, 40, perception="caption")["none"]
        assert (document["perception"]["n"], document["perception"]["uncounted"]) == (4, 36)


def test_readings_that_were_cut_are_counted(tmp_path: Path) -> None:
    lines = [{**line, "finish_reason": "length"} if line["id"] == "p7" else line for line in LINES]
    document = run_and_score(tmp_path, lines, 10)["none"]
    assert document["perception"]["cut_readings"] == 1
    assert "m, pictures: 1 of 10 readings by self were cut" in render([document], "markdown")
    document["perception"]["cut_readings"] = 0
    assert "were cut" not in render([document], "markdown")


def test_text_without_an_image_is_not_captioned(tmp_path: Path) -> None:
    lines = [
        {"id": "*", "response": "\\boxed{0}"},
        {"id": "*", "stage": "caption", "response": "grey"},
        {"id": "*", "stage": "reading", "response": "\\boxed{0}"},
    ]
    document = run_and_score(tmp_path, lines, 4, tasks="mixed", perception="caption")["none"]
    assert (document["perception"]["n"], document["perception"]["undescribed"]) == (4, 2)


def test_shards_make_one_second_pass(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    whole = run_and_score(tmp_path / "w", LINES, 10)["none"]
    for shard in ((0, 3), (1, 3), (2, 3)):
        runs = generate(options(tmp_path, LINES, 10, shard=shard))
    (folder,) = find_runs(tmp_path / "runs")
    assert sorted(p.name for p in folder.path.glob("perceptions*")) == [
        f"perceptions.{i}-of-3.jsonl" for i in range(3)
    ]
    document = score(runs, tmp_path)["none"]
    assert document["perception"]["table"] == whole["perception"]["table"]
    assert document["metrics"] == whole["metrics"]


def test_a_shard_answers_for_its_own_rows_only(tmp_path: Path) -> None:
    folder = plugins(tmp_path)
    text = (folder / "pictures.py").read_text()
    broken = "n = row['n']\n    if n == 3:\n        raise ValueError('broken')"
    (folder / "broken.py").write_text(text.replace('n = row["n"]', broken, 1))
    (folder / "pictures.py").unlink()
    chosen = options(tmp_path, LINES, 10)
    (folder / "pictures.py").unlink()
    failed = [generate(replace(chosen, shard=(i, 2)))[0].failed for i in range(2)]
    assert failed == [0, 1]


def test_a_second_pass_that_only_fails_stops_the_run(tmp_path: Path) -> None:
    lines = [answer(n, right=True) for n in range(40)]
    lines.append({"id": "*", "stage": "reading", "error": "the context is too short"})
    with pytest.raises(Interrupted, match=r"first 32 readings all failed.*responses and 0") as e:
        generate(options(tmp_path, lines, 40))
    assert e.value.exit_code == 75


def test_labels_say_nothing_about_a_second_pass(tmp_path: Path) -> None:
    from vsr1_bench.judge import JudgeOptions

    run_and_score(tmp_path, LINES, 10)
    (folder,) = find_runs(tmp_path / "runs")
    labels = tmp_path / "labels.jsonl"
    labels.write_text("".join(json.dumps({"row": n, "label": "correct"}) + "\n" for n in range(10)))
    paths, told = (str(plugins(tmp_path)),), JudgeOptions(labels=labels)
    document = judge_and_score(folder, "labels", paths, options=told, progress=False)
    assert document["metrics"]["accuracy"]["value"] == 1
    assert document["perception"]["uncounted"] == 10
    assert value(document, "lsr") is None
    # The other judge's score is still there.
    assert value(score_run(folder, "string_match", paths), "lsr") == 0.3


@pytest.mark.parametrize(
    ("reader", "said"),
    [
        (ReaderOptions(name="opnai"), "did you mean openai"),
        (
            ReaderOptions(name="openai"),
            "reader 'openai' needs --reader_model NAME, and --reader_base_url",
        ),
        (
            ReaderOptions(name="openai", model="m", base_url="nowhere"),
            "--reader_base_url 'nowhere'",
        ),
        (
            ReaderOptions(name="openai", model="m", base_url="http://h/v1", args={"speed": 1}),
            "--reader_args speed",
        ),
        (
            ReaderOptions(
                name="openai", model="m", base_url="http://h/v1", args={"temperature": 3}
            ),
            "--reader_args temperature=3",
        ),
        (ReaderOptions(name="gemini"), "reader 'gemini' needs a key"),
    ],
)
def test_a_reader_that_cannot_be_had_is_one_line_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: ReaderOptions, said: str
) -> None:
    for name in ("GEMINI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError) as error:
        generate(options(tmp_path, LINES, 10, reader=reader))
    assert said in str(error.value) and "\n" not in str(error.value)
    assert "judge" not in str(error.value)
    assert not (tmp_path / "runs").exists()


def test_a_benchmark_of_several_tasks_is_read_as_one_set(tmp_path: Path) -> None:
    paths = (str(plugins(tmp_path)),)
    runs = generate(options(tmp_path, LINES, 10, tasks="both"))
    for run in runs:
        judge_and_score(run.folder, None, paths, progress=False)
    (group,) = score_groups([run.folder for run in runs], paths)
    assert group["metrics"]["lsr"]["value"] == 0.3 and group["metrics"]["lsr"]["n"] == 20
    assert group["perception"]["table"]["insufficient"]["correct"] == 6
    assert group["perception"]["members"] == ["figures", "pictures"]
    # A reader that has not read all of it says nothing about the whole.
    shutil.rmtree(runs[0].folder.path / "readers")
    (group,) = score_groups([run.folder for run in runs], paths)
    assert "perception" not in group and "pooled" in group["metrics"]


def test_folders_without_a_second_pass_have_no_readers(tmp_path: Path) -> None:
    assert RunFolder(tmp_path).readers() == []


def test_a_column_of_two_readers_says_so(tmp_path: Path) -> None:
    from vsr1_bench.leaderboard.collect import collect
    from vsr1_bench.leaderboard.wide import Wanted, build_grid

    for name, reader in (("a", "self"), ("b", "self"), ("c", "gemini")):
        run_and_score(tmp_path, LINES, 10, model=name)
        (path,) = (tmp_path / "runs" / name).glob("*/scores/*.json")
        document = json.loads(path.read_text())
        document["perception"]["reader"]["label"] = reader
        path.write_text(json.dumps(document))
    scored = collect(find_runs(tmp_path / "runs"), (str(plugins(tmp_path)),))
    for wanted in (Wanted(("task", "lsr")), Wanted(("lsr",), by="kind")):
        grid = build_grid(scored, wanted)
        cells = {row.model: row.cells for row in grid.rows}
        assert "Descriptions read by: gemini; self." in grid.remarks
        for model, note in (("a", False), ("b", False), ("c", True)):
            notes = [str(c.notes) for c in cells[model].values() if c.reader]
            assert notes and all(("read by gemini" in one) is note for one in notes)
        accuracy = [c for c in cells["c"].values() if not c.reader]
        assert all("read by" not in str(c.notes) for c in accuracy)


def test_a_description_in_tags_of_a_user_is_a_draft(tmp_path: Path) -> None:
    drafted = "<cot><description>a draft</description></cot><description>a scene</description>"
    lines: list[dict[str, object]] = [
        {"id": "*", "response": f"{drafted}<think>t</think>\\boxed{{0}}"},
        {"id": "*", "stage": "reading", "response": "\\boxed{0}"},
    ]

    def read(tags: tuple[str, ...]) -> tuple[str, str]:
        told = options(tmp_path, lines, 1, reader=ReaderOptions(thinking_tags=tags))
        (run,) = generate(told)
        (front, *_) = run.folder.readers()
        (made,) = (p for p in run.folder.perceptions().values() if p.reader == front["digest"])
        return made.description_hash, front["digest"]

    plain, tagged = read(()), read(("cot",))
    assert plain == read(()) and plain[1] != tagged[1]
    assert plain[0] == description_hash("a draft") and tagged[0] == description_hash("a scene")


def undescribed(folder: Path, missing: int, of: int) -> dict[str, Any]:
    """A run of which so many responses have no description; every one is right."""
    lines = [answer(n, right=True, description=None) for n in range(missing)]
    for n in range(missing, of):
        lines += both(n, sufficient=n % 2 == 0, right=True)
    return run_and_score(folder, lines, of)["none"]


def test_a_model_that_describes_nothing_has_no_shortcut_rate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = undescribed(tmp_path, 6, 6)
    for name in ("lsr", "saw_but_wrong", "self_contained"):
        assert value(document, name) is None
    assert value(document, "no_description") == 1
    note = "6 of 6 responses have no description"
    assert document["notes"] == [f"{note}: lsr and saw_but_wrong"]
    text = render([document], "markdown")
    (line,) = (line for line in text.splitlines() if "| lsr " in line)
    assert "| – ¶ " in line and f"¶ m, {document['task']}: {note}" in text
    # A score that an older version has stored says 0; tables say – nevertheless.
    (run,) = find_runs(tmp_path / "runs")
    (stored,) = run.scores()
    for metrics in (stored["metrics"], stored["perception"]["metrics"]):
        metrics["lsr"] = {"value": 0.0, "low": 0.0, "high": 0.4, "n": 6}
    del stored["notes"]
    run.write_scores(stored["judge"], stored)
    words = ["table", str(tmp_path / "runs"), "--columns", "lsr", "--format"]
    for fmt in ("json", "markdown", "csv", "latex", "html"):
        assert main([*words, fmt, "--include_path", str(tmp_path / "plugins")]) == 0
        out = capsys.readouterr().out
        assert note in out, fmt
        if fmt == "json":
            ((cell,),) = (row["cells"].values() for row in json.loads(out)["rows"])
            assert cell["value"] is None and not cell["ranked"]
    plot = ["plot", str(tmp_path / "runs"), "--kind", "lsr", "--output", str(tmp_path / "l.svg")]
    assert main(plot) == 2
    assert "caption" in capsys.readouterr().err


def test_up_to_one_percent_without_description_is_no_reason() -> None:
    assert undescribed_note({"undescribed": 1, "n": 100}) is None
    assert undescribed_note({"undescribed": 0, "n": 0}) is None
    assert undescribed_note({"undescribed": 2, "n": 100}) == (
        "2 of 100 responses have no description"
    )


@pytest.mark.parametrize(("missing", "of", "noted"), [(0, 30, False), (1, 30, True)])
def test_above_one_percent_without_description_the_rate_is_not_ranked(
    tmp_path: Path, missing: int, of: int, noted: bool
) -> None:
    document = undescribed(tmp_path, missing, of)
    assert value(document, "lsr") is not None
    assert bool(document["notes"]) == noted
    grid = build_grid(collect(find_runs(tmp_path / "runs"), [str(tmp_path / "plugins")]),
                      Wanted(("task", "lsr", "self_contained")))  # fmt: skip
    (row,) = grid.rows
    notes = {column.metric: cell.notes for column, cell in row.cells.items()}
    note = f"{missing} of {of} responses have no description"
    assert (note in notes["lsr"]) == noted
    # The others have the whole run's note only: theirs are of those that have a description.
    assert notes["accuracy"] == notes["self_contained"] == (f"partial: the first {of} samples",)
