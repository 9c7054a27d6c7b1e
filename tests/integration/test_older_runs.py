"""A run that was stored before the rooms moved is read, resumed and scored as it was.

`tests/older/make.py` made it with the code of that time. Nobody answers at its judge's URL.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli import here
from older.make import CASCADE, HERE, KEY, LLM, RUN, SAMPLES, judge

from judges import outcomes
from vsr1_bench.api import load_runs
from vsr1_bench.judge import JudgeOptions
from vsr1_bench.judging.open import open_judge
from vsr1_bench.pipeline import run as pipeline
from vsr1_bench.store.run_folder import RunFolder

MODEL_JUDGE = "openai[judge-of-old]"
STORED_CASCADE = "cascade:string_match,openai[judge-of-old]"


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the run, below the working folder in which it was made."""
    shutil.copytree(HERE, tmp_path / "older")
    monkeypatch.chdir(tmp_path / "older")
    monkeypatch.setenv("VSR1_JUDGE_API_KEY", KEY)
    yield tmp_path / "older" / "stored"


def only(stored: Path) -> RunFolder:
    (folder,) = stored.glob("*/*")
    return RunFolder(folder)


def journals(folder: Path) -> dict[str, bytes]:
    """Every journal of a run by its name, but those of rule judges, which may judge anew."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*.jsonl"))
        if "string_match" not in path.name
    }


def numbers(folder: RunFolder) -> dict[str, dict[str, Any]]:
    """What the score of each judge says, but which journal of verdicts it was made of."""
    return {
        document["judge"]: {k: v for k, v in document.items() if k != "verdicts"}
        for document in folder.scores()
    }


def refuse(*more: object, **named: object) -> None:
    raise AssertionError("the model was started again")


def test_it_is_read(stored: Path) -> None:
    run = only(stored)
    results = load_runs(stored)
    assert results.complete and len(results.samples) == 3 * SAMPLES
    assert set(results.scores["judge"]) == {"string_match", MODEL_JUDGE, STORED_CASCADE}
    assert len(run.samples()) == len(run.generations()) == len(run.perceptions()) == SAMPLES
    assert all(one.description_hash and one.reader for one in run.perceptions().values())


def test_its_spec_hash_is_the_same(stored: Path) -> None:
    run = only(stored)
    assert run.spec().digest() == run.meta()["spec_hash"]
    assert run.path.name == f"demo-{run.spec().digest()[:8]}"


def test_its_responses_are_not_generated_again(
    stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, scored = journals(only(stored).path), numbers(only(stored))
    monkeypatch.setattr(pipeline, "open_generator", refuse)
    done = here(*RUN)
    assert done.returncode == 0, done.stderr
    assert f"{SAMPLES} of {SAMPLES} responses, made by: vsr1-bench run --model older" in done.stderr
    assert journals(only(stored).path) == before  # `only`: equal specs share one folder
    assert numbers(only(stored)) == scored


def test_a_lost_response_is_generated_again(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = only(stored).path / "generations.jsonl"
    path.write_text("".join(path.read_text("ascii").splitlines(keepends=True)[:-1]), "ascii")
    monkeypatch.setattr(pipeline, "open_generator", refuse)
    done = here(*RUN)
    assert done.returncode != 0 and "the model was started again" in done.stderr


def test_the_model_judge_has_the_same_identity(stored: Path) -> None:
    words = judge(LLM)
    url, model = (words[words.index(flag) + 1] for flag in ("--judge_base_url", "--judge_model"))
    with open_judge(LLM, (), JudgeOptions(base_url=url, model=model)) as opened:
        path = only(stored).judgment_path(opened.name, opened.identity)
    assert path.is_file() and path == only(stored).judged()[MODEL_JUDGE]


@pytest.mark.parametrize(("name", "kept"), [(LLM, MODEL_JUDGE), (CASCADE, STORED_CASCADE)])
def test_nothing_is_asked_of_the_model_judge_again(stored: Path, name: str, kept: str) -> None:
    run = only(stored)
    before, scored, said = journals(run.path), numbers(run), outcomes(stored, kept)
    counted = here(*judge(name), "--dry_run")
    assert counted.returncode == 0, counted.stderr
    assert f"| judge {kept} | 0 " in " ".join(counted.stdout.split())
    done = here(*judge(name))
    assert done.returncode == 0, done.stderr
    assert journals(run.path) == before
    assert outcomes(stored, kept) == said and len(said) == SAMPLES
    assert numbers(run) == scored


def test_a_lost_reply_would_be_asked_for(stored: Path) -> None:
    run = only(stored)
    (replies,) = (run.path / "replies").glob("*.jsonl")
    *_, last = map(json.loads, replies.read_text("ascii").splitlines())
    for path in (replies, *run.path.glob("*judgments/openai*")):
        kept = [line for line in path.read_text("ascii").splitlines() if last["key"] not in line]
        path.write_text("".join(f"{line}\n" for line in kept), "ascii")
    counted = here(*judge(LLM), "--dry_run")
    assert f"| judge {MODEL_JUDGE} | 1 " in " ".join(counted.stdout.split())
