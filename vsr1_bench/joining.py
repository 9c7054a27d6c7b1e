"""Joins what a run has stored: samples, responses, readings of their descriptions, verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Set
from pathlib import Path

from vsr1_bench.answers import extract, mark_tags, states_answer
from vsr1_bench.errors import DamagedRunError
from vsr1_bench.readers import ReaderSpec, description_in, perception_key
from vsr1_bench.records import Generation, ImagePlace, Judgment, Sample, Verdict
from vsr1_bench.scoring.metrics import Response
from vsr1_bench.scoring.shortcuts import Seen
from vsr1_bench.store import RunFolder, uncollected


@uncollected
def join_responses(
    run: RunFolder, verdicts: Path, judged: dict[str, Judgment] | None = None
) -> list[Response]:
    """Join samples, generations and verdicts: one entry for each response that was asked for.

    Args:
        run: A stored run.
        verdicts: The judge's journal.
        judged: What stands in it, where that has been read already.
    """
    judged = run.judgments(verdicts) if judged is None else judged
    return [
        # Asked for and never made: another shard's, or the run ended early.
        Response(f"row {row}", {}, None, made=False)
        if known is None
        else _response(*known, generation, judged)
        for row, known, generation in _asked(run, run.placed_groups())
    ]


@uncollected
def join_readings(run: RunFolder, verdicts: Path, reader: ReaderSpec) -> list[Seen]:
    """Join both passes: one entry for each response that was asked for.

    A reading counts only for the very description that it was made of.

    Args:
        run: A stored run.
        verdicts: A judge's journal on the first pass; its verdicts on the second stand beside it.
        reader: Whose readings.
    """
    digest, captioned = reader.digest(), reader.descriptions == "caption"
    judged, perceptions = run.judgments(verdicts), run.perceptions()
    of_readings = run.judgments(run.perception_judgment_path(verdicts))
    captions = {c.sample_id: c for c in run.captions().values()} if captioned else {}
    seen = []
    samples, golds = run.samples(), "answer" not in run.withheld()
    for row, known, generation in _asked(run, run.placed_groups()):
        if known is None:
            seen.append(Seen(f"row {row}", {}, None))
            continue
        sample, groups = samples[known[0]], known[1]
        source = captions.get(sample.id) if captioned else generation
        if generation is None or generation.error is not None:
            seen.append(Seen(sample.id, groups, None))
            continue
        correct = _correct(judged.get(generation.key))
        if source is None or source.error is not None:
            # A sample without an image has no caption; one whose caption failed may have one yet.
            shown = any(isinstance(part, ImagePlace) for part in sample.question)
            described = None if source is not None or shown else False
            seen.append(Seen(sample.id, groups, correct, described))
            continue
        description = description_in(source.text, reader.descriptions, reader.thinking_tags)
        if description is None:
            seen.append(Seen(sample.id, groups, correct, False))
            continue
        perception = perceptions.get(perception_key(source.key, digest, description))
        read = perception is not None and perception.error is None
        sufficient = _correct(of_readings.get(perception.key)) if perception and read else None
        cut = perception is not None and perception.truncated
        said = mark_tags(generation.text, reader.thinking_tags)
        leaks = _leaks(sample, said, description) if golds else None
        seen.append(Seen(sample.id, groups, correct, True, sufficient, leaks, cut))
    return seen


Known = tuple[str, dict[str, str]]
"""A sample's id and groups."""


def _asked(
    run: RunFolder, placed: dict[int, Known]
) -> Iterator[tuple[int, Known | None, Generation | None]]:
    """Yield (place in the data, sample, response) for every response that was asked for."""
    left_out, per_sample = run.left_out(), run.spec().responses_per_sample
    made = run.generations().values()
    check_asked(run, {name for name, _ in placed.values()}, {g.sample_id for g in made})
    found = {(g.sample_id, g.index): g for g in made}
    for row in range(run.wanted()):
        if row in left_out:
            continue
        known = placed.get(row)
        for index in range(per_sample):
            yield row, known, found.get((known[0], index)) if known else None


def check_asked(run: RunFolder, asked: Set[str], answered: Set[str]) -> None:
    """See to it that a run holds the samples that its responses answer.

    Raises:
        DamagedRunError: `samples.jsonl` has lost some.
    """
    if lost := sorted(answered - asked):
        raise DamagedRunError(
            f"{run.path / 'samples.jsonl'}: lacks {len(lost)} of the samples that have responses "
            f"(first {lost[0]!r:.60}); restore it from a copy, or run the command that made this "
            "run again",
            run.path,
        )


def _response(
    sample_id: str,
    groups: dict[str, str],
    generation: Generation | None,
    judged: dict[str, Judgment],
) -> Response:
    if generation is None:
        return Response(sample_id, groups, None)
    if generation.error is not None:
        return Response(sample_id, groups, None, failed=True)
    judgment = judged.get(generation.key)
    verdict = judgment.verdict if judgment else Verdict("unscored", reason="not judged")
    correct = None
    if verdict.outcome != "unscored":
        correct = (
            verdict.score if verdict.score is not None else float(verdict.outcome == "correct")
        )
    return Response(
        sample_id,
        groups,
        correct,
        extracted=verdict.extracted,
        truncated=generation.truncated,
        unparsed=verdict.unparsed,
    )


def _correct(judgment: Judgment | None) -> bool | None:
    """A verdict as yes or no (a graded one is yes at full marks); None where there is none."""
    if judgment is None or judgment.verdict.outcome == "unscored":
        return None
    return judgment.verdict.outcome == "correct"


def _leaks(sample: Sample, response: str, description: str) -> bool:
    final = extract(response, sample.answer_type, sample.choices).value
    finals = (final, sample.answer)
    return states_answer(description, sample.answer_type, sample.choices, finals)
