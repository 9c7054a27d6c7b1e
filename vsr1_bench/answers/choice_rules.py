"""Rules for choices in a final region without an explicit final."""

from __future__ import annotations

from vsr1_bench.answers.choice import LONE, read_choice, read_choice_in_prose
from vsr1_bench.answers.normalize import MAX_ANSWER, fold, tidy
from vsr1_bench.answers.reading import AMBIGUOUS, NOTHING, Found, Reading, Said


def choice_in_region(said: Said) -> Found | None:
    """The first and last line, then the prose.

    Not: letters without a cue.
    """
    return Found(read_choice_in_region(said.text, said.choices), 0, len(said.text))


def read_choice_in_region(region: str, choices: tuple[str, ...] | None) -> Reading:
    """Read a final region without an explicit final: its first and last line, then its prose.

    A line that is nothing but a letter decides, if all such lines agree.
    """
    region = fold(region)
    lines = [line.strip() for line in region.split("\n") if line.strip()]
    if len(lines) == 1 and len(region) <= MAX_ANSWER:
        reading = read_choice(lines[0], choices)
        # Bold marks, which an answer's own reading strips, name a letter in prose.
        return read_choice_in_prose(region, choices) if reading == NOTHING else reading
    ends = [line for line in (*lines[:20], *lines[-20:]) if len(line) < 40]
    alone = {m[1] for line in ends if (m := LONE.match(tidy(line))) and m[1].isupper()}
    if len(alone) > 1:
        return AMBIGUOUS
    if alone:
        return read_choice(alone.pop(), choices)
    readings = [
        read_choice(lines[0], choices),
        read_choice(lines[-1], choices),
        read_choice_in_prose(region, choices),
    ]
    for reading in readings:
        if reading.problem not in ("", "no_answer"):
            return reading
    values = {reading.value for reading in readings if reading.value}
    if len(values) > 1:
        return AMBIGUOUS
    return Reading(values.pop()) if values else NOTHING
