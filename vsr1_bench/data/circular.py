"""CircularEval: the same questions with their options in every other order of a rotation.

A question with k options is asked k times, and counts as right only if all k answers are (MMBench,
arXiv 2307.06281). The ordinary run asks the first order; the run of variant `circular` asks the
other k - 1, each as a sample of its own. Which samples those are depends on the data alone, so a
larger `--limit` continues the run.
"""

from __future__ import annotations

import re
from dataclasses import replace

from vsr1_bench._util.progress import progress_bar
from vsr1_bench.data.dataset import TaskData
from vsr1_bench.data.selection import SelectedData
from vsr1_bench.records import LETTERS, Sample

CIRCULAR = "circular"
"""`RunSpec.variant` of the run."""
QUESTION = "circular_of"
"""Group of a rotated sample: the id of its question."""
ROTATION = "rotation"
"""Group of a rotated sample: `1/4` = the first of the other orders of four options."""
NO_OPTIONS = "no options"
FIXED_OPTIONS = "its options are written in the question or in the image"
NO_GOLD = "its gold answer is none of its options"
REFERS = "an option names others by their letters"

_LETTER = r"\(?[A-Z]\)?"
_OF_LETTERS = re.compile(
    rf"(?:(?i:both|either|neither|only|all) )?{_LETTER}"
    rf"(?:(?:, and|,| and| or| nor| &) {_LETTER})+\.?"
)


def fixed(sample: Sample) -> str | None:
    """Why the options of a sample cannot change places; None if they can."""
    if not sample.choices or len(sample.choices) < 2:
        return NO_OPTIONS
    if sample.choices_in_image:
        return FIXED_OPTIONS
    if sample.answer not in LETTERS[: len(sample.choices)] or len(sample.answer) != 1:
        return NO_GOLD
    if any(_OF_LETTERS.fullmatch(text.strip()) for text in sample.choices):
        return REFERS
    return None


def rotated(sample: Sample, by: int) -> Sample:
    """The sample with its options moved `by` places to the front, as a sample of its own.

    Args:
        sample: One that is not `fixed`.
        by: From 1 to the number of options less one.
    """
    choices, parts = sample.choices, sample.choice_parts
    assert choices is not None
    gold = (LETTERS.index(sample.answer) - by) % len(choices)
    return replace(
        sample,
        id=f"{sample.id}@{by}",
        answer=LETTERS[gold],
        choices=choices[by:] + choices[:by],
        choice_parts=parts and parts[by:] + parts[:by],
        groups={**sample.groups, QUESTION: sample.id, ROTATION: f"{by}/{len(choices)}"},
    )


def shown_rotated(place: int, sample: Sample) -> Sample | str:
    """The variant of a run: a sample of `CircularData`, or why it is skipped."""
    return sample if QUESTION in sample.groups else str(fixed(sample))


class CircularData(SelectedData):
    """The other orders of a task's questions, one after another.

    A question whose options cannot change places has one place, at which it is skipped.
    """

    def __init__(self, data: TaskData, questions: int | None, *, progress: bool = True) -> None:
        """Read the first questions once, to count their options.

        Args:
            data: The questions.
            questions: How many of them; None = all.
            progress: Show a bar.

        Raises:
            TaskError: none of the first rows can be mapped.
        """
        wanted = len(data) if questions is None else min(questions, len(data))
        orders = [0] * wanted
        bar = progress_bar(wanted, f"options {data.task.name}", "row", shown=progress)
        with bar:
            for place, sample in data.placed_samples(wanted, unusable=lambda places, error: None):
                if sample.choices and fixed(sample) is None:
                    orders[place] = len(sample.choices) - 1
                bar.update()
        self._last: tuple[int, Sample] | None = None
        self.rotatable = sum(count > 0 for count in orders)
        """Questions whose options can change places."""
        # A question that is skipped or cannot be read keeps one place, with rotation 0.
        self._by = [by for count in orders for by in (range(1, count + 1) if count else (0,))]
        super().__init__(
            data, [place for place, count in enumerate(orders) for _ in range(max(1, count))]
        )

    def sample(self, place: int) -> Sample:
        """The sample at a place: an order of a question."""
        question = self._places[place]
        if self._last is None or self._last[0] != question:  # orders of a question come together
            self._last = question, super().sample(place)
        sample = self._last[1]
        return rotated(sample, self._by[place]) if self._by[place] else sample
