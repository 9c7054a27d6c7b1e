"""The details of one sample: what it asks, and what each run made of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from vsr1_bench.answers import final_span
from vsr1_bench.answers.channels import Piece, split
from vsr1_bench.perception.reader import ReaderSpec, description_in, perception_key
from vsr1_bench.records import response_seed
from vsr1_bench.report.located import Located, Record

AskAgain = Callable[[int], str]
"""From a sample's place in the data to the command that asks it again; empty = there is none."""


@dataclass(slots=True)
class OpenRun:
    """One run of a task page, open for reading."""

    located: Located
    readers: Sequence[ReaderSpec]
    ask_again: AskAgain
    base: int
    """Which run's questions it is compared with: itself, or one made on other data."""
    variant: str = "none"
    withheld: tuple[str, ...] = field(init=False)
    """Fields that a published run came without."""

    def __post_init__(self) -> None:
        """Read the file once, not per sample."""
        self.withheld = self.located.run.withheld()


def asked(record: Record, withheld: Sequence[str]) -> dict[str, Any]:
    """What a sample asks; what was withheld is null."""
    question = record.get("question")
    parts = None
    if question is not None and "question" not in withheld:
        parts = [part if isinstance(part, str) else int(part["image"]) for part in question]
    answer = record.get("answer")
    return {
        "question": parts,
        "choices": record.get("choices"),
        "choices_in_image": bool(record.get("choices_in_image")),
        "answer": None if "answer" in withheld else answer,
    }


def run_detail(
    run: OpenRun, sample_id: str, change: dict[str, Any] | None
) -> dict[str, Any] | None:
    """What one run made of a sample; None if it did not ask it."""
    located = run.located
    known = located.samples.get(sample_id)
    if known is None:
        return None
    caption = located.caption(sample_id)
    responses = []
    for index in range(located.per_sample):
        made = located.response(sample_id, index)
        if made is not None:
            responses.append(response_detail(run, sample_id, made, caption))
    return {
        "changed": change,
        "left_out": None,
        "responses": responses,
        "command": run.ask_again(known[0]),
    }


def left_out_detail(reason: str) -> dict[str, Any]:
    """A blind run left the sample out."""
    return {"changed": None, "left_out": reason, "responses": [], "command": ""}


def response_detail(
    run: OpenRun, sample_id: str, made: Record, caption: Record | None
) -> dict[str, Any]:
    """One response, with its readings and what judges said of both."""
    text: str = made["text"]
    pieces = split(text)
    usage = made.get("usage") or {}
    units = Units(text)
    failed = made.get("error") is not None
    judged = [] if failed else run.located.judgments(made["key"])
    captioned = caption is not None and caption.get("error") is None
    return {
        "index": made["index"],
        "text": text,
        "pieces": _pieces(pieces, units),
        "final": units.span(final_span(text, pieces)),
        "finish_reason": made["finish_reason"],
        "error": made.get("error"),
        "prompt_tokens": usage.get("prompt_tokens"),
        "completion_tokens": usage.get("completion_tokens"),
        "seconds": made.get("seconds"),
        "created": made.get("created", ""),
        "seed": _seed(run, sample_id, made["index"]),
        "judgments": [_judgment(found, units) for found in judged]
        or [None] * len(run.located.verdicts),
        "caption": caption["text"] if captioned and caption is not None else None,
        "readings": [_reading(run, reader, made, caption) for reader in run.readers],
    }


def _pieces(pieces: Sequence[Piece], units: Units) -> list[dict[str, Any]]:
    return [
        {"channel": piece.channel, "span": units.span((piece.start, piece.end))} for piece in pieces
    ]


def _reading(
    run: OpenRun, reader: ReaderSpec, made: Record, caption: Record | None
) -> dict[str, Any] | None:
    """What a reader made of the description; see `scoring.join.join_readings`."""
    source = caption if reader.descriptions == "caption" else made
    if made.get("error") is not None or source is None or source.get("error") is not None:
        return None
    description = description_in(source["text"], reader.descriptions, reader.thinking_tags)
    nothing: dict[str, Any] = {
        "description": description,
        "text": None,
        "pieces": [],
        "error": None,
        "finish_reason": "",
        "prompt_tokens": None,
        "completion_tokens": None,
        "seconds": None,
        "judgments": [],
    }
    if description is None:
        return nothing
    found = run.located.reading(perception_key(source["key"], reader.digest(), description))
    if found is None:
        return nothing
    failed, usage = found.get("error") is not None, found.get("usage") or {}
    units = Units(found["text"])
    judged = [] if failed else run.located.judgments(found["key"], readings=True)
    return nothing | {
        "text": None if failed else found["text"],
        "pieces": _pieces(split(found["text"]), units),
        "error": found.get("error"),
        "finish_reason": found["finish_reason"],
        "prompt_tokens": usage.get("prompt_tokens"),
        "completion_tokens": usage.get("completion_tokens"),
        "seconds": found.get("seconds"),
        "judgments": [_judgment(one, units) for one in judged],
    }


def _judgment(found: Record | None, units: Units) -> dict[str, Any] | None:
    if found is None:
        return None
    verdict, usage = found["verdict"], found.get("usage") or {}
    span = verdict.get("span")
    return {
        "outcome": verdict["outcome"],
        "extracted": verdict.get("extracted"),
        "unparsed": bool(verdict.get("unparsed")),
        "reason": verdict.get("reason"),
        "label": verdict.get("label"),
        "score": verdict.get("score"),
        "rule": verdict.get("how"),
        "span": None if span is None else units.span((int(span[0]), int(span[1]))),
        "raw": found.get("raw"),
        "model": found.get("judge_model"),
        "prompt": found.get("prompt_hash"),
        "prompt_tokens": usage.get("prompt_tokens"),
        "completion_tokens": usage.get("completion_tokens"),
        "cost": found.get("cost"),
    }


def _seed(run: OpenRun, sample_id: str, index: int) -> int | None:
    sampling = run.located.spec.sampling
    if sampling is None:
        return None
    return response_seed(sampling.seed, sample_id, index)


class Units:
    """Positions in a text, as JavaScript counts them: in UTF-16 units."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._same = text.isascii() or max(text, default="") <= "\uffff"

    def span(self, places: tuple[int, int]) -> list[int]:
        """A start and an end in code points, in UTF-16 units."""
        if self._same:
            return [places[0], places[1]]
        return [len(self._text[:at].encode("utf-16-le", "surrogatepass")) // 2 for at in places]


def texts_of(sample: dict[str, Any]) -> list[str]:
    """Everything of a sample that a free-text search looks into."""
    found = [sample["id"], sample["answer"] or "", *(sample["choices"] or ())]
    found += [part for part in sample["question"] or () if isinstance(part, str)]
    for run in sample["runs"]:
        for response in run["responses"] if run else ():
            found += [response["text"], response["caption"] or ""]
            _add_judgments(found, response["judgments"])
            for reading in response["readings"]:
                if reading is not None:
                    found += [reading["description"] or "", reading["text"] or ""]
                    _add_judgments(found, reading["judgments"])
    return found


def _add_judgments(found: list[str], judgments: Sequence[dict[str, Any] | None]) -> None:
    for judgment in judgments:
        if judgment is not None:
            found += [judgment["reason"] or "", judgment["raw"] or ""]


def one_line(text: str, most: int) -> str:
    """The start of a text on one line."""
    line = " ".join(text[: 4 * most].split())
    return line if len(line) <= most else line[: most - 1] + "…"


def same_question(first: Record, second: Record) -> bool:
    """Whether two runs asked the same; places of images are part of the question."""
    names = ("question", "choices", "answer")
    return all(json.dumps(first.get(n)) == json.dumps(second.get(n)) for n in names)
