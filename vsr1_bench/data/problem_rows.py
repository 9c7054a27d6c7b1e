"""Rows of the layout problem / answer / images: the paper's own copies, and your own sets.

`problem` is the whole question, options included; its `<image>` marks take the images in order.
`images` is a list, one image or null; a column `image` is read too. No column states the answer
type of a row, so the gold answer decides it (`read_kind`).
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import math
import re
import tokenize
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

from vsr1_bench.errors import RowError
from vsr1_bench.records import LETTERS, AnswerType, EncodedImage, ImagePlace, Sample
from vsr1_bench.task import ROW_NUMBER, Copy, Row, Source, interleave_all

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
    judged: bool = True,
) -> Sample:
    """Map a row of this layout.

    Args:
        row: Columns `problem`, `answer` and `images` or `image`; `id` and `options` where present.
        own_id: Use the row's own `id`. Without one the id is the row's number and a hash of its
            problem: unique, and never taken for a row of another data set.
        extra: `Sample.extra` of every row.
        wants: Answer type of every row; the gold answer stays as written. None = by gold answer.
        judged: False if the answer is a reply to learn, not a gold answer.

    Raises:
        RowError: a problem that is not text, an answer that is not a single value, options that
            cannot be read or do not hold the answer, or a mark without its image.
    """
    problem = row["problem"]
    given = row.get("id") if own_id else None
    given = None if given != given else given  # NaN: how a table without the id was written
    if not isinstance(problem, str):
        raise RowError(f"problem {_short(problem)}: wanted a text")
    refuse_videos(row)
    digest = hashlib.sha256(problem.encode(errors="surrogatepass")).hexdigest()[:8]
    sample = problem_sample(
        f"{row.get(ROW_NUMBER, 0):05d}-{digest}" if given in (None, "") else str(given),
        problem,
        row["answer"],
        (*_images(row.get("images")), *_images(row.get("image"))),
        options=() if wants is not None else _options(row.get("options")),
        judged=judged,
        extra=extra,
    )
    if wants is None:
        return sample
    return replace(_open(sample), answer=str(row["answer"]).strip(), answer_type=wants)


def refuse_videos(row: Row) -> None:
    """Refuse a row with videos, which would be asked, or learnt, without them.

    Raises:
        RowError: its column `videos` is not empty.
    """
    videos = row.get("videos")
    if isinstance(videos, str | list | tuple | dict | bytes) and len(videos):
        raise RowError(f"column videos: {_short(videos)}; videos are not read, wanted images")


def problem_sample(
    sample_id: str,
    problem: str,
    answer: Any,
    images: Sequence[EncodedImage],
    *,
    options: Sequence[str | None] = (),
    judged: bool = True,
    groups: Mapping[str, str] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Sample:
    """Map a question that may contain its options; the gold answer decides the answer type.

    The judge knows options that are in the question; the prompt does not repeat them.

    Args:
        sample_id: `Sample.id`.
        problem: The whole question.
        answer: The gold answer: a text or a number.
        images: Its images; with `<image>` marks in the problem only these count as marks.
        options: Options of a separate column. The judge uses them, and they are written under the
            problem unless it contains them all. Null options are ignored.
        judged: False if the answer is a reply to learn, which need not be one of the options.
        groups: `Sample.groups`.
        extra: `Sample.extra`.

    Raises:
        RowError: an answer that is not a single value or is none of the options, or a mark without
            its image.
    """
    no_value = isinstance(answer, bool) or (isinstance(answer, float) and not math.isfinite(answer))
    if not isinstance(answer, str | int | float) or no_value:
        raise RowError(f"answer {_short(answer)}: wanted a text or a number")
    if not str(answer).strip():
        raise RowError("an empty answer")
    if not problem.strip() and not images:
        raise RowError("an empty problem without an image")
    texts = tuple(option for option in options if option is not None)
    choices: tuple[str, ...] | None
    if texts:
        try:
            kind, gold, choices = _of_column(str(answer).strip(), tuple(options))
        except RowError:
            if judged or len(texts) > len(LETTERS):
                raise
            kind, gold, choices = "text", str(answer), texts
        written = _holds(problem, texts)
    else:
        from vsr1_bench.answers import read_options

        kind, gold, choices = read_kind(str(answer).strip(), read_options(problem))
        written = True
    marked = (problem,) if written else (problem, *texts)
    mark = r"<image()>" if any("<image>" in text for text in marked) else r"<image ?(\d*)>"
    (question, *parts), shown = interleave_all(marked, images, mark, one_for_all=False)
    hold_images = any(isinstance(part, ImagePlace) for option in parts for part in option)
    return Sample(
        id=sample_id,
        question=question,
        answer=gold,
        answer_type=kind,
        images=shown,
        choices=choices,
        choice_parts=tuple(parts) if hold_images else None,
        choices_in_image=choices is not None and written,
        groups=dict(groups or {}),
        extra=dict(extra or {}),
    )


def _of_column(
    answer: str, options: tuple[str | None, ...]
) -> tuple[AnswerType, str, tuple[str, ...]]:
    """Read a gold answer as one of the options of a column.

    A letter counts the options as the column lists them, null ones included. The options that are
    shown have letters without a gap.

    Returns:
        `choice`, the letter, and the options.

    Raises:
        RowError: one option, more options than letters, or a gold that is none of them.
    """
    from vsr1_bench.answers import same_text, tidy

    texts = tuple(option for option in options if option is not None)
    listed = f"{len(texts)} options ({', '.join(map(_short, texts[:5]))}{', …' * (len(texts) > 5)})"
    if not 2 <= len(texts) <= len(LETTERS):
        raise RowError(f"{listed}; wanted 2 to {len(LETTERS)}, one per letter")
    lone = _LONE.fullmatch(tidy(answer))
    place = LETTERS.index(lone[1].upper()) if lone else len(options)
    if lone and None in options and not any(same_text(answer, text) for text in texts):
        if place >= len(options) or options[place] is None:
            raise RowError(f"answer {_short(answer)} is none of the {listed}")
        answer = LETTERS[sum(option is not None for option in options[:place])]
    kind, gold, choices = read_kind(answer, texts)
    if kind != "choice" or choices is None:
        raise RowError(
            f"answer {_short(answer)} is none of the {listed}; write its letter or its text"
        )
    if not lone and sum(same_text(texts[LETTERS.index(gold)], text) for text in texts) > 1:
        raise RowError(f"answer {_short(answer)} is several of the {listed}; write its letter")
    return kind, gold, choices


def _holds(problem: str, options: tuple[str, ...]) -> bool:
    """Whether a problem contains all options in order, each after its letter or number."""
    from vsr1_bench.answers import read_options, same_text

    written = read_options(problem)
    if written is not None and len(written) == len(options):
        return all(map(same_text, written, options))
    for labels in (LETTERS, LETTERS.lower(), [str(n) for n in range(1, len(options) + 1)]):
        at = 0
        for label, option in zip(labels, options, strict=False):
            mark = rf"(?<!\S)\(?{label}[ ]?[).:][ \t]*{re.escape(option.strip())}(?!\w)"
            match = re.compile(mark).search(problem, at)
            if match is None:
                break
            at = match.end()
        else:
            return True
    return False


def _short(value: Any) -> str:
    """A value in a message."""
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:60]}…"


def read_kind(
    answer: str, options: tuple[str, ...] | None
) -> tuple[AnswerType, str, tuple[str, ...] | None]:
    """The answer type that a gold answer implies.

    `choice`: the answer is the letter, the text or the value of one of the options; or it is a
    capital letter A to J alone, even without options, which may be in the image. Else `yes_no`
    for yes and no, `number` for a number with or without a unit, `text` for words and dates, `math`
    for the rest: equations (`x = 5`), tuples, formulas.

    Returns:
        The kind, the gold answer (a choice's is a capital letter), and a choice's options.
    """
    from vsr1_bench.answers import is_bare_quantity, is_date, read_answer, same_text, tidy

    lone = _LONE.fullmatch(tidy(answer))
    written = [] if lone else [same_text(answer, option) for option in options or ()]
    if options and any(written):
        return "choice", LETTERS[written.index(True)], options
    letter = read_answer(answer, "choice", options) if options else None
    if options and letter:
        option = options[LETTERS.index(letter)]
        body = _LEADING_LETTER.sub("", answer)
        if lone or same_text(answer, option) or same_text(body, option):
            return "choice", letter, options
    if lone and lone[1] in LETTERS[:10]:  # a later letter alone is rather a variable: `X`
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


def _options(cell: Any) -> tuple[str | None, ...]:
    """The texts of a column `options`.

    Raises:
        RowError: as `list_cells`; names the column.
    """
    try:
        return list_cells(cell)
    except RowError as error:
        raise RowError(f"column options: {error}") from error


def list_cells(cell: Any) -> tuple[str | None, ...]:
    """The texts of a list, or of a Python or JSON list written as a string; none of an empty cell.

    An entry that is null, NaN or blank is None.

    Raises:
        RowError: a cell that is neither, or an entry that is itself a list or an object.
    """
    listed = _written_list(cell) if isinstance(cell, str) else cell
    if listed is None or (isinstance(listed, float) and math.isnan(listed)):
        return ()
    if not isinstance(listed, list | tuple):
        raise RowError(f"{_short(cell)}: wanted a list")
    texts: list[str | None] = []
    for entry in listed:
        if isinstance(entry, list | tuple | dict | set | bytes):
            raise RowError(f"{_short(cell)}: an entry is {_short(entry)}; wanted texts or numbers")
        nothing = entry is None or entry != entry or not str(entry).strip()
        texts.append(None if nothing else str(entry))
    return tuple(texts)


def _written_list(text: str) -> Any:
    """Read a list out of a string; returns the string itself if it is not a list.

    Raises:
        RowError: texts without a comma between them, as NumPy prints them; Python would join them.
    """
    if not text.strip():
        return None
    for read in (ast.literal_eval, json.loads):
        try:
            listed = read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        break
    else:
        return text
    if read is ast.literal_eval and isinstance(listed, list | tuple):
        tokens = tokenize.generate_tokens(io.StringIO(text.strip()).readline)
        kinds = [t.type for t in tokens if t.type not in (tokenize.NL, tokenize.COMMENT)]
        if (tokenize.STRING, tokenize.STRING) in pairwise(kinds):
            raise RowError(f"{_short(text)}: no commas between its texts; wanted a list")
    return listed


def read_list(cell: Any) -> tuple[str, ...]:
    """The texts of a list, or of a Python or JSON list written as a string; none of an empty cell.

    Raises:
        RowError: a cell that is neither, or an entry that is empty before one that is not.
    """
    cells = list_cells(cell)
    texts = tuple(text for text in cells if text is not None)
    if texts != cells[: len(texts)]:
        raise RowError(f"{_short(cell)}: an empty entry before one that is not")
    return texts


def open_question(sample: Sample, gold: str) -> Sample:
    """Make a sample an open question; `gold` is one answer, or a written list of alternatives.

    `extra["alternatives"]` has all of them, for judges that read it.
    """
    from vsr1_bench.answers import is_bare_quantity

    golds = read_list(gold) if gold.startswith(("['", '["')) else (gold.strip(),)
    numbers = all(map(is_bare_quantity, golds))
    kind: AnswerType = "number" if numbers else "text"
    extra = {"alternatives": list(golds)}
    return replace(_open(sample), answer=golds[0], answer_type=kind, extra=extra)


def _open(sample: Sample) -> Sample:
    """Remove the choices; text that looks like options is part of the question."""
    return replace(sample, choices=None, choice_parts=None, choices_in_image=False)


def problem_copy(hub_id: str, n: int | None = None, **mapping: Any) -> Copy:
    """A benchmark published in this layout, split `test`; `mapping` is for `problem_row`."""
    source = Source(hub_id, "test", images=IMAGE_COLUMNS, n=n)
    return Copy(source, partial(problem_row, **mapping))
