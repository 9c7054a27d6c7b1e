"""Runs as logs of inspect_ai (`.eval`), written through its own API.

One log per run; each judge is a scorer, and each response an epoch of its sample. Accuracy is
recomputed by inspect from the verdicts and compared with ours. What has no verdict has no value:
a failed response is an error, and an unscored one `Score.unscored`.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vsr1_bench._util.installing import install_command
from vsr1_bench._util.progress import progress_bar
from vsr1_bench._util.version import __version__
from vsr1_bench.errors import UsageError
from vsr1_bench.export.samples import ExportedRun, ExportedSample
from vsr1_bench.export.text import all_encodable, encodable
from vsr1_bench.generation.images import ImageError, data_url
from vsr1_bench.leaderboard.collect import current_score
from vsr1_bench.prompts.formats import FORMATS, build_messages
from vsr1_bench.publish.bundle import image_kind
from vsr1_bench.records import EncodedImage, ImagePlace, Message, Part
from vsr1_bench.store.journal import replacing

MISSING_PACKAGE = f"--format inspect needs inspect_ai: {install_command('inspect')}"
_MEDIA = {"png": "png", "jpg": "jpeg", "gif": "gif", "webp": "webp"}
"""Kinds of images that every browser shows; others are written as PNG."""
_LARGEST = 4_194_304
_WITHHELD = "(withheld: the run was published without its questions)"
_EQUAL = 1e-9

Row = dict[str, Any]


def check_package() -> None:
    """Check that inspect_ai is installed.

    Raises:
        UsageError: it is not; says how to install it.
    """
    try:
        import inspect_ai.log  # noqa: F401 - only whether it is there
    except ImportError as error:
        raise UsageError(MISSING_PACKAGE) from error


def write_log(run: ExportedRun, path: Path, *, progress: bool = True) -> None:
    """Write the log of a run. Its samples are held in memory, images included.

    Args:
        run: An open run.
        path: The file, which ends in `.eval`; it appears only complete.
        progress: Show a bar.

    Raises:
        DamagedRunError: the run cannot be read.
        StoreError: the file cannot be written.
    """
    from inspect_ai.log import write_eval_log

    log = _log(run, progress=progress)
    with replacing(path, path.suffix) as part:
        write_eval_log(log, str(part), format="eval")


def _log(run: ExportedRun, *, progress: bool) -> Any:
    from inspect_ai.log import EvalLog, recompute_metrics

    with progress_bar(len(run), f"export {run.spec.task.name}", "sample", shown=progress) as bar:
        samples: list[Any] = []
        for sample in run.samples():
            samples += _epochs(run, sample)
            bar.update()
    meta = run.run.meta()
    made = [one for one in samples if one.error is None]
    wanted = (run.run.wanted() - len(run.located.left_out)) * run.located.per_sample
    log = EvalLog(
        status="success" if len(samples) == wanted else "cancelled",
        eval=_spec(run, meta, [one.id for one in samples]),
        samples=samples,
    )
    log.stats.started_at = _time(meta.get("created"))
    log.stats.completed_at = _time(meta.get("updated"))
    log.stats.model_usage = _total(one.model_usage for one in samples)
    recompute_metrics(log)
    assert log.results is not None
    log.results.total_samples, log.results.completed_samples = wanted, len(made)
    scores = {document["judge"]: document for document in map(current_score, run.run.scores())}
    for score in log.results.scores:
        # An older score does not cover the responses that were made since.
        if score.name in scores and scores[score.name]["rates"]["total"] == wanted:
            _add_ours(score, all_encodable(scores[score.name]))
    return log


def _spec(run: ExportedRun, meta: Mapping[str, Any], ids: Sequence[str]) -> Any:
    from inspect_ai.log import EvalConfig, EvalDataset, EvalSpec
    from inspect_ai.model import GenerateConfig

    spec, each = run.spec, run.located.per_sample
    sampling = spec.sampling
    config = GenerateConfig()
    if sampling is not None:
        config = GenerateConfig(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k if sampling.top_k >= 0 else None,
            max_tokens=sampling.max_tokens,
            stop_seqs=list(sampling.stop) or None,
            seed=sampling.seed,
            system_message=spec.prompt.system,
        )
    told = {
        "created": _time(meta.get("created")),
        "task": spec.task.name,
        "task_id": run.digest[:22],
        "run_id": run.digest[:22],
        "task_version": spec.task.version,
        "model": spec.model.id,
        "packages": {"vsr1_bench": __version__} | dict(meta.get("versions") or {}),
        "metadata": {
            "spec": spec.model_dump(mode="json"),
            "spec_hash": run.digest,
            "readers": [reader.model_dump(mode="json") for reader in run.readers],
            "withheld": list(run.withheld),
            "left_out": {str(row): why for row, why in run.located.left_out.items()},
            "limit": meta.get("limit"),
        },
    }
    return EvalSpec(
        **all_encodable(told),
        dataset=EvalDataset(
            name=spec.data.id, samples=run.run.wanted(), sample_ids=list(dict.fromkeys(ids))
        ),
        model_generate_config=config,
        config=EvalConfig(epochs=each, epochs_reducer=["mean"], fail_on_error=False),
        scorers=[_scorer(run, judge) for judge in run.judges],
    )


def _scorer(run: ExportedRun, judge: str) -> Row:
    """A judge as an `EvalScorer`, with what inspect computes of its verdicts."""
    clustered = {"cluster": "cluster"} if run.task is not None and run.task.cluster else {}
    metrics = [
        {"name": "inspect_ai/accuracy"},
        {"name": "inspect_ai/stderr", "options": clustered},
    ]
    return {"name": encodable(judge), "metrics": metrics}


def _add_ours(score: Any, document: Row) -> None:
    """Add our intervals and metrics to what inspect has computed of a judge's verdicts."""
    from inspect_ai.log import EvalMetric

    for name, value in document["metrics"].items():
        if value["value"] is None:
            continue
        ours = {"low": value["low"], "high": value["high"], "level": 0.95, "n": value["n"]}
        ours["unit"] = value.get("unit", "share")
        known = score.metrics.get(name)
        if known is None:
            score.metrics[name] = EvalMetric(name=name, value=value["value"], metadata=ours)
            continue
        if not abs(known.value - value["value"]) <= _EQUAL:  # also if inspect has no number
            if not math.isnan(known.value):
                ours["inspect_value"] = known.value
            known.value = value["value"]
        known.metadata = ours
    notes = [document.get("footnote"), *document.get("notes", ())]
    score.metadata = {"rates": document["rates"], "notes": [note for note in notes if note]}


def _epochs(run: ExportedRun, sample: ExportedSample) -> Iterator[Any]:
    """The responses of a sample; one that was never made is no sample of the log."""
    shown = [_image_url(image) for image in sample.images]
    asked = _asked(run, sample, shown)
    for response in sample.responses:
        if response is not None:
            yield _epoch(run, sample, response, asked)


def _epoch(run: ExportedRun, sample: ExportedSample, response: Row, asked: Sequence[Any]) -> Any:
    from inspect_ai.log import EvalError, EvalSample
    from inspect_ai.model import ChatCompletionChoice, ChatMessageAssistant, ModelOutput

    model, failed = run.spec.model.id, response["error"] is not None
    answer = ChatMessageAssistant(content=response["text"], model=model, source="generate")
    usage = _usage(response)
    choice = ChatCompletionChoice(message=answer, stop_reason=_stop_reason(response))
    return EvalSample(
        id=quote(sample.id, safe=" ()[]{},;=+@!"),  # it names a file in the log
        epoch=response["index"] + 1,
        input=list(asked),
        choices=sample.choices,
        target=sample.answer or "",
        messages=[*asked, *([] if failed else [answer])],
        output=ModelOutput(
            model=model,
            choices=[] if failed else [choice],
            usage=usage,
            time=response["seconds"],
            error=response["error"],
        ),
        scores=None if failed else _scores(run, response),
        metadata=_metadata(run, sample, response),
        model_usage=_usages(run, response),
        completed_at=_time(response["created"]) if response["created"] else None,
        total_time=response["seconds"],
        error=EvalError(message=response["error"], traceback="", traceback_ansi="")
        if failed
        else None,
    )


def _scores(run: ExportedRun, response: Row) -> Row | None:
    from inspect_ai.scorer import CORRECT, INCORRECT, Score

    found = {}
    for judge, told in zip(run.judges, response["judgments"], strict=True):
        if told is None:
            continue
        more = {
            "answer": told["extracted"],
            "explanation": told["raw"] or told["reason"] or told["label"],
            "metadata": {
                name: told[name]
                for name in ("reason", "label", "unparsed", "rule", "model", "prompt", "cost")
            },
        }
        if told["outcome"] == "unscored":
            found[judge] = Score.unscored(reason=told["reason"] or "unscored", **more)
            continue
        value = CORRECT if told["outcome"] == "correct" else INCORRECT
        found[judge] = Score(value=value if told["score"] is None else told["score"], **more)
    return found or None


def _metadata(run: ExportedRun, sample: ExportedSample, response: Row) -> Row:
    passes = [
        {
            "reader": reader.label,
            **{name: told[name] for name in ("description", "text", "error", "finish_reason")},
            "verdicts": {
                judge: None
                if one is None
                else {name: one[name] for name in ("outcome", "extracted", "reason")}
                for judge, one in zip(run.judges, told["judgments"], strict=False)
            },
        }
        for reader, told in zip(run.readers, response["readings"], strict=True)
        if told is not None
    ]
    key = run.task.cluster if run.task else None
    facts = {name: response[name] for name in ("seed", "finish_reason", "created", "caption")}
    return {
        "sample_id": sample.id,
        "row": sample.row,
        "answer_type": sample.answer_type,
        "groups": sample.groups,
        "cluster": sample.groups.get(key, sample.id) if key else sample.id,
        "image_sha256": sample.hashes,
        "withheld": list(run.withheld),
        "second_pass": passes,
        **facts,
    }


def _asked(run: ExportedRun, sample: ExportedSample, shown: Sequence[str | None]) -> list[Any]:
    """The messages of the first pass; the question alone if the prompt cannot be rebuilt."""
    from inspect_ai.model import ChatMessageSystem, ChatMessageUser

    if sample.question is None:
        return [ChatMessageUser(content=_WITHHELD)]
    prompt, native = run.spec.prompt, run.task.native_prompt if run.task else None
    fmt = FORMATS.get(prompt.format)
    messages: tuple[Message, ...] = (Message("user", sample.asked.question),)
    if fmt is not None and fmt.digest(native) == prompt.hash:
        messages = build_messages(sample.asked, fmt, native=native, system=prompt.system)
    placed = {
        part.index for one in messages for part in one.content if isinstance(part, ImagePlace)
    }
    unplaced = tuple(ImagePlace(n) for n in range(len(shown)) if n not in placed)
    # Images of options: where they were is not part of a run's records.
    last = messages[-1]
    messages = (*messages[:-1], Message(last.role, (*last.content, *unplaced)))
    kinds = {"system": ChatMessageSystem, "user": ChatMessageUser}
    return [
        kinds.get(one.role, ChatMessageUser)(content=[_content(p, shown) for p in one.content])
        for one in messages
    ]


def _content(part: Part, shown: Sequence[str | None]) -> Any:
    from inspect_ai.model import ContentImage, ContentText

    if isinstance(part, str):
        return ContentText(text=part)
    url = shown[part.index] if part.index < len(shown) else None
    if url is None:
        return ContentText(text=f"(image {part.index + 1} is not in this log)")
    return ContentImage(image=url)


def _image_url(content: bytes | None) -> str | None:
    if content is None:
        return None
    kind = _MEDIA.get(image_kind(content) or "")
    if kind is not None:
        return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
    try:
        return data_url(EncodedImage(content), 1, _LARGEST)
    except ImageError:
        return None


def _stop_reason(response: Row) -> str:
    return {"stop": "stop", "length": "max_tokens"}.get(response["finish_reason"], "unknown")


def _usage(told: Row) -> Any:
    """Tokens; None if the backend did not report any."""
    from inspect_ai.model import ModelUsage

    counts = told["prompt_tokens"], told["completion_tokens"]
    if counts == (None, None):
        return None
    read, written = (count or 0 for count in counts)
    return ModelUsage(input_tokens=read, output_tokens=written, total_tokens=read + written)


def _usages(run: ExportedRun, response: Row) -> dict[str, Any]:
    """Model -> tokens of the response, its readings and their judging."""
    readings = [
        (reader.model, told)
        for reader, told in zip(run.readers, response["readings"], strict=True)
        if told is not None
    ]
    judged = [*response["judgments"], *(one for _, told in readings for one in told["judgments"])]
    spent = [(run.spec.model.id, response), *readings]
    spent += [(told["model"], told) for told in judged if told is not None and told["model"]]
    return _total({name: usage} for name, told in spent if (usage := _usage(told)) is not None)


def _total(usages: Iterator[dict[str, Any]]) -> dict[str, Any]:
    total: dict[str, Any] = {}
    for one in usages:
        for name, usage in one.items():
            total[name] = total[name] + usage if name in total else usage
    return total


def _time(text: Any) -> str:
    """A stored time as inspect takes it; now, if it is none."""
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        found = datetime.now(UTC)
    return found.astimezone(UTC).isoformat(timespec="seconds")
