"""The labelling sheet: which responses people label, and what they wrote.

The sheet has a random order and tells neither the model nor the verdict, so that people can stop
anywhere, and are not led. Its columns `population` and `weight` describe the draw.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vsr1_bench.calibration.units import Judged, Place
from vsr1_bench.errors import StoreError, UsageError
from vsr1_bench.perception.reader import description_in, perception_key
from vsr1_bench.scoring.join import captions_of

LEAST = 10
"""Labels drawn from a stratum, if it has as many responses."""
SHOWN = ("question", "choices", "gold_answer", "response", "label")
"""Columns for people; `description`, `reading` and `reading_label` follow if there are readings."""
SHOWN_READING = ("description", "reading", "reading_label")
DRAW = ("run", "task", "id", "index", "population", "weight", "drawn_by", "reader")
"""Columns for the command."""
WORDS = dict.fromkeys(("correct", "right", "true", "yes", "1", "1.0"), 1.0)
WORDS |= dict.fromkeys(("incorrect", "wrong", "false", "no", "0", "0.0"), 0.0)
UNSURE = ("unclear", "unsure", "skip", "?")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")
LONGEST = 30_000
"""Characters of a cell; spreadsheets truncate cells at 32,767."""


@dataclass(frozen=True, slots=True)
class Label:
    """What people said of one response; None = nothing, or unsure."""

    run: str
    place: Place
    population: int
    """Responses in its stratum when it was drawn."""
    drawn_by: str
    reader: str | None
    answer: float | None
    reading: float | None
    unsure: bool = False

    @property
    def silent(self) -> bool:
        """Whether nothing was written yet."""
        return self.answer is None and self.reading is None and not self.unsure


def shares(sizes: Sequence[int], wanted: int) -> list[int]:
    """How many labels each stratum gets: in proportion to the root of its size, at least `LEAST`.

    The root is between the two optima: equal numbers for the judge's errors, and proportional
    numbers for the corrected mean.
    """
    roots = np.sqrt(np.array(sizes, dtype=np.float64))
    parts = np.maximum(LEAST, np.rint(wanted * roots / roots.sum())).astype(int)
    return [min(size, int(part)) for size, part in zip(sizes, parts, strict=True)]


def drawn(run: Judged, wanted: int, rng: np.random.Generator) -> list[tuple[Place, int, float]]:
    """Draw responses of a run within the strata of its verdicts.

    Returns:
        Place, size of its stratum, and weight (the size by the number drawn) of each.
    """
    strata: dict[str, list[Place]] = defaultdict(list)
    for place in run.responses:
        if (cell := run.cell(place)) is not None:
            strata[cell].append(place)
    names = sorted(strata)
    if not names:
        return []
    counts = shares([len(strata[name]) for name in names], wanted)
    found = []
    for name, count in zip(names, counts, strict=True):
        places = strata[name]
        for at in rng.choice(len(places), count, replace=False):
            found.append((places[at], len(places), len(places) / count))
    return found


def make_sheet(runs: Sequence[Judged], wanted: int, seed: int) -> list[dict[str, Any]]:
    """The rows of a sheet, in random order; `wanted` labels for each run.

    Raises:
        StoreError: a run has no gold answers, or no verdicts.
    """
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for run in runs:
        if "answer" in run.run.withheld():
            raise StoreError(
                f"{run.run.path}: published without gold answers, which people need to "
                "label it; draw the sheet from the run where it was made"
            )
        picked = drawn(run, wanted, rng)
        if not picked:
            raise StoreError(f"{run.run.path}: {run.judge} has no verdict on any response")
        texts = _texts(run, {place for place, _, _ in picked})
        for place, population, weight in picked:
            draw = {
                "run": run.name,
                "task": run.task,
                "id": place[0],
                "index": place[1],
                "population": population,
                "weight": round(weight, 6),
                "drawn_by": run.judge,
                "reader": run.reader.digest() if run.reader else "",
            }
            rows.append({**texts[place], **draw})
    order = rng.permutation(len(rows))
    names = [*SHOWN, *(SHOWN_READING if any(run.reader for run in runs) else ()), *DRAW]
    return [{name: rows[at].get(name, "") for name in names} for at in order]


def _texts(run: Judged, places: set[Place]) -> dict[Place, dict[str, str]]:
    """What people read of each response."""
    ids = {sample_id for sample_id, _ in places}
    samples = {s.id: s for s in run.run.stream_samples() if s.id in ids}
    captions = {}
    perceptions = run.run.perceptions() if run.reader is not None else {}
    if run.reader is not None and run.reader.descriptions == "caption":
        captions = captions_of(run.run, perceptions, run.reader.digest())
    texts = {}
    for made in run.run.generations().values():
        place = made.sample_id, made.index
        if place not in places:
            continue
        sample = samples[made.sample_id]
        choices = enumerate(sample.choices or ())
        text = {
            "question": sample.question_text,
            "choices": "\n".join(f"{chr(65 + i)}. {choice}" for i, choice in choices),
            "gold_answer": sample.answer,
            "response": made.text,
            "label": "",
        }
        source = captions.get(made.sample_id) if captions else made
        if run.reader is not None and source is not None:
            tags = run.reader.thinking_tags
            description = description_in(source.text, run.reader.descriptions, tags)
            if description is not None:
                key = perception_key(source.key, run.reader.digest(), description)
                read = perceptions.get(key)
                text |= {"description": description, "reading_label": ""}
                text["reading"] = "" if read is None else read.text
        texts[place] = text
    return texts


def write_sheet(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV, or as JSON lines if the name ends in `.jsonl`. It replaces no file.

    Raises:
        UsageError: the file exists or cannot be written.
    """
    if path.suffix == ".jsonl":
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    else:
        out = io.StringIO(newline="")
        writer = csv.writer(out, lineterminator="\r\n")
        writer.writerow(rows[0])
        writer.writerows([csv_cell(value) for value in row.values()] for row in rows)
        # Without the mark, spreadsheets do not read the file as UTF-8.
        text = "\ufeff" + out.getvalue()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            part.write_bytes(text.encode("utf-8", "replace"))
            os.link(part, path)  # fails if somebody's labels are there
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"--labels {path}: {error.strerror or error}") from error


def csv_cell(value: Any) -> Any:
    """A cell that no spreadsheet runs as a formula or truncates."""
    if not isinstance(value, str):
        return value
    text = value.replace("\0", "\N{REPLACEMENT CHARACTER}")
    if len(text) > LONGEST:
        half = LONGEST // 2
        text = f"{text[:half]}\n[… {len(text) - LONGEST:,} characters left out …]\n{text[-half:]}"
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


def read_sheet(path: Path) -> list[Label]:
    """Read a sheet that people have filled in; rows without a label count as not labelled.

    Raises:
        UsageError: the file cannot be read, or a row is wrong; with the file and the row.
    """
    return read_labels([path])


def read_labels(paths: Sequence[Path]) -> list[Label]:
    """Read sheets together: of several runs, or parts of one that several people filled in.

    Raises:
        UsageError: a file cannot be read, a row is wrong, or two rows say different things.
    """
    labels: dict[tuple[str, Place], Label] = {}
    for path in paths:
        for where, row in sheet_rows(path):
            one = _label(where, row)
            known = labels.setdefault((one.run, one.place), one)
            if (both := _together(known, one)) is None:
                raise UsageError(f"{where}: sample {one.place[0]!r} has two labels")
            labels[one.run, one.place] = both
    return list(labels.values())


def _together(known: Label, other: Label) -> Label | None:
    """What two rows say of one response, the answer and the reading each by itself.

    None = they say different things.
    """
    if known == other or other.silent:
        return known
    if known.silent:
        return other
    for one, two in ((known.answer, other.answer), (known.reading, other.reading)):
        if one is not None and two is not None and one != two:
            return None
    if known.unsure or other.unsure:
        return None
    return replace(
        known,
        answer=other.answer if known.answer is None else known.answer,
        reading=other.reading if known.reading is None else known.reading,
    )


def sheet_rows(path: Path) -> Iterable[tuple[str, dict[str, Any]]]:
    """The rows of a sheet as they are, each with its place in the file.

    Raises:
        UsageError: the file cannot be read.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--labels {path}: cannot be read as UTF-8 text ({error})") from error
    return _json_rows(path, text) if path.suffix == ".jsonl" else _csv_rows(path, text)


def _json_rows(path: Path, text: str) -> Iterable[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UsageError(f"{path}:{number}: not a line of JSON ({error})") from error
            if not isinstance(row, dict):
                raise UsageError(f"{path}:{number}: wanted an object with {', '.join(DRAW)}")
            yield f"{path}:{number}", row


def _csv_rows(path: Path, text: str) -> Iterable[tuple[str, dict[str, Any]]]:
    # Spreadsheets of some countries write semicolons.
    mark = max(",;\t", key=text.partition("\n")[0].count)
    before = csv.field_size_limit(1 << 24)
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline=""), delimiter=mark))
    except csv.Error as error:
        raise UsageError(f"--labels {path}: not a CSV file ({error})") from error
    finally:
        csv.field_size_limit(before)
    for number, row in enumerate(rows, 2):
        named = {name: value for name, value in row.items() if isinstance(name, str)}
        for name in ("id", "drawn_by"):
            value = named.get(name)
            if isinstance(value, str) and value.startswith("'"):
                named[name] = value[1:]
        yield f"{path}, row {number}", named


def _label(where: str, row: Mapping[str, Any]) -> Label:
    missing = [name for name in ("run", "id", "index", "population", "drawn_by") if name not in row]
    if missing:
        raise UsageError(
            f"{where}: no column {missing[0]!r}; give the sheet that `calibrate` wrote, with its "
            "columns kept"
        )
    try:
        index, population = (int(float(row[name])) for name in ("index", "population"))
    except (TypeError, ValueError, OverflowError):
        raise UsageError(f"{where}: `index` and `population` must be whole numbers") from None
    said = [_word(where, name, row.get(name)) for name in ("label", "reading_label")]
    return Label(
        run=str(row["run"]),
        place=(str(row["id"]), index),
        population=population,
        drawn_by=str(row["drawn_by"]),
        reader=str(row.get("reader") or "") or None,
        answer=WORDS.get(said[0]),
        reading=WORDS.get(said[1]),
        unsure=any(word in UNSURE for word in said),
    )


def plain_word(value: Any) -> str:
    """What a cell of a label says: `correct`, `incorrect`, `unclear`, or nothing."""
    word = "" if value is None else str(value).strip().lower()
    if word in UNSURE:
        return "unclear"
    return "" if word not in WORDS else "correct" if WORDS[word] else "incorrect"


def _word(where: str, name: str, value: Any) -> str:
    word = "" if value is None else str(value).strip().lower()
    if word and word not in WORDS and word not in UNSURE:
        raise UsageError(
            f"{where}: `{name}` is {word[:40]!r}; wanted correct or incorrect, unclear, or nothing"
        )
    return word
