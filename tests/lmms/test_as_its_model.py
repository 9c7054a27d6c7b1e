"""`python -m lmms_eval --model vsr1`: our Generator as its model, by entry point."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lmms_tasks import copy_tasks
from servers import ChatServer

if not find_spec("lmms_eval"):
    pytest.skip("lmms-eval has an environment of its own", allow_module_level=True)

from vsr1_bench.errors import GenerationError, UsageError
from vsr1_bench.pipeline.plan import RunOptions
from vsr1_bench.pipeline.run import generate
from vsr1_bench.scoring.runs import judge_and_score

PIXELS = {"min_pixels": 3136, "max_pixels": 3136}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_tasks(tmp_path_factory.mktemp("their-tasks"))


def evaluate(folder: Path, out: Path, name: str, args: str) -> dict[str, Any]:
    """Run its own command line; what it wrote down."""
    command = [sys.executable, "-m", "lmms_eval", "--model", "vsr1", "--model_args", args]
    command += ["--tasks", name, "--include_path", str(folder), "--output_path", str(out)]
    command += ["--batch_size", "1", "--log_samples"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, timeout=400)
    written = sorted(out.rglob("*_results.json"))
    assert written, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(written[-1].read_text())
    return found


def test_the_same_model_on_an_image_task_gives_the_same_numbers_both_ways(
    folder: Path, tmp_path: Path
) -> None:
    args = "model=tiny,backend=transformers,min_pixels=3136,max_pixels=3136"
    journal = tmp_path / "responses.jsonl"
    told = evaluate(folder, tmp_path / "theirs", "pope_here", f"{args},journal={journal}")
    wanted = {
        key.removesuffix(",none"): value
        for key, value in told["results"]["pope_here"].items()
        if isinstance(value, float | int) and "_stderr" not in key and key != "samples"
    }
    (run,) = generate(
        RunOptions(
            model="tiny",
            tasks="lmms_eval/pope_here",
            output_path=tmp_path / "runs",
            backend="transformers",
            gen_kwargs=PIXELS,
            include_path=(str(folder),),
            progress=False,
        )
    )
    assert run.folder.meta()["gen_kwargs"] == PIXELS  # groups are made of runs that agree in it
    document = judge_and_score(run.folder, None, (str(folder),), progress=False)
    assert {k: v["value"] for k, v in document["metrics"].items()} == wanted
    ours = [made.text for made in run.folder.generations().values()]
    kept = [json.loads(line)["text"] for line in journal.read_text().splitlines()]
    assert sorted(ours) == sorted(kept)
    assert any(ours)


def model(model: str = "said", backend: str = "scripted", **args: Any) -> Any:
    from lmms_eval.models import get_model

    return get_model("vsr1")(model=model, backend=backend, **args)


def request(number: int, settings: dict[str, Any]) -> Any:
    from lmms_eval.api.instance import Instance

    def to_messages(document: str) -> list[dict[str, Any]]:
        return [{"role": "user", "content": [{"type": "text", "text": document}]}]

    arguments = ("", to_messages, settings, number, "task", "test")
    metadata = {"task": "task", "doc_id": number, "repeats": 1}
    return Instance("generate_until", arguments, 0, metadata=metadata)


def script(folder: Path, lines: list[dict[str, Any]]) -> str:
    path = folder / "script.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def test_answers_come_in_order_and_repeats_are_drawn_apart(tmp_path: Path) -> None:
    lines = [{"id": f"task/{i}", "index": k, "response": f"{i}{k}"} for i in (0, 1) for k in (0, 1)]
    theirs = model(script=script(tmp_path, lines))
    theirs.task_dict = {"task": {"test": ["one", "two"]}}
    one, two = request(0, {"temperature": 1}), request(1, {"temperature": 1})
    found = theirs.generate_until([two, two, one, one])
    assert [answer.text for answer in found] == ["10", "11", "00", "01"]


class Delimited:
    """A task with another delimiter; its messages are a method of it, as in lmms-eval."""

    config = SimpleNamespace(fewshot_delimiter="##")

    def to_messages(self, document: str) -> Any:
        return request(0, {}).args[1](document)


def test_the_blank_line_that_lmms_eval_puts_in_is_no_stop_string() -> None:
    with ChatServer([]) as server:
        theirs = model("m", "openai", base_url=server.url)
        theirs.task_dict = {"task": {"test": ["one", "two", "three"]}}
        theirs.generate_until([request(0, {"until": ["\n\n"]}), request(1, {"until": ["END"]})])
        other = request(2, {"until": ["##"]})
        other.arguments = (*other.args[:1], Delimited().to_messages, *other.args[2:])
        theirs.generate_until([other])
        theirs.clean()
    stops = {asked.text: asked.body.get("stop") for asked in server.asked}
    assert stops == {"one": None, "two": ["END"], "three": None}


def test_a_failed_request_is_no_wrong_answer_and_the_others_are_kept(tmp_path: Path) -> None:
    lines = [{"id": "task/0", "response": "yes"}, {"id": "task/1", "error": "no luck"}]
    journal = tmp_path / "kept.jsonl"
    for times in (1, 2):
        theirs = model(script=script(tmp_path, lines), journal=str(journal))
        theirs.task_dict = {"task": {"test": ["one", "two"]}}
        with pytest.raises(GenerationError, match=r"1 of 2 requests failed.*no luck"):
            theirs.generate_until([request(0, {}), request(1, {})])
        told = [json.loads(line) for line in journal.read_text().splitlines()]
        assert [one["text"] for one in told if one["error"] is None] == ["yes"], times


def test_a_launcher_of_several_processes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match=r"WORLD_SIZE is 2.*tensor_parallel_size"):
        model()


def test_an_unknown_argument_is_named_and_likelihoods_are_refused(tmp_path: Path) -> None:
    answers = script(tmp_path, [{"id": "*", "response": "x"}])
    with pytest.raises(UsageError, match="frames"):
        model(script=answers, frames=3)
    theirs = model(script=answers)
    with pytest.raises(UsageError, match="loglikelihood"):
        theirs.loglikelihood([])
