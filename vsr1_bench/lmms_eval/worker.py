"""The process in which lmms-eval's scorers run; they run nowhere else.

`serve` imports lmms-eval once and forks for each run. State that a task keeps in its modules, or in
files of the working folder, therefore ends with the run and cannot reach another model's numbers.
Requests come in and results go out as JSON lines.

The computation is that of `lmms_eval.evaluator.evaluate` from the responses on, with the same
objects; a test compares the numbers to the last digit. Two things differ: a scorer that raises is
called once, not five times with pauses, and its document is reported and skipped; and standard
errors are not bootstrapped.
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
"""Documents scored at the same time, as in lmms-eval's evaluator."""

Values = dict[str, Any]
_KIND = "\0kind"


def serve(parent: int) -> None:
    """Score runs that standard input names, two lines per run, until it ends.

    Forks die with this process, and it dies with its parent. Otherwise a scorer's judge would be
    paid for verdicts that nobody stores.
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


def _score_one(job: Mapping[str, Any], jobs: TextIO, out: TextIO) -> int:
    try:
        _go_to(job["folder"])
        seed_all()
        task, plan = load_task(job["name"], job["include_path"])
        _say(out, {"digest": digest_of(job["name"], plan)})
        # The parent looks up the stored values of this digest.
        job = json.loads(jobs.readline(), object_hook=restored)
        _go_to(job["folder"])
        score(task, plan, job, partial(_say, out))
        return 0
    except BenchError as error:
        _say(out, {"failed": str(error)})
    except (Exception, SystemExit) as error:  # its code: it ends this run's scoring, with a line
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(last.filename).name}:{last.lineno}"
        _say(out, {"failed": f"{own_judge.one_line(error)} (in {place})"})
    return 1


def _go_to(folder: str) -> None:
    os.makedirs(folder, exist_ok=True)
    os.chdir(folder)


def _say(out: TextIO, message: Mapping[str, Any]) -> None:
    out.write(json.dumps(message) + "\n")
    out.flush()


def score(
    task: Any, plan: Plan, job: Mapping[str, Any], say: Callable[[Mapping[str, Any]], None]
) -> None:
    """Score one run; report each document's values as soon as they exist, the aggregates last.

    Args:
        task: From `load_task`; it cannot be used again.
        plan: The plan it was made from.
        job: `fingerprint` (of the documents that the model answered), `folder` (for the task's
            files), `texts` (document's number -> its responses), `known` (document's number ->
            values sent before).
        say: Gets `{"order", …}`, then one `{"document", …}` each, and finally `{"metrics", …}`.

    Raises:
        BenchError: the documents have changed, or a judge failed while the task summed up.
    """
    from lmms_eval.evaluator_utils import TaskOutput

    if fingerprint(task.eval_docs) != job["fingerprint"]:
        # Responses are paired with documents by number: an additional row would shift them all.
        raise TaskError(
            "its documents are not those that were asked (the data set or its reading has changed "
            "since); restore them, or run the model again"
        )
    task.args = Namespace(output_path=job["folder"], process_with_media=False)
    own_judge.watch()
    texts = {int(number): list(found) for number, found in job["texts"].items()}
    known = {int(number): found for number, found in job["known"].items()}
    split = task.config.test_split if task.has_test_docs() else task.config.validation_split
    task._instances = _answered(task, texts, split)
    # Filters pair responses and documents by position, so unanswered documents are removed.
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
        for future in as_completed(numbers_of):  # sent, and so stored, as soon as it exists
            number = numbers_of[future]
            graded[number] = future.result()
            say({"document": number, **_reply(graded[number])})
    for number in texts:  # in their order, as lmms-eval's evaluator does
        found = graded[number]
        for key in keys:
            values = found.get(key, {}) if isinstance(found, dict) else {}
            for metric, value in values.items():
                output.sample_metrics[metric, key].append(value)
    own_judge.begin()
    output.calculate_aggregate_metric(bootstrap_iters=0)
    if (trouble := own_judge.trouble(anywhere=True)) is not None:
        # Some tasks keep replies, and placeholders for missing ones, in files: do not reuse them.
        shutil.rmtree(job["folder"])
        raise JudgeError(f"{trouble}, when it summed up: its numbers would include missing replies")
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
    """As in lmms-eval's evaluator: remove reasoning before the filters, if the task wants it."""
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
    """Values of a document by filter, or the reason why there are none."""
    from lmms_eval.api.reasoning import strip_reasoning_tags

    if number in known:
        return unpacked(known[number])
    # Without the decorator that calls a failing scorer five times, two seconds apart.
    process = inspect.unwrap(type(task).process_results)
    tags, one = _reasoning_tags(task), by_number[number]
    own_judge.begin()
    try:
        values = {}
        for key in keys:
            response = one.filtered_resps[key]
            if tags is not None and isinstance(response, str):
                response = strip_reasoning_tags(response, tags)
            elif tags is not None and isinstance(response, list):
                response = [
                    strip_reasoning_tags(part, tags) if isinstance(part, str) else part
                    for part in response
                ]
            values[key] = dict(process(task, documents[number], [response]))
    except (Exception, SystemExit) as error:  # its code on one response: unscored, with the reason
        return own_judge.one_line(error)
    return values if (trouble := own_judge.trouble()) is None else trouble


def _reply(graded: Values | str) -> dict[str, Any]:
    if isinstance(graded, str):
        return {"error": graded}
    heads = {
        f"{metric},{key}": _head(value)
        for key, values in graded.items()
        for metric, value in values.items()
    }
    return {"values": packed(graded), "heads": heads}


def _head(value: Any) -> Any:
    """The part of a value that can be a document's score: a number, or a dictionary's numbers."""
    import numpy as np

    kinds = (bool, int, float, np.bool_, np.integer, np.floating)
    if isinstance(value, dict):
        return {k: float(v) for k, v in value.items() if isinstance(v, kinds)}
    return float(value) if isinstance(value, kinds) else None


def packed(values: Values) -> Any:
    """Values as JSON that gives the same back, objects that metrics share included.

    None if that cannot be (tuples, sets, bytes, a task's own objects): they are computed again
    each time.
    """
    table: list[Any] = []
    places: dict[int, int] = {}
    refs: dict[str, dict[str, int]] = {}
    for key, of_filter in values.items():
        for metric, value in of_filter.items():
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
        by_key: dict[str, float | None] = {}
        for key, inner in value.items():
            by_key |= numbers(inner, f"{name}.{key}" if name else str(key))
        return by_key
    try:
        number = float(value)
    except (TypeError, ValueError):
        return {}
    return {name: number if math.isfinite(number) else None}
