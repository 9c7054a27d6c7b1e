"""Grade a file of responses that were made elsewhere: lines in, verdicts out."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, TextIO, get_args

from vsr1_bench._util.progress import progress_bar
from vsr1_bench.answers import read_number
from vsr1_bench.errors import UsageError, nearest
from vsr1_bench.generation.connect import batch_note
from vsr1_bench.judge import Estimate, Item, JudgeOptions, JudgeRunner
from vsr1_bench.judging.open import open_judge
from vsr1_bench.records import LETTERS, AnswerType, Verdict

WANTED = "wanted: {id, response, answer, choices?, answer_type?, question?}"
_TYPES: tuple[str, ...] = get_args(AnswerType)

Graded = tuple[Verdict, str | None]
"""A verdict, and the response if the verdict should be explained."""
Line = tuple[Any, Item]
"""The id as given (a string or an integer), and the item."""


def grade_file(
    in_path: Path,
    judge_name: str,
    out_path: Path,
    include_path: Sequence[str] = (),
    *,
    options: JudgeOptions | None = None,
    progress: bool = True,
    explain: bool = False,
) -> dict[str, int]:
    """Grade `{id, response, answer, choices?, answer_type?, question?}` lines.

    Writes `{id, verdict, extracted, unparsed, reason}` in the same order. The output appears only
    when it is complete: it is written to a temporary file beside `out_path` and then renamed. The
    whole input is checked before the first line is graded. The replies of a judging model are
    stored in a folder beside `out_path` until every line has a verdict, so that the same command
    only makes the missing calls.

    With `explain` a line also states how its answer was read: `rule` (docs/answers.md), `span`
    (start and end in the response) and `words`; null if no rule read it.

    Without `answer_type` a line with choices is a `choice`. Otherwise it has the type of the judge
    (`math` for formula judges). If that is `text`, a gold answer that is a bare number makes it a
    `number`, and yes or no a `yes_no`.

    Returns:
        Counts: `total`, `correct`, `incorrect`, `unscored`, `unparsed`.

    Raises:
        UsageError: an unreadable or wrong input line, an unknown judge, one that `options.batch`
            would not change, an unwritable output.
        JudgeError: the judge cannot start.
    """
    if out_path.exists() and in_path.exists() and out_path.samefile(in_path):
        raise UsageError(f"{out_path} is the input, too: give --output another name")
    if out_path.is_dir():
        raise UsageError(f"--output {out_path} is a folder: name a file in it")
    folders = [str(path) for path in include_path]
    with open_judge(judge_name, folders, options) as judge:
        if options is not None and options.batch:
            batch_note({f"judge {judge.name}": judge.by_batch()})
        if out_path.exists() and not out_path.is_file():
            return _grade(judge, in_path, out_path, progress, explain)
        folder = replies_folder(out_path)
        with judge.keeping(folder) as kept:
            counts = _grade(judge, in_path, out_path, progress, explain)
        if not counts["unscored"]:
            for path in kept:
                for name in (path.name, f".{path.stem}.lock"):
                    path.with_name(name).unlink(missing_ok=True)
            with suppress(OSError):  # it does not exist, or has another judge's replies
                folder.rmdir()
        return counts


def estimate_file(
    in_path: Path,
    judge_name: str,
    out_path: Path,
    include_path: Sequence[str] = (),
    options: JudgeOptions | None = None,
) -> tuple[str, Estimate]:
    """The judge's name, and an estimate of what `grade_file` would ask it; calls no model.

    Raises:
        UsageError: as `grade_file`.
    """
    with open_judge(judge_name, [str(path) for path in include_path], options) as judge:
        if options is not None and options.batch:
            batch_note({f"judge {judge.name}": judge.by_batch()})
        judge.recall(replies_folder(out_path))
        items = (item for _, item in read_lines(in_path, judge.answer_type))
        return judge.name, judge.estimate(items)


def replies_folder(out_path: Path) -> Path:
    """Where the replies of a judging model are, until every line has a verdict."""
    return out_path.with_name(f".{out_path.name}.replies")


def _grade(
    judge: JudgeRunner, in_path: Path, out_path: Path, progress: bool, explain: bool
) -> dict[str, int]:
    lines: Iterable[Line] = read_lines(in_path, judge.answer_type)
    if in_path.is_file():
        total = sum(1 for _ in lines)
        lines = read_lines(in_path, judge.answer_type)
    else:  # a pipe can be read only once
        lines = list(lines)
        total = len(lines)
    # Line number and id per item under way, by the item's `id()`, because ids may repeat.
    places: dict[int, tuple[int, Any]] = {}

    def items() -> Iterator[Item]:
        for number, (given, item) in enumerate(lines):
            places[id(item)] = number, given
            yield item

    graded = judge.judge(items())
    with closing(graded), progress_bar(total, f"grade {judge.name}", "resp", shown=progress) as bar:

        def placed() -> Iterator[tuple[int, Any, Graded]]:
            for judged in graded:
                bar.update()
                response = judged.item.response if explain else None
                yield *places.pop(id(judged.item)), (judged.verdict, response)

        return write_verdicts(out_path, in_order(placed()))


def in_order(placed: Iterable[tuple[int, Any, Graded]]) -> Iterator[tuple[Any, Graded]]:
    """Restore the order of the input, holding only verdicts that arrive early."""
    early: dict[int, tuple[Any, Graded]] = {}
    following = 0
    for number, given, graded in placed:
        early[number] = given, graded
        while following in early:
            yield early.pop(following)
            following += 1


def read_lines(path: Path, default_type: AnswerType = "text") -> Iterator[Line]:
    """Read and check input lines one at a time; skip blank lines.

    Raises:
        UsageError: the file cannot be read, or a line is wrong; with the file and the line.
    """
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                text = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
                if text.strip():
                    yield _line(text, f"{path}:{number}", default_type)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}; give a file of JSON lines") from error


def write_verdicts(path: Path, verdicts: Iterable[tuple[Any, Graded]]) -> dict[str, int]:
    """Write one line per verdict and count them; the file appears only when it is complete.

    A pipe or a device (`/dev/stdout`) cannot be replaced, so lines are written as they arrive.

    Raises:
        UsageError: the file cannot be written.
    """
    path = path.resolve()
    try:
        if path.exists() and not path.is_file():
            with path.open("w", encoding="ascii", newline="\n") as file:
                return _write_lines(file, verdicts)
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("w", encoding="ascii", newline="\n") as file:
                counts = _write_lines(file, verdicts)
                os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"--output {path}: {error.strerror or error}") from error
    return counts


def _write_lines(file: TextIO, verdicts: Iterable[tuple[Any, Graded]]) -> dict[str, int]:
    counts = Counter(dict.fromkeys(("total", "correct", "incorrect", "unscored", "unparsed"), 0))
    for given, (verdict, response) in verdicts:
        counts.update(("total", verdict.outcome))
        counts["unparsed"] += verdict.unparsed
        row = {
            "id": given,
            "verdict": verdict.outcome,
            "extracted": verdict.extracted,
            "unparsed": verdict.unparsed,
            "reason": verdict.reason,
        }
        if response is not None:
            words = response[slice(*verdict.span)] if verdict.span else None
            row |= {"rule": verdict.how, "span": verdict.span, "words": words}
        file.write(json.dumps(row) + "\n")
    file.flush()
    return dict(counts)


def _line(raw: bytes, where: str, default_type: AnswerType) -> Line:
    try:
        row = json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where}: not a line of JSON in UTF-8 ({error}); {WANTED}") from error
    if not isinstance(row, dict):
        raise UsageError(f"{where}: {type(row).__name__}, not an object; {WANTED}")
    given = row.get("id")
    if isinstance(given, bool) or not isinstance(given, str | int):
        raise UsageError(f"{where}: `id` must be a string or an integer; {WANTED}")
    response = row.get("response")
    if not isinstance(response, str):
        raise UsageError(f"{where}: `response` must be a string; {WANTED}")
    question = row.get("question") or ""
    if not isinstance(question, str):
        raise UsageError(f"{where}: `question` must be a string; {WANTED}")
    answer = _text(row.get("answer"), f"{where}: `answer`")
    choices = _choices(row.get("choices"), where)
    return given, Item(
        id=str(given),
        response=response,
        answer=answer,
        answer_type=_answer_type(row.get("answer_type"), answer, choices, default_type, where),
        choices=choices,
        question=question,
    )


def _text(value: Any, what: str) -> str:
    """A string, or a number as JSON writes it."""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return str(value)
    raise UsageError(f"{what} must be a string or a number; {WANTED}")


def _choices(value: Any, where: str) -> tuple[str, ...] | None:
    if value is None or value == []:
        return None
    if not isinstance(value, list) or len(value) > len(LETTERS):
        raise UsageError(f"{where}: `choices` must be a list of at most {len(LETTERS)} strings")
    return tuple(_text(choice, f"{where}: a choice") for choice in value)


def _answer_type(
    value: Any, answer: str, choices: tuple[str, ...] | None, default: AnswerType, where: str
) -> AnswerType:
    if value is not None:
        for known in get_args(AnswerType):
            if value == known:
                return known  # type: ignore[no-any-return]
        raise UsageError(f"{where}: unknown `answer_type` {value!r}; {nearest(str(value), _TYPES)}")
    if choices:
        return "choice"
    if default != "text":
        return default
    if answer.strip().lower() in ("yes", "no"):
        return "yes_no"
    return "number" if read_number(answer) == answer.strip() else "text"
