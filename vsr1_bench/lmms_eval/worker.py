"""The process in which lmms-eval scores; its code runs nowhere else.

It is started with `serve`, imports lmms-eval once, and forks for each run that it is to score. So
whatever a task keeps in its modules, or in files of the working folder, ends with the run: another
model's numbers cannot be made of it. Requests come in and results go out as JSON lines.

What is computed is `lmms_eval.evaluator.evaluate` from the responses on, by the same objects; a
test compares them to the last digit. What differs: a scorer that raises is not called five times
with pauses, its document is reported and skipped; standard errors are not bootstrapped.
"""

from __future__ import annotations

import inspect
import json
import math
import os
import shutil
import sys
import traceback
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from vsr1_bench._util.processes import die_with_parent
from vsr1_bench.errors import BenchError, JudgeError, TaskError
from vsr1_bench.lmms_eval import own_judge
from vsr1_bench.lmms_eval.data import fingerprint, instance
from vsr1_bench.lmms_eval.identity import digest_of
from vsr1_bench.lmms_eval.loading import Plan, load_task, quiet, seed_all

PARALLEL = 4
"""Documents scored at once, as its evaluator does."""

Values = dict[str, Any]
_KIND = "\0kind"


def serve(parent: int) -> None:
    """Score what standard input asks, two lines per run, until it ends.

    Forks die with this process, as it dies with its parent: a judge that a scorer asks would be
    paid for verdicts that nobody keeps.
    """
    import lmms_eval.tasks  # noqa: F401 - once, for all that is forked from here

    quiet()
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what its tasks print is not a result
    here = os.getpid()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            die_with_parent(here)
            os._exit(_score_one(json.loads(line), sys.stdin, out))
        _, status = os.waitpid(child, 0)
        _say(out, {"done": os.waitstatus_to_exitcode(status)})


def _score_one(asked: Mapping[str, Any], told: TextIO, out: TextIO) -> int:
    try:
        _go_to(asked["folder"])
        seed_all()
        task, plan = load_task(asked["name"], asked["include_path"])
        _say(out, {"digest": digest_of(asked["name"], plan)})
        # What is known of these responses is under that digest.
        asked = json.loads(told.readline(), object_hook=restored)
        _go_to(asked["folder"])
        score(task, plan, asked, partial(_say, out))
        return 0
    except BenchError as error:
        _say(out, {"failed": str(error)})
    except (Exception, SystemExit) as error:  # its code: it ends this run's scoring, with a line
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(last.filename).name}:{last.lineno}"
        _say(out, {"failed": f"{own_judge.said(error)} (in {place})"})
    return 1


def _go_to(folder: str) -> None:
    os.makedirs(folder, exist_ok=True)
    os.chdir(folder)


def _say(out: TextIO, told: Mapping[str, Any]) -> None:
    out.write(json.dumps(told) + "\n")
    out.flush()


def score(
    task: Any, plan: Plan, asked: Mapping[str, Any], say: Callable[[Mapping[str, Any]], None]
) -> None:
    """Score one run and tell each document's values as they are there, the aggregates at the end.

    Args:
        task: As `load_task` gives it; it is used up.
        plan: What it was made of.
        asked: `fingerprint` (of the documents that were asked), `folder` (for files that a task
            writes), `texts` (document's number -> its responses), `known` (document's number ->
            values sent before).
        say: Takes at first `{"order", …}`, then `{"document", …}` each, at last `{"metrics", …}`.

    Raises:
        BenchError: the task has other documents than were asked, or asks a judge when it sums up,
            who cannot be asked.
    """
    from lmms_eval.evaluator_utils import TaskOutput

    if fingerprint(task.eval_docs) != asked["fingerprint"]:
        # Responses are paired with documents by number: one row more, and each has a neighbour's.
        raise TaskError(
            "its documents are not those that were asked (the data set or its reading has changed "
            "since); bring them back, or run the model again"
        )
    task.args = Namespace(output_path=asked["folder"], process_with_media=False)
    own_judge.watch()
    texts = {int(number): list(found) for number, found in asked["texts"].items()}
    known = {int(number): found for number, found in asked["known"].items()}
    split = task.config.test_split if task.has_test_docs() else task.config.validation_split
    task._instances = _answered(task, texts, split)
    # Filters walk responses and documents side by side: of an unanswered one neither may be there.
    task.task_docs = task.task_docs.select(list(texts))
    _strip_thinking(task)
    task.apply_filters()
    keys = list(task._instances[0].filtered_resps) if task._instances else []
    documents = task.eval_docs_no_media
    by_number = {one.doc_id: one for one in task._instances}
    output = TaskOutput.from_taskdict(plan.name, task)
    say(
        {
            "order": [f"{metric},{key}" for metric in task.aggregation() for key in keys],
            "falling": [m for m, rising in task.higher_is_better().items() if rising is False],
            "score_key": str(task.config.score_key or "score"),
        }
    )
    grade = partial(_grade, task, documents, by_number, keys, known)
    graded: dict[int, Values | str] = {}
    with ThreadPoolExecutor(PARALLEL) as pool:
        numbers_of = {pool.submit(grade, number): number for number in texts}
        for future in as_completed(numbers_of):  # sent, and so kept, as soon as it exists
            number = numbers_of[future]
            graded[number] = future.result()
            say({"document": number, **_told(graded[number])})
    for number in texts:  # summed up in their order, as its evaluator does
        found = graded[number]
        for key in keys:
            values = found.get(key, {}) if isinstance(found, dict) else {}
            for metric, value in values.items():
                output.sample_metrics[metric, key].append(value)
    own_judge.begin()
    output.calculate_aggregate_metric(bootstrap_iters=0)
    if (trouble := own_judge.trouble(anywhere=True)) is not None:
        # Some keep replies, and what stands for a missing one, in files: not for the next time.
        shutil.rmtree(asked["folder"])
        raise JudgeError(f"{trouble}, when it summed up: its numbers would hold answers of nobody")
    names = [name for name in output.agg_metrics if "_stderr," not in name]
    say(
        {
            "metrics": {name: numbers(output.agg_metrics[name]) for name in names},
            "n": {f"{m},{k}": len(items) for (m, k), items in output.sample_metrics.items()},
            "samples": output.sample_len,
            "version": str(task.VERSION),
            "groups": list(plan.groups),
        }
    )


def _answered(task: Any, texts: Mapping[int, Sequence[str]], split: str) -> list[Any]:
    answered = []
    for number, responses in texts.items():
        one = instance(task, number, split)
        one.resps = list(responses)
        answered.append(one)
    return answered


def _strip_thinking(task: Any) -> None:
    """As its evaluator: remove reasoning before the filters run, if the task asks for that."""
    from lmms_eval.filters.transformation import StripThinkingFilter

    if task.config.auto_strip_thinking and _reasoning_tags(task) is None:
        for ensemble in task._filters:
            ensemble.filters.insert(0, StripThinkingFilter())


def _reasoning_tags(task: Any) -> Any:
    from lmms_eval.api.reasoning import parse_reasoning_tags_config

    return parse_reasoning_tags_config(task_value=task.config.reasoning_tags)


def _grade(
    task: Any,
    documents: Any,
    by_number: Mapping[int, Any],
    keys: Iterable[str],
    known: Mapping[int, Any],
    number: int,
) -> Values | str:
    """Values of a document by filter, or why there are none."""
    from lmms_eval.api.reasoning import strip_reasoning_tags

    if number in known:
        return unpacked(known[number])
    # Beneath the decorator that calls a failing scorer five times, two seconds apart.
    process = inspect.unwrap(type(task).process_results)
    tags, one = _reasoning_tags(task), by_number[number]
    own_judge.begin()
    try:
        found = {}
        for key in keys:
            response = one.filtered_resps[key]
            if tags is not None and isinstance(response, str):
                response = strip_reasoning_tags(response, tags)
            elif tags is not None and isinstance(response, list):
                response = [
                    strip_reasoning_tags(part, tags) if isinstance(part, str) else part
                    for part in response
                ]
            found[key] = dict(process(task, documents[number], [response]))
    except (Exception, SystemExit) as error:  # its code on one response: unscored, with the reason
        return own_judge.said(error)
    return found if (trouble := own_judge.trouble()) is None else trouble


def _told(found: Values | str) -> dict[str, Any]:
    if isinstance(found, str):
        return {"error": found}
    heads = {
        f"{metric},{key}": _head(value)
        for key, values in found.items()
        for metric, value in values.items()
    }
    return {"values": packed(found), "heads": heads}


def _head(value: Any) -> Any:
    """What of a value may be a document's score: a number, or the numbers of a dictionary."""
    import numpy as np

    kinds = (bool, int, float, np.bool_, np.integer, np.floating)
    if isinstance(value, dict):
        return {k: float(v) for k, v in value.items() if isinstance(v, kinds)}
    return float(value) if isinstance(value, kinds) else None


def packed(found: Values) -> Any:
    """Values as JSON that gives the same back, objects that metrics share included.

    None if that cannot be (tuples, sets, bytes, a task's own objects): they are computed again
    each time.
    """
    table: list[Any] = []
    places: dict[int, int] = {}
    refs: dict[str, dict[str, int]] = {}
    for key, values in found.items():
        for metric, value in values.items():
            if id(value) not in places:
                places[id(value)] = len(table)
                table.append(value)
            refs.setdefault(key, {})[metric] = places[id(value)]
    try:
        text = json.dumps(table, default=_plain_number)
    except (TypeError, ValueError):
        return None
    if "\\u0000kind" in text:  # reserved: see `restored`
        return None
    again = json.loads(text)
    same = again == table or repr(again) == repr(table)  # NaN is not equal to itself
    return {"table": again, "refs": refs} if same else None


def _plain_number(value: Any) -> Any:
    """NumPy's booleans and whole numbers, which JSON does not know."""
    import numpy as np

    if isinstance(value, np.bool_ | np.integer):
        return value.item()
    raise TypeError(f"a value of type {type(value).__name__}")


def unpacked(stored: Any) -> Values:
    """Values as they were before `packed`."""
    return {
        key: {metric: stored["table"][place] for metric, place in metrics.items()}
        for key, metrics in stored["refs"].items()
    }


def restored(value: dict[str, Any]) -> Any:
    """Read (as an `object_hook`) what earlier versions wrote of values that JSON does not have.

    They stored tuples, NumPy's numbers and dictionaries whose keys are not texts as well.
    """
    import numpy as np

    kind = value.get(_KIND)
    if kind is None:
        return value
    if kind == "tuple":
        return tuple(value["held"])
    return dict(value["held"]) if kind == "dict" else np.dtype(kind).type(value["held"])


def numbers(value: Any, name: str = "") -> dict[str, float | None]:
    """The numbers of an aggregate: one under the empty name, or those of a dictionary by key."""
    if isinstance(value, Mapping):
        found: dict[str, float | None] = {}
        for key, inner in value.items():
            found |= numbers(inner, f"{name}.{key}" if name else str(key))
        return found
    try:
        number = float(value)
    except (TypeError, ValueError):
        return {}
    return {name: number if math.isfinite(number) else None}
