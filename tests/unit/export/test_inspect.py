"""Runs as inspect logs: inspect reads them back, and computes the accuracy that we state."""

from __future__ import annotations

import builtins
import json
import math
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from bundles import made_run
from cli import error_line, here
from picture_runs import answer, both, plugins, run_and_score
from reports import HOSTILE, written_run
from scored import spec_of, tasks_folder

from vsr1_bench._util.installing import install_command
from vsr1_bench.scoring.runs import judge_and_score
from vsr1_bench.store.run_folder import RunFolder, find_runs

pytest.importorskip("inspect_ai", reason="the extra `inspect` is not installed")


def export(root: Path, *flags: object, runs: str = "runs") -> Path:
    """The log of the only run."""
    done = here("export", root / runs, "--format", "inspect", "-o", root / "out", *flags)
    assert done.returncode == 0, done.stderr
    (path,) = map(Path, done.stdout.splitlines())
    return path


def read(path: Path) -> Any:
    from inspect_ai.log import read_eval_log

    return read_eval_log(str(path), resolve_attachments=True)


def recomputed(log: Any) -> dict[str, Any]:
    """Scorer -> its metrics, as inspect computes them from the samples."""
    from inspect_ai.log import recompute_metrics

    recompute_metrics(log)
    return {score.name: score.metrics for score in log.results.scores}


def only(root: Path) -> RunFolder:
    (run,) = find_runs(root / "runs")
    return run


def test_inspect_computes_the_accuracy_that_we_state(tmp_path: Path) -> None:
    lines = [x for n in range(8) for x in both(n, sufficient=n < 4, right=n > 2)]
    run_and_score(tmp_path, lines, 8, tasks="figures")
    judge_and_score(only(tmp_path), "mathruler", (str(plugins(tmp_path)),), progress=False)
    log = read(export(tmp_path, "--include_path", plugins(tmp_path)))
    assert log.status == "success" and len(log.samples) == log.results.total_samples == 8
    ours = {document["judge"]: document["metrics"] for document in only(tmp_path).scores()}
    stated = {score.name: score.metrics for score in log.results.scores}
    computed = recomputed(log)
    assert stated.keys() == computed.keys() == ours.keys() == {"string_match", "mathruler"}
    for judge, metrics in ours.items():
        wanted = metrics["accuracy"]
        assert stated[judge]["accuracy"].value == computed[judge]["accuracy"].value
        assert computed[judge]["accuracy"].value == pytest.approx(wanted["value"], abs=1e-12)
        told = stated[judge]["accuracy"].metadata
        assert (told["low"], told["high"], told["n"]) == (wanted["low"], wanted["high"], 8)
        assert stated[judge]["lsr"].value == metrics["lsr"]["value"]
        assert 0 < computed[judge]["stderr"].value < 1  # over the clusters of the task


def test_a_sample_has_its_messages_image_passes_and_tokens(tmp_path: Path) -> None:
    run_and_score(tmp_path, both(0, sufficient=True, right=False), 1)
    run = only(tmp_path)
    log = read(export(tmp_path, "--include_path", plugins(tmp_path)))
    (sample,) = log.samples
    *asked, said = sample.messages
    parts = asked[-1].content
    assert [part.type for part in parts] == ["text", "image", "text"]
    assert parts[1].image.startswith("data:image/png;base64,iVBOR")
    assert parts[2].text.startswith(" count 0.") and "<description>" in parts[2].text
    assert said.text == answer(0, right=False)["response"] and sample.target == "0"
    score = sample.scores["string_match"]
    assert (score.value, score.answer) == ("I", "900")
    (reading,) = sample.metadata["second_pass"]
    assert reading["description"] == "a scene 0" and reading["reader"] == "self"
    assert reading["verdicts"]["string_match"]["outcome"] == "correct"
    assert sample.metadata["groups"] == {"kind": "even", "figure": "f0"}
    assert log.eval.metadata["spec_hash"] == run.spec().digest()
    assert log.eval.model_generate_config.max_tokens == 4096
    assert sample.metadata["seed"] is not None
    assert log.stats.model_usage["m"].output_tokens == sample.model_usage["m"].output_tokens > 0


def test_what_has_no_verdict_has_no_value(tmp_path: Path) -> None:
    lines = [answer(n, right=True) for n in range(5)]
    lines[1] = {"id": "p1", "error": "engine down"}
    lines[2]["response"] = "no idea"
    run_and_score(tmp_path, lines, 5, perception=None)
    run = only(tmp_path)
    (journal,) = (run.path / "judgments").glob("*.jsonl")
    told = [json.loads(line) for line in journal.read_text().splitlines()]
    told[-1]["verdict"] |= {"outcome": "unscored", "reason": "no reply"}
    journal.write_text("".join(json.dumps(line) + "\n" for line in told))
    generations = run.path / "generations.jsonl"
    kept = [line for line in generations.read_text().splitlines(True) if '"p3"' not in line]
    generations.write_text("".join(kept))
    assert here("score", run.path, "--include_path", plugins(tmp_path)).returncode == 0
    log = read(export(tmp_path, "--include_path", plugins(tmp_path)))
    found = {sample.id: sample for sample in log.samples}
    assert log.status == "cancelled" and found.keys() == {"p0", "p1", "p2", "p4"}
    assert (log.results.total_samples, log.results.completed_samples) == (5, 3)
    assert "engine down" in found["p1"].error.message and found["p1"].scores is None
    assert found["p2"].scores["string_match"].metadata["unparsed"] is True
    unscored = found["p4"].scores["string_match"]
    assert math.isnan(unscored.value) and unscored.reason == "no reply"
    (score,) = run.scores()
    assert score["rates"]["scored"] == log.results.scores[0].scored_samples == 2
    assert recomputed(log)["string_match"]["accuracy"].value == 0.5
    assert score["metrics"]["accuracy"]["value"] == 0.5


def test_one_shard_is_not_the_whole_run(tmp_path: Path) -> None:
    lines = [answer(n, right=True) for n in range(6)]
    run_and_score(tmp_path, lines, 6, perception=None, shard=(0, 2))
    log = read(export(tmp_path, "--include_path", plugins(tmp_path)))
    assert log.status == "cancelled" and log.results.total_samples == 6
    assert len(log.samples) == log.results.scores[0].scored_samples == 3
    assert recomputed(log)["string_match"]["accuracy"].value == 1


def test_several_responses_are_epochs(tmp_path: Path) -> None:
    responses = tmp_path / "said.jsonl"
    said = [
        {"id": f"p{n}", "response": f"\\boxed{{{n if k < n else 99}}}"}
        for n in range(3)
        for k in range(2)
    ]
    responses.write_text("".join(json.dumps(line) + "\n" for line in said))
    done = here(
        *("import", "--task", "figures", "--responses", responses, "--model", "x"),
        *("--include_path", plugins(tmp_path), "-o", tmp_path / "runs"),
    )
    assert done.returncode == 0, done.stderr
    run = only(tmp_path)
    judge_and_score(run, None, (str(plugins(tmp_path)),), progress=False)
    log = read(export(tmp_path, "--include_path", plugins(tmp_path)))
    places = sorted((sample.id, sample.epoch) for sample in log.samples)
    assert places == [(f"p{n}", k) for n in range(3) for k in (1, 2)]
    (score,) = run.scores()
    accuracy = recomputed(log)["string_match"]["accuracy"].value
    assert accuracy == pytest.approx(score["metrics"]["accuracy"]["value"]) == 0.5
    assert log.eval.model_generate_config.temperature is None  # unknown: made elsewhere


def test_hostile_texts_and_names_stay_data(tmp_path: Path) -> None:
    tasks = str(tasks_folder(tmp_path))
    texts = {f"../../{name}": text for name, text in HOSTILE.items()}
    written_run(tmp_path / "runs", spec_of("../<script>org</script>", "alpha"), texts, tasks)
    path = export(tmp_path, "--include_path", tasks)
    assert path.parent == tmp_path / "out"
    assert not [name for name in zipfile.ZipFile(path).namelist() if ".." in Path(name).parts]
    said = {s.metadata["sample_id"]: s.messages[-1].text for s in read(path).samples}
    assert said.pop("../../surrogates") == "half \ufffd a pair \ufffd"
    assert said == {name: text for name, text in texts.items() if "surrogates" not in name}


def test_a_published_run_without_judgments_and_gold_answers(tmp_path: Path) -> None:
    run = made_run(tmp_path)
    for path in (*run.path.glob("judgments/*.jsonl"), *run.path.glob("scores/*.json")):
        path.unlink()
    assert here("publish", tmp_path / "runs", "--to", tmp_path / "bundle").returncode == 0
    here("download", tmp_path / "bundle", "--to", tmp_path / "copy")
    log = read(export(tmp_path, runs="copy"))
    assert log.results.scores == [] and {sample.target for sample in log.samples} == {""}
    assert log.eval.metadata["withheld"] == ["answer", "extra"]


def test_a_missing_extra_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = made_run(tmp_path)
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("inspect_ai"):
            raise ImportError(name)
        return real(name, *rest, **more)

    for name in [name for name in sys.modules if name.startswith("inspect_ai")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    done = here("export", run.path, "--format", "inspect", "-o", tmp_path / "out")
    assert install_command("inspect") in error_line(done.returncode, 2, done.stderr)
    assert not (tmp_path / "out").exists()
