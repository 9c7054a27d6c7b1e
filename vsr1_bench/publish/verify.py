"""Verify that a folder from somebody else is the run that it claims to be."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from pydantic import ValidationError

from vsr1_bench.errors import ExchangeError, StoreError, UsageError
from vsr1_bench.judging.llm_replies import read_replies
from vsr1_bench.perception.reader import ReaderSpec
from vsr1_bench.publish.bundle import (
    FACTS,
    GOLD_ANSWERS,
    QUESTION,
    BundleRun,
    image_kind,
    strict_json,
)
from vsr1_bench.records import Sample
from vsr1_bench.registry import get_task
from vsr1_bench.scoring.circular import CIRCULAR_METRICS
from vsr1_bench.scoring.runs import score_document
from vsr1_bench.scoring.shortcuts import OVER_ALL
from vsr1_bench.store.dependences import read_dependences
from vsr1_bench.store.lines import meta_fault, score_fault
from vsr1_bench.store.run_folder import RunFolder
from vsr1_bench.store.spec import RunSpec
from vsr1_bench.task import Task

MAX_SAMPLES = 1_000_000
_KNOWN_META = {*FACTS, "spec", "spec_hash", "withheld"}
_MAY_BE_WITHHELD = {*GOLD_ANSWERS, *QUESTION}
# Characters that reverse the direction of text, so that a name reads as another.
_TURNING = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

COMPARED = (
    *("version", "prompt", "variant", "n", "metrics", "rates", "by"),
    *("judging", "perception", "blind", "circular"),
)
"""Fields of a score document that are computed from the run's records."""
BOUNDS = ("low", "high", "p_value")
"""Values that may depend on random draws of a library."""
SAME, ALIKE = 1e-9, 0.02
NOTHING = "nothing"

Difference = tuple[tuple[str, ...], Any, Any]
"""The path to a value, the stated value, and the recomputed one."""


def check_run(folder: Path, about: BundleRun, include_path: Sequence[str] = ()) -> None:
    """Check a run's files against each other and against what its bundle says of it.

    Raises:
        ExchangeError: names the file and what is wrong.
    """
    run = RunFolder(folder)
    spec = _check_meta(folder, about)
    try:
        samples = {sample.id: sample for sample in run.placed_samples().values()}
        _check_samples(run, samples, about)
        read = (run.generations(), run.captions(), run.perceptions(), read_dependences(run))
        for made in read:
            if {one.sample_id for one in made.values()} - samples.keys():
                raise ExchangeError(
                    f"{about.path}: responses to samples that it does not hold; refused"
                )
        for path in sorted(folder.glob("*judgments/*.jsonl")):
            _check_judgments(run, path, about)
        for path in sorted(folder.glob("replies/*.jsonl")):
            _check_replies(path, about)
        for path in sorted(folder.glob("readers/*.json")):
            _check_reader(path, about)
        check_scores(run, spec, _known_task(spec.task.name, include_path), about.path, include_path)
    except (StoreError, TypeError, AttributeError, ValueError, KeyError) as error:
        where = str(error).replace(f"{folder}/", "")
        raise ExchangeError(f"{about.path}: {where[:300]}; refused") from error
    for path in sorted(folder.glob("images/*")):
        data = path.read_bytes()
        if image_kind(data) != path.suffix[1:]:
            raise ExchangeError(f"{about.path}: images/{path.name} is not such an image; refused")


def _check_meta(folder: Path, about: BundleRun) -> RunSpec:
    meta = strict_json((folder / "run.json").read_bytes(), f"{about.path}/run.json")
    if fault := meta_fault(meta):
        raise ExchangeError(f"{about.path}/run.json: not a run's run.json ({fault}); refused")
    if unknown := sorted(meta.keys() - _KNOWN_META):
        raise ExchangeError(f"{about.path}/run.json: unknown field {unknown[0]!r}; refused")
    try:
        spec = RunSpec.model_validate(meta["spec"])
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ExchangeError(f"{about.path}/run.json: spec.{place}: {first['msg']}") from error
    named = (about.spec_hash, about.model, about.task, about.version)
    if named != (spec.digest(), spec.model.id, spec.task.name, spec.task.version):
        raise ExchangeError(f"{about.path}: its spec is not that of the manifest; refused")
    if meta.get("spec_hash") != spec.digest() or about.path != _path_of(spec):
        raise ExchangeError(f"{about.path}: its spec has another hash than its name; refused")
    _check_words(meta, f"{about.path}/run.json")
    samples, each = meta["samples"], spec.responses_per_sample
    counts = isinstance(samples, int) and not isinstance(samples, bool)
    if not counts or not 0 <= samples <= MAX_SAMPLES or samples * each > 10 * MAX_SAMPLES:
        raise ExchangeError(f"{about.path}: asks for {samples!r} samples; refused")
    withheld = meta.get("withheld", [])
    if not isinstance(withheld, list) or not set(map(str, withheld)) <= _MAY_BE_WITHHELD:
        raise ExchangeError(f"{about.path}/run.json: withheld {withheld!r}; refused")
    return spec


def _known_task(name: str, include_path: Sequence[str]) -> Task | None:
    try:
        return get_task(name, include_path)
    except UsageError:
        return None


def _path_of(spec: RunSpec) -> str:
    return RunFolder.of(Path("runs"), spec).path.as_posix()


def _check_words(value: Any, where: str) -> None:
    """Refuse names with terminal escapes or reversed text."""
    if isinstance(value, dict):
        for name, inner in value.items():
            _check_words(name, where)
            _check_words(inner, where)
    elif isinstance(value, list):
        for inner in value:
            _check_words(inner, where)
    elif isinstance(value, str):
        for sign in value:
            control = unicodedata.category(sign) in ("Cc", "Cs") and sign not in "\n\t"
            if control or sign in _TURNING:
                raise ExchangeError(f"{where}: a control character ({sign!r}) in a name; refused")


def _check_samples(run: RunFolder, samples: dict[str, Sample], about: BundleRun) -> None:
    empty = "answer" in run.withheld()
    for row, sample in run.placed_samples().items():
        texts = [sample.id, sample.answer, *sample.groups, *sample.groups.values()]
        texts += [*(sample.choices or ()), *(p for p in sample.question if isinstance(p, str))]
        if row < 0 or not all(isinstance(text, str) for text in texts):
            raise ExchangeError(f"{about.path}: row {row!r} is not a sample; refused")
        if empty and sample.answer:
            raise ExchangeError(
                f"{about.path}: row {row} has an answer that should be withheld; refused"
            )
        _check_words([sample.id, *sample.groups, *sample.groups.values()], f"{about.path}: {row}")
    skipped: dict[Any, Any] = run.skipped()
    for row, reason in skipped.items():
        if not isinstance(row, int) or not isinstance(reason, str):
            raise ExchangeError(f"{about.path}: row {row!r} is not a sample; refused")
        _check_words(reason, f"{about.path}: {row}")


def _check_judgments(run: RunFolder, path: Path, about: BundleRun) -> None:
    for judgment in run.judgments(path).values():
        score = judgment.verdict.score
        if score is not None and not 0 <= score <= 1:
            raise ExchangeError(
                f"{about.path}: judgments/{path.name}: score {score!r} is not from 0 to 1; refused"
            )


def _check_replies(path: Path, about: BundleRun) -> None:
    for reply in read_replies(path).values():
        completion: Any = reply.completion
        if not isinstance(completion.text, str) or not isinstance(completion.finish_reason, str):
            raise ExchangeError(f"{about.path}: replies/{path.name}: not a judge's reply; refused")


def _check_reader(path: Path, about: BundleRun) -> None:
    where = f"{about.path}/readers/{path.name}"
    document = strict_json(path.read_bytes(), where)
    fields = {"digest": str, "used": str, "spec": dict}
    if not isinstance(document, dict) or document.keys() != fields.keys():
        raise ExchangeError(f"{where}: not a reader's file; refused")
    _check_words(document, where)
    try:
        right = ReaderSpec.model_validate(document["spec"]).digest() == document["digest"]
    except ValidationError:
        right = False
    if not right or not isinstance(document["used"], str):
        raise ExchangeError(f"{where}: not a reader's file; refused")


def check_scores(
    run: RunFolder,
    spec: RunSpec,
    task: Task | None,
    where: str,
    include_path: Sequence[str] = (),
) -> None:
    """Compute a run's scores again from its verdicts, and compare them with those it states.

    If the task is unknown here, or has another version, its scores are not checked.

    Raises:
        ExchangeError: a score is invalid, or does not follow from its verdicts.
    """
    for path in sorted((run.path / "scores").glob("*.json")):
        name = f"{where}: scores/{path.name}"
        document = strict_json(path.read_bytes(), name)
        if fault := score_fault(document):
            raise ExchangeError(f"{name}: not a score ({fault}); refused")
        _check_words(document, name)
        named = (document["model"], document["task"], document["spec_hash"])
        if named != (spec.model.id, spec.task.name, spec.digest()):
            raise ExchangeError(f"{name}: the score of another run; refused")
        if task is not None and task.spec_version == spec.task.version:
            _compare(run, document, name, include_path)


def _compare(
    run: RunFolder, document: dict[str, Any], where: str, include_path: Sequence[str]
) -> None:
    judge = document["judge"]
    stated = Path(str(document.get("verdicts") or run.judged().get(str(judge), "none-"))).name
    if unquote(stated.removesuffix(".jsonl").rpartition("-")[0]) != judge:
        raise ExchangeError(f"{where}: its verdicts are not those of {judge!r:.60}; refused")
    verdicts = run.path / "judgments" / stated
    again = score_document(run, judge, include_path, verdicts=verdicts)
    again["version"] = document[
        "version"
    ]  # its second number is about reading: not done again here
    for path, stated_value, computed in differences(document, json.loads(json.dumps(again))):
        name = ".".join(path).removeprefix("metrics.").removesuffix(".value")
        raise ExchangeError(
            f"{where}: states {name} {stated_value!r:.60}, its verdicts give {computed!r:.60}; run "
            "`vsr1-bench score` before publishing; refused"
        )


def differences(stated: dict[str, Any], computed: dict[str, Any]) -> Iterator[Difference]:
    """Yield stated values that the records do not give.

    A number that is not stated is not an error: another version may have counted less. Blind and
    circular runs that are missing cannot be checked.
    """
    for name in COMPARED:
        claim, value = stated.get(name), computed.get(name)
        if name == "metrics" and isinstance(claim, dict):
            blind = computed.get("blind", {})
            claim = {n: v for n, v in claim.items() if not _of_blind(n) or _variant(n) in blind}
            if "circular" not in computed:
                claim = {n: v for n, v in claim.items() if n not in CIRCULAR_METRICS}
        if name == "circular" and value is None:
            continue
        if name == "blind" and isinstance(claim, dict):
            claim = {n: v for n, v in claim.items() if n in (value or {})} or None
        if claim is not None:
            yield from _between((name,), claim, value)


def _between(path: tuple[str, ...], claim: Any, value: Any) -> Iterator[Difference]:
    if path[-1] in OVER_ALL and isinstance(value, dict) and value.get("value", 0) is None:
        return  # an older version has counted 0 shortcuts where nothing was described
    if isinstance(claim, dict) and isinstance(value, dict):
        for name in sorted(claim):
            yield from _between((*path, name), claim[name], value.get(name, NOTHING))
    elif isinstance(claim, list) and isinstance(value, list) and len(claim) == len(value):
        for number, pair in enumerate(zip(claim, value, strict=True)):
            yield from _between((*path, str(number)), *pair)
    elif not _same(claim, value, ALIKE if path[-1] in BOUNDS else SAME):
        yield path, claim, value


def _same(claim: Any, value: Any, within: float) -> bool:
    """Whether two values are equal; numbers may differ by rounding on another machine."""
    if isinstance(claim, bool) or isinstance(value, bool):
        return claim is value
    if isinstance(claim, int | float) and isinstance(value, int | float):
        return abs(claim - value) <= within
    return bool(claim == value)


def _of_blind(metric: str) -> bool:
    return metric.startswith(("blind_accuracy[", "gain["))


def _variant(metric: str) -> str:
    return metric.partition("[")[2].removesuffix("]")
