"""Runs as parquet: `datasets` reads what was stored, images included."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from bundles import made_run
from cli import error_line, here
from picture_runs import answer, both, plugins, run_and_score
from pyarrow import parquet as pq
from reports import HOSTILE, written_run
from scored import spec_of, tasks_folder

from vsr1_bench.export import parquet
from vsr1_bench.scoring.runs import judge_and_score
from vsr1_bench.store.run_folder import RunFolder, find_runs


def export(root: Path, *flags: object, runs: str = "runs", code: int = 0) -> Path:
    done = here("export", root / runs, "--format", "parquet", "-o", root / "out", *flags)
    assert done.returncode == code, done.stderr
    assert all(Path(line).is_file() for line in done.stdout.splitlines())
    return root / "out"


def rows(out: Path, kind: str = "samples") -> list[dict[str, Any]]:
    """The rows as `datasets` gives them to a user."""
    from datasets import load_dataset

    files = sorted(str(path) for path in (out / kind).glob("*.parquet"))
    return list(load_dataset("parquet", data_files=files, split="train", cache_dir=str(out / "c")))


@pytest.fixture
def seen(tmp_path: Path) -> Path:
    """Six questions about pictures with a second pass; four answers and four readings right."""
    lines = [x for n in range(6) for x in both(n, sufficient=n < 4, right=n > 1)]
    run_and_score(tmp_path, lines, 6)
    return tmp_path


def test_datasets_reads_responses_verdicts_and_images(seen: Path) -> None:
    found = rows(export(seen, "--include_path", plugins(seen)))
    assert [row["id"] for row in found] == [f"p{n}" for n in range(6)]
    assert [image.size for row in found for image in row["images"]] == [(40, 30)] * 6
    assert [row["verdict"] for row in found] == ["incorrect"] * 2 + ["correct"] * 4
    assert [row["reading_verdict"] for row in found] == ["correct"] * 4 + ["incorrect"] * 2
    first = found[0]
    assert first["question"] == "In <image 1> count 0." and first["answer"] == "0"
    assert first["description"] == "a scene 0" and first["reader"] == "self"
    assert json.loads(first["groups"]) == {"kind": "even", "figure": "f0"}
    assert first["judgments"][0]["judge"] == first["judge"] == "string_match"
    (run,) = find_runs(seen / "runs")
    (score,) = run.scores()
    told = {row["metric"]: row for row in rows(seen / "out", "scores")}
    assert told["accuracy"]["value"] == score["metrics"]["accuracy"]["value"] == 4 / 6
    assert (told["lsr"]["low"], told["lsr"]["total"]) == (score["metrics"]["lsr"]["low"], 6)
    assert told["accuracy"]["unit"] == "share"
    assert first["spec_hash"] == told["accuracy"]["spec_hash"] == run.spec().digest()


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    """A failed call, an unreadable answer, a response that was never made, an unscored one."""
    lines = [answer(n, right=True) for n in range(4)]
    lines[1] = {"id": "p1", "error": "engine down"}
    lines[2]["response"] = "no idea"
    run_and_score(tmp_path, lines, 4, perception=None)
    (run,) = find_runs(tmp_path / "runs")
    generations = run.path / "generations.jsonl"
    kept = [line for line in generations.read_text().splitlines(True) if '"p3"' not in line]
    generations.write_text("".join(kept))
    found = rows(export(tmp_path, "--include_path", plugins(tmp_path)))
    assert [row["verdict"] for row in found] == ["correct", "failed", "incorrect", "missing"]
    assert [row["unparsed"] for row in found] == [False, None, True, None]
    assert "engine down" in found[1]["error"] and found[3]["response"] is None
    shutil.rmtree(run.path / "judgments")
    shutil.rmtree(run.path / "scores")
    shutil.rmtree(tmp_path / "out")
    export(tmp_path, "--include_path", plugins(tmp_path))
    assert not (tmp_path / "out/scores").exists()
    assert [row["verdict"] for row in rows(tmp_path / "out")][:2] == ["unjudged", "failed"]


def test_hostile_texts_and_names_stay_data(tmp_path: Path) -> None:
    tasks = str(tasks_folder(tmp_path))
    spec = spec_of("../<script>org</script>\0", "alpha")
    texts = {f"../../{name}": text for name, text in HOSTILE.items()}
    written_run(tmp_path / "runs", spec, texts, tasks)
    out = export(tmp_path, "--include_path", tasks)
    (file,) = (out / "samples").iterdir()
    assert file.name == f"---script-org---script----alpha-{spec.digest()[:8]}.parquet"
    found = {row["id"].removeprefix("../../"): row["response"] for row in rows(out)}
    assert found.pop("surrogates") == "half \ufffd a pair \ufffd"
    assert found == {name: text for name, text in HOSTILE.items() if name != "surrogates"}


def test_rows_are_written_in_groups(seen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value, groups in (("GROUP_ROWS", 4, 2), ("GROUP_BYTES", 1, 6)):
        monkeypatch.setattr(parquet, name, value)
        (file,) = (export(seen, "--include_path", plugins(seen)) / "samples").iterdir()
        assert pq.ParquetFile(file).num_row_groups == groups


def test_runs_of_one_name_get_files_of_their_own(tmp_path: Path) -> None:
    run = made_run(tmp_path)
    shutil.copytree(run.path, tmp_path / "runs/again/copy")
    names = sorted(path.name for path in (export(tmp_path) / "samples").iterdir())
    stem = f"org--model--{run.path.name}"
    assert names == [f"{stem}-2.parquet", f"{stem}.parquet"]


def test_another_judge_may_come_first(tmp_path: Path) -> None:
    run = made_run(tmp_path)
    done = here("export", run.path, "--format", "parquet", "--judge", "math")
    assert "not judged by 'math'" in error_line(done.returncode, 2, done.stderr)
    judge_and_score(run, "math", progress=False)
    for flags, first in (([], "string_match"), (["--judge", "math"], "math")):
        found = rows(export(tmp_path, *flags))
        assert {row["judge"] for row in found} == {first} and len(found[0]["judgments"]) == 2
        shutil.rmtree(tmp_path / "out")


def test_a_damaged_run_does_not_stop_the_others(tmp_path: Path) -> None:
    run = made_run(tmp_path)
    bad = tmp_path / "runs/bad"
    shutil.copytree(run.path, bad)
    (bad / "generations.jsonl").write_text("{\n{}\n")
    assert len(list((export(tmp_path, code=75) / "samples").iterdir())) == 1


def test_a_published_run_is_exported_without_its_gold_answers(tmp_path: Path) -> None:
    made_run(tmp_path)
    assert here("publish", tmp_path / "runs", "--to", tmp_path / "bundle").returncode == 0
    here("download", tmp_path / "bundle", "--to", tmp_path / "copy")
    found = rows(export(tmp_path, runs="copy"))
    assert {row["answer"] for row in found} == {None}
    assert found[0]["question"] == "0 + 0?" and found[0]["verdict"] == "correct"


@pytest.mark.parametrize("published", [False, True])
def test_a_copy_is_exported_with_the_published_images_only(seen: Path, published: bool) -> None:
    """Although the data with the images are here."""
    flags = ["--include_path", plugins(seen)]
    wanted = ["--with_images"] if published else []
    done = here("publish", seen / "runs", "--to", seen / "bundle", *wanted, *flags)
    assert done.returncode == 0, done.stderr
    here("download", seen / "bundle", "--to", seen / "copy")
    found = rows(export(seen, *flags, runs="copy"))
    assert [row["images"][0] is not None for row in found] == [published] * 6


def test_images_that_are_not_here_are_named(tmp_path: Path, seen: Path) -> None:
    (run,) = find_runs(seen / "runs")
    meta = json.loads((run.path / "run.json").read_text())
    spec = run.spec()
    moved = spec.model_copy(update={"data": spec.data.model_copy(update={"fingerprint": "x"})})
    meta |= {"spec": moved.model_dump(mode="json"), "spec_hash": moved.digest()}
    (run.path / "run.json").write_text(json.dumps(meta))
    done = here(
        *("export", run.path, "--format", "parquet", "-o", seen / "out"),
        *("--include_path", plugins(seen)),
    )
    assert done.returncode == 0 and "no images, because its data are not here" in done.stderr
    assert {row["images"][0] for row in rows(seen / "out")} == {None}
    assert RunFolder(run.path).spec() == moved
