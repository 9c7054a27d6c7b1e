"""On the same responses, our number and that of lmms-eval's own evaluator: equal to the last digit.

Both sides run its own files (`borrowed.copy_tasks`); its side is `simple_evaluate` itself.
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from borrowed import SUBJECTS, copy_tasks, responses
from trapped import USUAL, make

if not find_spec("lmms_eval"):
    pytest.skip("lmms-eval has an environment of its own", allow_module_level=True)

from vsr1_bench.assess import judge_and_score
from vsr1_bench.grouping import score_groups
from vsr1_bench.pipeline import RunOptions, generate

OWN = {
    "pope": ("pope", 5),
    "ai2d": ("ai2d", 1),
    "muirbench": ("muirbench", 1),
    "gsm8k_cot_zeroshot": ("gsm8k", 2),
}
"""Task -> where it is copied from, how many numbers it gives."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_tasks(tmp_path_factory.mktemp("their-tasks"))


def ours(folder: Path, name: str, texts: list[str], out: Path) -> dict[str, Any]:
    """Run a task or group through the whole of our path; task -> document."""
    script = out / "script.jsonl"
    lines = ({"id": str(number), "response": text} for number, text in enumerate(texts))
    script.write_text("".join(json.dumps(line) + "\n" for line in lines))
    options = RunOptions(
        model="said",
        tasks=f"lmms_eval/{name}",
        output_path=out / "runs",
        backend="scripted",
        model_args={"script": str(script)},
        include_path=(str(folder),),
        progress=False,
    )
    runs = [run.folder for run in generate(options)]
    documents = [judge_and_score(run, None, (str(folder),), progress=False) for run in runs]
    documents += score_groups(runs, (str(folder),))
    return {one["task"].removeprefix("lmms_eval/"): one for one in documents}


def theirs(folder: Path, name: str, said: dict[str, dict[int, str]]) -> dict[str, Any]:
    """`simple_evaluate` with a model that says the same; its `results`."""
    from lmms_eval.api.model import lmms
    from lmms_eval.evaluator import simple_evaluate
    from lmms_eval.tasks import TaskManager

    class Said(lmms):
        is_simple = False

        def generate_until(self, requests: list[Any]) -> list[str]:
            return [said[r.args[4]][r.args[3]] for r in requests]

        def loglikelihood(self, requests: list[Any]) -> Any:
            raise NotImplementedError

        generate_until_multi_round = loglikelihood

    manager = TaskManager(include_path=str(folder), include_defaults=False, model_name="vsr1")
    found = simple_evaluate(
        model=Said(), tasks=[name], task_manager=manager, bootstrap_iters=0, process_docs_parallel=1
    )
    return dict(found["results"])


@pytest.mark.parametrize("name", OWN)
def test_a_task(name: str, folder: Path, tmp_path: Path) -> None:
    copied, count = OWN[name]
    texts = list(responses(copied))
    mine = ours(folder, name, texts, tmp_path)
    wanted = theirs(folder, name, {name: dict(enumerate(texts))})[name]
    numbers = {
        key.removesuffix(",none"): value
        for key, value in wanted.items()
        if isinstance(value, float | int) and "_stderr" not in key and key != "samples"
    }
    assert len(numbers) == count
    found = mine[name]
    assert {k: v["value"] for k, v in found["metrics"].items()} == numbers
    assert found["rates"]["scored"] == len(texts)
    assert 0 < numbers[next(iter(numbers))] < 1  # a score that wrong code could not guess


def test_a_group_of_text_tasks_with_examples_and_three_filters(
    folder: Path, tmp_path: Path
) -> None:
    # A script knows a document by its number in its task: all subjects are answered alike.
    texts = list(responses("mmlu_pro"))[:12]
    members = [f"mmlu_pro_{subject.replace(' ', '_')}" for subject in SUBJECTS]
    mine = ours(folder, "mmlu_pro", texts, tmp_path)
    wanted = theirs(folder, "mmlu_pro", {name: dict(enumerate(texts)) for name in members})
    for name in (*members, "mmlu_pro"):
        numbers = {
            key: value
            for key, value in wanted[name].items()
            if isinstance(value, float | int) and "_stderr" not in key and key != "samples"
        }
        of_us = mine[name if name == "mmlu_pro" else f"mmlu_pro/{name}"]
        assert {k: v["value"] for k, v in of_us["metrics"].items()} == numbers
        assert len(numbers) == 3  # one a filter
    whole = wanted["mmlu_pro"]["exact_match,flexible-extract"]
    parts = [wanted[name]["exact_match,flexible-extract"] for name in members]
    assert whole != sum(parts) / len(parts)  # weighted by size, as its file says


def test_a_scorer_that_guesses_guesses_what_its_evaluator_does(tmp_path: Path) -> None:
    # Only the first document draws: which of several threads comes first is nobody's promise.
    code = USUAL.replace(
        "def process(doc, results):\n",
        "def process(doc, results):\n"
        "    import random, numpy\n"
        "    if doc['question'] == '0?':\n"
        "        return {'right': random.random() + numpy.random.random()}\n",
    )
    tasks = Path(make(tmp_path, code))
    texts = ["yes", "yes", "no", "yes"]
    mine = ours(tasks, "trap", texts, tmp_path)["trap"]["metrics"]["right"]["value"]
    wanted = theirs(tasks, "trap", {"trap": dict(enumerate(texts))})["trap"]["right,none"]
    assert mine == wanted
