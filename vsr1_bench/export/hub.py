"""Scores as the hub's `.eval_results/*.yaml` for the page of a model.

The format is that of `huggingface_hub.EvalResultEntry`. The hub shows such a value on the page of
the model, with a link to its source: a published bundle, which everybody can check.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from vsr1_bench._util.version import __version__
from vsr1_bench.data.blind import NONE
from vsr1_bench.errors import UsageError
from vsr1_bench.export.samples import judges_of, known_task
from vsr1_bench.export.text import encodable
from vsr1_bench.leaderboard.collect import run_notes
from vsr1_bench.publish.rename import published_judge
from vsr1_bench.store.journal import write_atomic
from vsr1_bench.store.judge_names import bare
from vsr1_bench.store.run_folder import RunFolder, safe_name
from vsr1_bench.store.spec import RunSpec

FOLDER = ".eval_results"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_BUNDLE = re.compile(r"hf://datasets/([\w.-]+/[\w.-]+?)(?:@([\w.-]+))?/?")
WANTED = "wanted the address of the published bundle, as `publish` prints it, or https://…"


@dataclass(frozen=True, slots=True)
class HubOptions:
    """What a result file says beside its score."""

    source: str
    """Address of the published bundle."""
    task_ids: Mapping[str, str]
    """Task -> its id in the `eval.yaml` of its data set; `default` for others."""
    judge: str | None = None
    """Whose score counts; None = the task's own judge."""
    include_path: Sequence[str] = ()


def source_url(address: str) -> str:
    """The web address of a published bundle.

    Raises:
        UsageError: it is neither a data set of the hub nor an https address.
    """
    if found := _BUNDLE.fullmatch(address):
        revision = f"/tree/{found[2]}" if found[2] else ""
        return f"https://huggingface.co/datasets/{found[1]}{revision}"
    try:
        parts = urlsplit(address)
        plain = parts.scheme == "https" and bool(parts.hostname) and parts.password is None
    except ValueError:
        plain = False
    if not plain or parts.username is not None or not address.isprintable() or " " in address:
        raise UsageError(f"--source {address!r:.200}: {WANTED}")
    return urlunsplit(parts._replace(query="", fragment=""))


def write_results(run: RunFolder, folder: Path, name: str, options: HubOptions) -> str:
    """Write the result file of a run.

    Args:
        run: A stored run.
        folder: The export's folder; the file goes to `<model>/.eval_results/` below it.
        name: The file's name, without its suffix.
        options: What else it says.

    Returns:
        The path of the file below the folder.

    Raises:
        UsageError: the run has no result that a leaderboard may show; says why.
        StoreError: the run cannot be read, or the file cannot be written.
    """
    spec = run.spec()
    document = _score(run, spec, options)
    _check(run, spec, document, options)
    model = safe_name(spec.model.id)
    # The folder stays here. The file is uploaded: a served model's name may be a path.
    path = f"{model}/{FOLDER}/{name.removeprefix(f'{model}--')}.yaml"
    write_atomic(folder / path, _yaml(run, spec, document, options))
    return path


def _score(run: RunFolder, spec: RunSpec, options: HubOptions) -> dict[str, Any]:
    scores = {str(document["judge"]): document for document in run.scores()}
    task = known_task(spec.task.name, options.include_path)
    if options.judge:
        own = [options.judge]
    elif task is not None:
        own = [name for name in (task.judge, task.judge_fallback) if name]
    else:
        own = list(scores)  # `_check` refuses such a run
    for name in (*judges_of(run, options.judge, task), *scores):
        if name in scores and (name in own or bare(name) in own):
            return scores[name]
    raise UsageError(
        f"{run.path}: no score by {' or '.join(map(repr, own)) or 'any judge'}; run: vsr1-bench "
        f"judge {run.path}, or name a judge that has scored it by --judge"
    )


def _check(run: RunFolder, spec: RunSpec, document: dict[str, Any], options: HubOptions) -> None:
    """Refuse what is not the result of a model on a whole data set of the hub."""
    rates, (metric, value) = document["rates"], _headline(document)
    problem = None
    if spec.variant != NONE:
        problem = f"a blind run ({spec.variant}) is not a result of its benchmark"
    elif not _HUB_ID.fullmatch(spec.data.id):
        problem = f"its rows ({spec.data.id}) are not a data set of the hub"
    elif known_task(spec.task.name, options.include_path) is None:
        problem = f"task {spec.task.name!r} is unknown here; give its folder by --include_path"
    elif notes := run_notes(run, options.include_path):
        problem = notes[0]
    elif value.get("unit") == "own":
        problem = f"its {metric} is in a unit of its own, not a share"
    elif rates["total"] != (asked := run.wanted() * spec.responses_per_sample):
        problem = (
            f"its score covers {rates['total']} of the {asked} responses; run: vsr1-bench score "
            f"{run.path}"
        )
    elif value["value"] is None or not rates["ranked"]:
        problem = f"only {rates['scored']} of {rates['total']} responses are scored"
    if problem is not None:
        raise UsageError(f"{run.path}: {problem}; no result file")


def _headline(document: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """A score's first metric is its headline."""
    metrics: dict[str, dict[str, Any]] = document["metrics"]
    return next(iter(metrics.items()))


def _yaml(run: RunFolder, spec: RunSpec, document: dict[str, Any], options: HubOptions) -> str:
    import yaml
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    metric, value = _headline(document)
    entry = EvalResultEntry(
        dataset_id=spec.data.id,
        task_id=options.task_ids.get(spec.task.name, "default"),
        value=round(100 * value["value"], 2),
        dataset_revision=spec.data.revision,
        date=run.meta().get("updated"),
        source_url=source_url(options.source),
        source_name="vsr1-bench bundle",
        notes=encodable(_notes(spec, document, metric, value)),
    )
    text: str = yaml.safe_dump(
        eval_result_entries_to_yaml([entry]), sort_keys=False, allow_unicode=True
    )
    return text


def _notes(spec: RunSpec, document: dict[str, Any], metric: str, value: dict[str, Any]) -> str:
    rates = document["rates"]
    words = [
        f"vsr1-bench {__version__}",
        f"{spec.task.name} {document['version']}",
        metric,
        f"n={value['n']}",
        f"prompt {spec.prompt.format}",
        f"judge {published_judge(document['judge'])}",
        f"scored {rates['scored']}/{rates['total']}",
        f"unparsed {100 * rates['unparsed']:.1f} %",
    ]
    if value["low"] is not None:
        words.insert(3, f"95 % interval {100 * value['low']:.1f} to {100 * value['high']:.1f}")
    return ", ".join(words)
