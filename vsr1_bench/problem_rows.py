"""Rows of the layout problem / answer / images: the paper's own copies, and sets of one's own.

`problem` is the whole question, options included; its `<image>` marks take the images in order.
`images` is a list, one image or null; a column `image` is read too. Nothing says what kind of
answer a row wants, so it is read off the gold answer (`read_kind`).
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from vsr1_bench.answers import (
    is_bare_quantity,
    is_date,
    read_answer,
    read_options,
    same_text,
    tidy,
)
from vsr1_bench.errors import TaskError
from vsr1_bench.records import LETTERS, AnswerType, EncodedImage, Sample
from vsr1_bench.task import ROW_NUMBER, Copy, Row, Source, interleave

IMAGE_COLUMNS = ("images", "image")

_LONE = re.compile(r"\(?([A-Za-z])[).]?")
_LEADING_LETTER = re.compile(r"^\(?[A-Za-z][).:]\s*")
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{3}")
_FORMULA = re.compile(r"[\\^_={}$]")


def problem_row(
    row: Row,
    *,
    own_id: bool = True,
    extra: Mapping[str, Any] | None = None,
    wants: AnswerType | None = None,
) -> Sample:
    """Map a row of this layout.

    Args:
        row: Columns `problem`, `answer` and `images` or `image`; `id` and `options` where present.
        own_id: Use the row's own `id`. Without one the id is the row's number and a hash of its
            problem: unique, and never taken for a row of another data set.
        extra: `Sample.extra` of every row.
        wants: What every row wants, with the gold as it stands; None = as the gold says.

    Raises:
        TaskError: an answer that is no single value.
    """
    problem = row["problem"]
    given = row.get("id") if own_id else None
    digest = hashlib.sha256(problem.encode()).hexdigest()[:8]
    sample = problem_sample(
        f"{row.get(ROW_NUMBER, 0):05d}-{digest}" if given in (None, "") else str(given),
        problem,
        row["answer"],
        (*_images(row.get("images")), *_images(row.get("image"))),
        options=read_list(row.get("options")),
        extra=extra,
    )
    if wants is None:
        return sample
    return replace(_open(sample), answer=str(row["answer"]).strip(), answer_type=wants)


def problem_sample(
    sample_id: str,
    problem: str,
    answer: Any,
    images: Sequence[EncodedImage],
    *,
    options: tuple[str, ...] = (),
    groups: Mapping[str, str] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Sample:
    """Map a question that may hold its options, and whose gold answer says what it wants.

    Options that stand in the question are known to the judge and not written a second time.

    Args:
        sample_id: `Sample.id`.
        problem: The whole question.
        answer: The gold answer: a text or a number.
        images: Its images; with `<image>` marks in the problem only these count as marks.
        options: Options of a column of their own, used where the problem holds none.
        groups: `Sample.groups`.
        extra: `Sample.extra`.

    Raises:
        TaskError: an answer that is no single value, or a mark without its image.
    """
    if not isinstance(answer, str | int | float) or isinstance(answer, bool):
        raise TaskError(f"answer {answer!r}: wanted a text or a number")
    found = read_options(problem)
    written = found is not None or all(option in problem for option in options)
    kind, gold, choices = read_kind(str(answer).strip(), found or options or None)
    mark = r"<image()>" if "<image>" in problem else r"<image ?(\d*)>"
    question, shown = interleave(problem, images, mark)
    return Sample(
        id=sample_id,
        question=question,
        answer=gold,
        answer_type=kind,
        images=shown,
        choices=choices,
        choices_in_image=choices is not None and written,
        groups=dict(groups or {}),
        extra=dict(extra or {}),
    )


def read_kind(
    answer: str, options: tuple[str, ...] | None
) -> tuple[AnswerType, str, tuple[str, ...] | None]:
    """Read off a gold answer what is wanted.

    `choice`: the answer is the letter, the text or the value of one of the options; or it is a
    capital letter A to J alone, options or not (they may be part of the picture). Else `yes_no`
    for yes and no, `number` for a number with or without a unit, `text` for words and dates, `math`
    for the rest: equations (`x = 5`), tuples, formulas.

    Returns:
        The kind, the gold answer (a choice's is a capital letter), and a choice's options.
    """
    lone = _LONE.fullmatch(tidy(answer))
    letter = read_answer(answer, "choice", options) if options else None
    if options and letter:
        option = options[LETTERS.index(letter)]
        body = _LEADING_LETTER.sub("", answer)
        if lone or same_text(answer, option) or same_text(body, option):
            return "choice", letter, options
    if lone and lone[1] in LETTERS[:10]:  # a later letter alone is a variable, `X`, rather
        return "choice", lone[1], None
    if answer.lower().rstrip(".") in ("yes", "no"):
        return "yes_no", answer, None
    if is_bare_quantity(answer):
        return "number", answer, None
    words = is_date(answer) or (_WORD.search(answer) and not _FORMULA.search(answer))
    return ("text" if words else "math"), answer, None


def _images(cell: Any) -> tuple[EncodedImage, ...]:
    if cell is None:
        return ()
    return (cell,) if isinstance(cell, EncodedImage) else tuple(cell)


def read_list(cell: Any) -> tuple[str, ...]:
    """The texts of a list, or of a Python list written as a string; none of an empty cell.

    Raises:
        TaskError: a cell that is neither.
    """
    listed = cell
    if isinstance(cell, str) and cell.strip():
        try:
            listed = ast.literal_eval(cell)
        except (ValueError, SyntaxError):
            listed = cell
    if not isinstance(listed or (), list | tuple):
        raise TaskError(f"{cell!r}: wanted a list")
    return tuple(map(str, listed or ()))


def open_question(sample: Sample, gold: str) -> Sample:
    """Make a sample an open question with its gold: one answer, or a written list of alternatives.

    All of them stand in `extra["alternatives"]`, for judges that know of alternatives.
    """
    golds = read_list(gold) if gold.startswith(("['", '["')) else (gold.strip(),)
    numbers = all(map(is_bare_quantity, golds))
    kind: AnswerType = "number" if numbers else "text"
    extra = {"alternatives": list(golds)}
    return replace(_open(sample), answer=golds[0], answer_type=kind, extra=extra)


def _open(sample: Sample) -> Sample:
    """Without choices: what looks like some is part of the question."""
    return replace(sample, choices=None, choice_parts=None, choices_in_image=False)


def problem_copy(hub_id: str, n: int | None = None, **mapping: Any) -> Copy:
    """A benchmark published in this layout, split `test`; `mapping` is for `problem_row`."""
    source = Source(hub_id, "test", images=IMAGE_COLUMNS, n=n)
    return Copy(source, partial(problem_row, **mapping))
