"""On the same responses, our number and that of lmms-eval's own evaluator: equal to the last digit.

Both sides run its own files (`lmms_tasks.copy_tasks`); its side is `simple_evaluate` itself.
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from lmms_tasks import SUBJECTS, copy_tasks, gsm8k_row, gsm8k_shot, responses
from trapped import USUAL, make

if not find_spec("lmms_eval"):
    pytest.skip("lmms-eval has an environment of its own", allow_module_level=True)

from vsr1_bench.data.dataset import DataOptions, open_data
from vsr1_bench.errors import TaskError
from vsr1_bench.pipeline.plan import RunOptions
from vsr1_bench.pipeline.run import generate
from vsr1_bench.registry import get_task
from vsr1_bench.scoring.groups import score_groups
from vsr1_bench.scoring.runs import judge_and_score

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


def theirs(
    folder: Path,
    name: str,
    said: dict[str, dict[int, str]],
    shown: list[Any] | None = None,
) -> dict[str, Any]:
    """`simple_evaluate` with a model that says the same, noting what it is shown; its `results`."""
    from lmms_eval.api.model import lmms
    from lmms_eval.evaluator import simple_evaluate
    from lmms_eval.tasks import TaskManager

    class Said(lmms):
        is_simple = False

        def generate_until(self, requests: list[Any]) -> list[str]:
            if shown is not None:
                _, messages, _, number, task, split = zip(*(r.args for r in requests), strict=True)
                rows = zip(messages, number, task, split, strict=True)
                shown.extend(write(self.task_dict[t][s][n]) for write, n, t, s in rows)
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


def test_examples_are_shown_as_its_evaluator_shows_them(folder: Path, tmp_path: Path) -> None:
    texts, shown = list(responses("gsm8k")), list[Any]()
    mine = ours(folder, "gsm8k_cot", texts, tmp_path)["gsm8k_cot"]
    wanted = theirs(folder, "gsm8k_cot", {"gsm8k_cot": dict(enumerate(texts))}, shown)["gsm8k_cot"]
    assert numbers_of(mine) == {key: wanted[key] for key in numbers_of(mine)}
    data = open_data(get_task("lmms_eval/gsm8k_cot", (str(folder),)), DataOptions())
    asked = [
        [{"role": "user", "content": [{"type": "text", "text": "".join(map(str, one.question))}]}]
        for one in data.samples()
    ]
    assert asked == shown
    # The first eight of its rows are its examples, but for the document itself.
    counts = [one[0]["content"][0]["text"].count("\nA:") for one in shown]
    assert counts == [8] * 8 + [9] * 4


def test_examples_that_lmms_eval_cannot_draw_are_told_so(folder: Path, tmp_path: Path) -> None:
    # Its gsm8k asks for five and has no `fewshot_config`: neither side can build a prompt.
    texts = list(responses("gsm8k"))
    with pytest.raises(AttributeError) as error:
        theirs(folder, "gsm8k", {"gsm8k": dict(enumerate(texts))})
    with pytest.raises(TaskError) as refused:
        ours(folder, "gsm8k", texts, tmp_path)
    told = str(refused.value)
    assert told.startswith("lmms_eval/gsm8k cannot write its 5 few-shot examples: AttributeError: ")
    assert str(error.value) in told
    assert "own evaluator ends with the same error" in told
    way = "fewshot_config: {sampler: default}"
    assert way in told
    # The way out that the line names, on both sides.
    file = tmp_path / "mine" / "gsm8k_drawn" / "gsm8k_drawn.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(f"include: {folder}/gsm8k/gsm8k.yaml\ntask: gsm8k_drawn\n{way}\n")
    mine = ours(tmp_path / "mine", "gsm8k_drawn", texts, tmp_path)["gsm8k_drawn"]
    said = {"gsm8k_drawn": dict(enumerate(texts))}
    wanted = theirs(tmp_path / "mine", "gsm8k_drawn", said)["gsm8k_drawn"]
    assert numbers_of(mine) == {key: wanted[key] for key in numbers_of(mine)}
    assert len(numbers_of(mine)) == 2 and 0 < max(numbers_of(mine).values()) < 1
    shots = map(gsm8k_shot, range(12))
    rows = {f"Question: {row['question']}\nAnswer: {row['answer']}" for row in shots}
    data = open_data(get_task("lmms_eval/gsm8k_drawn", (str(tmp_path / "mine"),)), DataOptions())
    for number, sample in enumerate(data.samples()):
        *examples, asked = str(sample.question[0]).split("\n\n")
        assert len(set(examples)) == 5 and set(examples) <= rows
        assert asked == f"Question: {gsm8k_row(number)['question']}\nAnswer:"


def numbers_of(document: dict[str, Any]) -> dict[str, float]:
    return {name: one["value"] for name, one in document["metrics"].items()}


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
