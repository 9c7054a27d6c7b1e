"""Join the stored records of a run: samples, responses, readings, verdicts."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path

from vsr1_bench._util.garbage import without_gc
from vsr1_bench.answers import extract, mark_tags, states_answer
from vsr1_bench.perception.reader import ReaderSpec, description_in, perception_key
from vsr1_bench.records import Generation, ImagePlace, Judgment, Perception, Sample
from vsr1_bench.scoring.metrics import Response
from vsr1_bench.scoring.shortcuts import Seen
from vsr1_bench.store.journal_index import OutputSummary, VerdictSummary, check_asked
from vsr1_bench.store.run_folder import RunFolder

MISSING, WHOLE, TRUNCATED, FAILED = range(4)
"""States of a response."""
_MARKS = {"correct": 1.0, "incorrect": 0.0}


@without_gc()
def join_responses(run: RunFolder, verdicts: Path) -> list[Response]:
    """Join samples, generations and verdicts: one entry for each response that was asked for.

    No text is read into memory (see `journal_index`), and no verdict is held twice.

    Args:
        run: A stored run.
        verdicts: The judge's journal.
    """
    return list(stream_responses(run, verdicts))


def stream_responses(run: RunFolder, verdicts: Path) -> Iterator[Response]:
    """Yield the entries of `join_responses`, in data order."""
    table = _Table(run)
    for verdict in run.verdict_summaries(verdicts):
        table.judge(verdict)
    return table.responses()


class _Table:
    """A run's responses by their place, in columns: a row of objects each would be far larger."""

    def __init__(self, run: RunFolder) -> None:
        """Read the samples that were asked for and the responses to them."""
        self._n, wanted = run.spec().responses_per_sample, run.wanted()
        self._skipped: set[int] = set()
        self._ids: list[str | None] = [None] * wanted
        """Sample id by place in the data; None = the run never reached it."""
        self._groups: list[Mapping[str, str]] = [{}] * wanted
        self._numbers_by_row = array("q", bytes(8 * wanted))
        """Number of the sample at each place, from which the positions in the columns follow."""
        self._numbers: dict[str, int] = {}
        """Sample id -> its number."""
        self._read_places(run)
        size = len(self._numbers) * self._n
        self._keys: list[str | None] = [None] * size
        self._states = bytearray(size)
        self._verdicts: list[VerdictSummary | None] = [None] * size
        self._position_of: dict[str, int] = {}
        """Key -> its position in the columns, of those that count."""
        unknown = {made.sample_id for made in run.output_summaries() if not self._add(made)}
        if unknown:
            check_asked(run.path, self._numbers.keys(), self._numbers.keys() | unknown)
        self._shared: dict[tuple[object, ...], VerdictSummary] = {}

    def _read_places(self, run: RunFolder) -> None:
        groups: dict[str, str] = {}  # each text once: every record has its own copy
        share = groups.setdefault
        for place in run.places():
            if place.skipped is not None:
                self._skipped.add(place.row)
                continue
            assert place.id is not None and place.groups is not None
            number = self._numbers.setdefault(place.id, len(self._numbers))
            if 0 <= place.row < len(self._ids):
                self._ids[place.row], self._numbers_by_row[place.row] = place.id, number
                if place.groups:
                    self._groups[place.row] = {n: share(g, g) for n, g in place.groups.items()}

    def _add(self, made: OutputSummary) -> bool:
        """Add a response. For each sample and index, the last key counts, and its last record.

        Returns:
            Whether its sample is known.
        """
        number = self._numbers.get(made.sample_id)
        if number is None:
            return False
        if made.index >= self._n:
            return True
        at = number * self._n + made.index
        if made.key not in self._position_of:
            self._position_of[made.key] = at
            self._keys[at] = made.key
        elif self._keys[at] != made.key or (made.failed and self._states[at] != FAILED):
            return True  # another key has come since, or a failure after a success
        self._states[at] = FAILED if made.failed else TRUNCATED if made.truncated else WHOLE
        return True

    def judge(self, verdict: VerdictSummary) -> None:
        """Add a verdict; the last one on a key counts."""
        at = self._position_of.get(verdict.key)
        if at is None or self._keys[at] != verdict.key:
            return
        # Most verdicts are alike but for their key.
        alike = (verdict.outcome, verdict.score, verdict.extracted, verdict.unparsed)
        self._verdicts[at] = self._shared.setdefault(alike, verdict)

    def responses(self) -> Iterator[Response]:
        """Yield an entry for each response asked for, in data order; the table is used up."""
        self._position_of, self._numbers, self._shared, self._keys = {}, {}, {}, []
        for row, known in enumerate(self._ids):
            if row in self._skipped:
                continue
            for index in range(self._n):
                if known is None:
                    # Asked for and never made: another shard's, or the run ended early.
                    yield Response(f"row {row}", {}, None, made=False)
                    continue
                at = self._numbers_by_row[row] * self._n + index
                yield _response(known, self._groups[row], self._states[at], self._verdicts[at])


@without_gc()
def join_readings(run: RunFolder, verdicts: Path, reader: ReaderSpec) -> list[Seen]:
    """Join both passes: one entry for each response that was asked for.

    A reading counts only for the description that it was made from.

    Args:
        run: A stored run.
        verdicts: A judge's journal on the first pass; its verdicts on the second are beside it.
        reader: Whose readings.
    """
    digest, captioned = reader.digest(), reader.descriptions == "caption"
    judged, perceptions = run.judgments(verdicts), run.perceptions()
    of_readings = run.judgments(run.perception_judgment_path(verdicts))
    captions = captions_of(run, perceptions, digest) if captioned else {}
    seen = []
    has_answers = "answer" not in run.withheld()
    for row, sample, generation in _asked(run, run.placed_samples()):
        if sample is None:
            seen.append(Seen(f"row {row}", {}, None))
            continue
        groups = dict(sample.groups)
        source = captions.get(sample.id) if captioned else generation
        if generation is None or generation.error is not None:
            seen.append(Seen(sample.id, groups, None))
            continue
        correct = _correct(judged.get(generation.key))
        if source is None or source.error is not None:
            # A sample without an image has no caption; a failed caption can still be generated.
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
        text = mark_tags(generation.text, reader.thinking_tags)
        leaks = _leaks(sample, text, description) if has_answers else None
        seen.append(Seen(sample.id, groups, correct, True, sufficient, leaks, cut))
    return seen


def captions_of(
    run: RunFolder, perceptions: Mapping[str, Perception], reader: str
) -> dict[str, Generation]:
    """Sample -> its caption; of several, at different temperatures, the one that is read.

    Args:
        run: A stored run.
        perceptions: Its readings.
        reader: The digest of the reader.
    """
    read = {one.source for one in perceptions.values() if one.reader == reader}
    captions = run.captions().values()
    ordered = sorted(captions, key=lambda one: (one.error is None, one.key in read))
    return {one.sample_id: one for one in ordered}


def _asked(
    run: RunFolder, placed: dict[int, Sample]
) -> Iterator[tuple[int, Sample | None, Generation | None]]:
    """Yield (position in the data, sample, response) for every response that was asked for."""
    skipped, per_sample = run.skipped(), run.spec().responses_per_sample
    made = run.generations().values()
    check_asked(run.path, {sample.id for sample in placed.values()}, {g.sample_id for g in made})
    found = {(g.sample_id, g.index): g for g in made}
    for row in range(run.wanted()):
        if row in skipped:
            continue
        sample = placed.get(row)
        for index in range(per_sample):
            yield row, sample, found.get((sample.id, index)) if sample else None


def _response(
    sample_id: str, groups: Mapping[str, str], state: int, verdict: VerdictSummary | None
) -> Response:
    if state in (MISSING, FAILED) or verdict is None:
        truncated = state == TRUNCATED
        return Response(sample_id, groups, None, truncated=truncated, failed=state == FAILED)
    correct = None
    if verdict.outcome != "unscored":
        correct = verdict.score if verdict.score is not None else _MARKS[verdict.outcome]
    return Response(
        sample_id,
        groups,
        correct,
        extracted=verdict.extracted,
        truncated=state == TRUNCATED,
        unparsed=verdict.unparsed,
    )


def _correct(judgment: Judgment | None) -> bool | None:
    """A verdict as a bool (a grade counts as True only at full marks); None if there is none."""
    if judgment is None or judgment.verdict.outcome == "unscored":
        return None
    return judgment.verdict.outcome == "correct"


def _leaks(sample: Sample, response: str, description: str) -> bool:
    final = extract(response, sample.answer_type, sample.choices).value
    finals = (final, sample.answer)
    return states_answer(description, sample.answer_type, sample.choices, finals)
