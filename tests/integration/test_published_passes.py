"""Runs with a second pass, blind twins and judging models, published and fetched again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bundles import Bundle, made_run
from cli import cli
from picture_runs import both, options, plugins, score
from servers import Asked, ChatServer, Reply, chat

from vsr1_bench.compare.delta import compare_judges
from vsr1_bench.data.dataset import DataOptions
from vsr1_bench.errors import ExchangeError
from vsr1_bench.judge import JudgeOptions
from vsr1_bench.pipeline.run import generate
from vsr1_bench.publish.gold_answers import restore_gold_answers
from vsr1_bench.publish.pack import PackOptions
from vsr1_bench.publish.publishing import publish
from vsr1_bench.publish.unpack import download
from vsr1_bench.scoring.runs import judge_and_score, score_run
from vsr1_bench.store.run_folder import RunFolder, find_runs

CELLS = [(1, 1)] * 4 + [(1, 0)] + [(0, 1)] * 3
"""(description sufficient, answer correct) of the samples."""


def passes(folder: Path, task: str = "mixed", **more: Any) -> Path:
    """Both passes and two blind runs of a task, half of it text alone; the folder of runs."""
    lines = [x for n, (s, c) in enumerate(CELLS) for x in both(n, sufficient=bool(s), right=c)]
    asked = options(folder, lines, len(CELLS), tasks=task, blind=("drop", "swap"), **more)
    score(generate(asked), folder)
    return folder / "runs"


def packing(folder: Path, **changes: Any) -> PackOptions:
    return replace(PackOptions(include_path=(str(plugins(folder)),), progress=False), **changes)


def there_and_back(folder: Path, runs: Path, **changes: Any) -> tuple[Bundle, list[RunFolder]]:
    target = folder / "bundle"
    publish(find_runs(runs), str(target), packing(folder, **changes))
    paths = (str(plugins(folder)),)
    return Bundle(target), download(str(target), folder / "elsewhere", paths, progress=False).new


def by_variant(runs: list[RunFolder]) -> dict[str, RunFolder]:
    return {run.spec().variant: run for run in runs}


def everything(bundle: Bundle) -> str:
    names = [file["path"] for file in bundle.manifest["files"]]
    return "\n".join([*names, *(bundle.text(name) for name in names)])


@pytest.mark.parametrize("allowed", [True, False])
def test_every_number_comes_back_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: bool
) -> None:
    monkeypatch.setattr("vsr1_bench.publish.pack.may_hand_on", lambda _: allowed)
    runs = passes(tmp_path, perception="caption") if not allowed else passes(tmp_path)
    paths = (str(plugins(tmp_path)),)
    before = {run.spec().variant: run.scores() for run in find_runs(runs)}
    assert {"lsr", "leakage", "gain[drop]"} <= before["none"][0]["metrics"].keys()
    _, copies = there_and_back(tmp_path, runs)
    shutil.rmtree(runs)
    for variant, copy in by_variant(copies).items():
        assert copy.scores() == before[variant]
        assert [score_run(copy, "string_match", paths)] == before[variant]
    for copy in copies:
        assert restore_gold_answers(copy, DataOptions(), paths, progress=False)
    for name in ("scores", "judgments", "perception_judgments"):
        for copy in copies:
            shutil.rmtree(copy.path / name, ignore_errors=name.startswith("perception"))
    for variant, copy in sorted(by_variant(copies).items(), key=lambda one: one[0] == "none"):
        assert [judge_and_score(copy, None, paths, progress=False)] == before[variant]


def test_leakage_without_golds_is_the_published_one_or_none(tmp_path: Path) -> None:
    """It cannot be counted without the golds, so it is never a number that is too low."""
    lines = [line for n in range(4) for line in both(n, sufficient=True, right=True)]
    for line in lines[::2]:
        line["response"] = line["response"].replace("a scene", "Answer:")
    (run,) = generate(options(tmp_path, lines, 4))
    before = score([run], tmp_path)["none"]
    assert before["metrics"]["leakage"]["value"] == 1
    paths = (str(plugins(tmp_path)),)
    _, (copy,) = there_and_back(tmp_path, tmp_path / "runs")
    assert score_run(copy, "string_match", paths) == before
    shutil.rmtree(copy.path / "scores")
    again = score_run(copy, "string_match", paths)
    assert again["metrics"]["leakage"]["value"] is None
    assert again["metrics"]["lsr"] == before["metrics"]["lsr"]


def test_images_of_a_task_with_samples_that_a_blind_run_leaves_out(tmp_path: Path) -> None:
    runs = passes(tmp_path)
    drop = by_variant(find_runs(runs))["drop"]
    assert drop.skipped()
    publish([drop], str(tmp_path / "bundle"), packing(tmp_path, with_images=True))


def test_what_a_judging_model_said_stays_here_without_golds(tmp_path: Path) -> None:
    def plan(number: int, asked: Asked) -> Reply:
        return Reply(200, chat('{"verdict": "incorrect", "reasoning": "it should be MARK"}'))

    run = made_run(tmp_path)
    with ChatServer(plan) as server:
        told = JudgeOptions(model="big", base_url=server.url)
        judge_and_score(run, "cascade:math,openai", options=told, progress=False)
    assert list(run.replies.glob("*.jsonl"))
    bundle, (copy,) = there_and_back(tmp_path, tmp_path / "runs")
    assert "MARK" not in everything(bundle)
    assert copy.scores() == run.scores()
    publish([run], str(tmp_path / "whole"), packing(tmp_path, with_golds=True))
    assert "MARK" in Bundle(tmp_path / "whole").text("replies/")


def test_the_delta_is_the_same_without_the_judges_words(tmp_path: Path) -> None:
    run = made_run(tmp_path, judge="math")
    judge_and_score(run, "mathruler", progress=False)
    (journal,) = (run.path / "judgments").glob("mathruler-*")
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    said = {9: ("error", "odd"), 10: ("", "odd"), 11: ("The gold is MARK.", "says 'MARK'")}
    for n, (raw, reason) in said.items():
        lines[n]["verdict"] |= {"outcome": "correct", "reason": reason, "label": "the MARK"}
        lines[n]["raw"] = raw
    lines[0]["verdict"] |= {"outcome": "incorrect", "reason": "grader_timeout"}
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    score_run(run, "mathruler")
    bundle, copies = there_and_back(tmp_path, tmp_path / "runs")
    assert "MARK" not in everything(bundle) and "grader_timeout" in everything(bundle)
    before, after = (compare_judges(found, "mathruler", "math") for found in ([run], copies))
    assert after == before and (before[0].failed, before[0].empty, before[0].odd) == (1, 1, 1)


def test_another_name_is_given_everywhere(tmp_path: Path) -> None:
    """The model's own name stands in its reader, too, and in the hashes of the blind runs."""
    runs = passes(tmp_path, model="inner-name")
    paths = (str(plugins(tmp_path)),)
    bundle, copies = there_and_back(tmp_path, runs, model="org/open")
    assert "inner-name" not in everything(bundle)
    found = by_variant(copies)
    (document,) = found["none"].scores()
    assert document["blind"]["drop"]["spec_hash"] == found["drop"].spec().digest()
    assert score_run(found["none"], "string_match", paths) == document
    (before,) = by_variant(find_runs(runs))["none"].scores()
    assert document["metrics"] == before["metrics"]


def test_models_that_are_served_under_a_path(tmp_path: Path) -> None:
    """`vllm serve /data/ann/big` serves a model of that very name."""

    def plan(number: int, asked: Asked) -> Reply:
        return Reply(200, chat("<judgment>correct</judgment>"))

    lines = [line for n in range(3) for line in both(n, sufficient=True, right=True)]
    with ChatServer(plan) as server:
        reader = ("--reader", "openai", "--reader_model", "/data/ann/reader")
        reader += ("--reader_base_url", server.url)
        asked = options(tmp_path, lines, 3, perception=None)
        generate(asked)
        done = cli("perceive", tmp_path / "runs", *reader, "--include_path", plugins(tmp_path))
        assert done.returncode == 0, done.stderr
        (run,) = find_runs(tmp_path / "runs")
        paths = (str(plugins(tmp_path)),)
        told = JudgeOptions(model="/data/ann/big", base_url=server.url)
        before = judge_and_score(run, "openai", paths, options=told, progress=False)
    assert before["judge"] == "openai[/data/ann/big]"
    bundle, (copy,) = there_and_back(tmp_path, tmp_path / "runs", with_golds=True)
    said = everything(bundle)
    assert "/data/ann" not in said and "%2Fdata" not in said and "data--ann" not in said
    (document,) = (d for d in copy.scores() if d["judge"] == "openai[big]")
    assert document["perception"]["reader"]["label"] == "openai:reader"
    assert document["metrics"] == before["metrics"]
    assert score_run(copy, "openai[big]", paths) == document


Spoil = Callable[[Bundle], None]


def _rate(*place: str, told: Any = 0.123) -> Spoil:
    """State another value at a place of the run's score."""

    def spoil(bundle: Bundle) -> None:
        for file in bundle.manifest["files"]:
            if "scores/" in file["path"] and '"variant": "none"' in bundle.text(file["path"]):
                document = json.loads(bundle.text(file["path"]))
                inner = document
                for name in place[:-1]:
                    inner = inner[name]
                inner[place[-1]] = told
                bundle.replace(file["path"], json.dumps(document).encode())

    return spoil


def _line(part: str, **fields: Any) -> Spoil:
    """Exchange fields of a journal's first record."""

    def spoil(bundle: Bundle) -> None:
        path = next(f["path"] for f in bundle.manifest["files"] if part in f["path"])
        first, *rest = bundle.text(path).splitlines()
        lines = [json.dumps(json.loads(first) | fields), *rest]
        bundle.replace(path, "".join(f"{line}\n" for line in lines).encode())

    return spoil


def _reader(bundle: Bundle) -> None:
    path = next(f["path"] for f in bundle.manifest["files"] if "readers/" in f["path"])
    bundle.replace(path, b'{"digest": "0123abcd"}')


def _unjudged(bundle: Bundle) -> None:
    """The verdicts of the run itself are taken away, its score is not."""
    manifest = bundle.manifest
    (run,) = (
        f["path"].rpartition("/")[0]
        for f in manifest["files"]
        if f["path"].endswith("run.json") and '"variant": "none"' in bundle.text(f["path"])
    )
    for file in manifest["files"]:
        if file["path"].startswith(f"{run}/") and "judgments/" in file["path"]:
            (bundle.files / file["path"]).unlink()
    kept = [f for f in manifest["files"] if (bundle.files / f["path"]).exists()]
    bundle.write(manifest | {"files": kept})
    (score,) = (f["path"] for f in kept if f["path"].startswith(f"{run}/scores"))
    document = json.loads(bundle.text(score))
    document["rates"]["scored"] = 0
    bundle.replace(score, json.dumps(document).encode())


LIES: dict[str, tuple[Spoil, str]] = {
    "a shortcut rate": (_rate("metrics", "lsr", "value"), "states lsr 0.123, its verdicts give"),
    "an invented metric": (
        _rate("metrics", "sight", told={"value": 1, "low": 0, "high": 1, "n": 8}),
        "states sight .*, its verdicts give .nothing",
    ),
    "a gain over blind": (_rate("metrics", "gain[drop]", "value"), "gain.drop."),
    "an interval": (_rate("metrics", "accuracy", "low"), "states accuracy.low"),
    "a category": (_rate("by", "kind", "even", "value"), "states by.kind.even 0.123"),
    "a truncation rate": (_rate("rates", "truncated"), "rates.truncated"),
    "a cell of the 2 x 2 table": (
        _rate("perception", "table", "sufficient", "correct"),
        "perception.table",
    ),
    "a score without its verdicts": (_unjudged, "its verdicts give"),
    "a reading that is none": (_line("perceptions", text=7), "not a record of this journal"),
    "a reading of no sample": (_line("perceptions", sample_id="x"), "that it does not hold"),
    "a reader that is none": (_reader, "not a reader's file"),
}


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("honest")
    publish(find_runs(passes(folder, "pictures")), str(folder / "bundle"), packing(folder))
    return folder


@pytest.mark.parametrize("what", LIES)
def test_what_does_not_follow_from_the_records_is_refused(
    honest: Path, tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil, said = LIES[what]
    shutil.copytree(honest / "bundle", tmp_path / "bundle")
    spoil(Bundle(tmp_path / "bundle"))
    with pytest.raises(ExchangeError, match=said):
        download(
            str(tmp_path / "bundle"),
            tmp_path / "runs",
            (str(plugins(honest)),),
            progress=False,
        )
    assert not list((tmp_path / "runs").rglob("run.json"))
