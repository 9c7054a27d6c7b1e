"""The samples of a stored run with all that was made of them, one at a time."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vsr1_bench._util.closing import Closing
from vsr1_bench.errors import UsageError
from vsr1_bench.export.images import Images
from vsr1_bench.export.text import all_encodable
from vsr1_bench.records import Sample
from vsr1_bench.registry import get_task
from vsr1_bench.report.details import OpenRun, asked, run_detail
from vsr1_bench.report.located import Located
from vsr1_bench.scoring.seeing import readers_of
from vsr1_bench.store.judge_names import bare
from vsr1_bench.store.lines import sample_of_record
from vsr1_bench.store.run_folder import RunFolder
from vsr1_bench.task import Task

MISSING, FAILED, UNJUDGED, UNSCORED = "missing", "failed", "unjudged", "unscored"
"""What a response without a verdict is; a verdict is `correct` or `incorrect`."""


@dataclass(frozen=True, slots=True)
class ExportedSample:
    """One sample of one run; all texts can be encoded."""

    id: str
    row: int
    """Place in the data set, from 0."""
    answer_type: str
    groups: dict[str, str]
    question: list[str | int] | None
    """Texts and numbers of images, in reading order; None = withheld."""
    choices: list[str] | None
    answer: str | None
    """None = withheld."""
    hashes: list[str]
    """Of its images."""
    images: list[bytes | None]
    """Its images, as far as they are here."""
    asked: Sample
    """The same as the engine takes it, without images."""
    responses: list[dict[str, Any] | None]
    """What `report.details` says of each response; None = it was never made."""

    @property
    def question_text(self) -> str | None:
        """The question with `<image N>` for image N, from 1."""
        if self.question is None:
            return None
        return "".join(
            part if isinstance(part, str) else f"<image {part + 1}>" for part in self.question
        )


class ExportedRun(Closing):
    """A stored run, open for export. Close it after use."""

    def __init__(
        self,
        run: RunFolder,
        images: Images,
        judge: str | None = None,
        include_path: Sequence[str] = (),
    ) -> None:
        """Go through the journals once.

        Args:
            run: A stored run.
            images: Its images.
            judge: Whose verdicts come first; None = the task's own judge.
            include_path: Folders of plug-ins; a task that is unknown here can still be exported.

        Raises:
            UsageError: the given judge has not judged this run.
            DamagedRunError: a journal is damaged, or of another version.
        """
        self.run, self.spec = run, run.spec()
        self.digest = self.spec.digest()
        self.task = known_task(self.spec.task.name, include_path)
        self.judges = judges_of(run, judge, self.task)
        """Judge -> its journal of verdicts, the main judge first."""
        if judge is not None and judge not in (first := next(iter(self.judges), ""), bare(first)):
            raise UsageError(
                f"{run.path}: not judged by {judge!r}; run: vsr1-bench judge {run.path} "
                f"--judge {shlex.quote(judge)}"
            )
        self.readers = readers_of(run)
        """The latest first."""
        self.withheld = run.withheld()
        self.located = Located(run, self.judges)
        self._open = OpenRun(self.located, self.readers, lambda row: "", 0, self.spec.variant)
        self._images = images

    def close(self) -> None:
        """Close the journals."""
        self.located.close()

    def __len__(self) -> int:
        """How many samples the run has reached."""
        return len(self.located.samples)

    def samples(self) -> Iterator[ExportedSample]:
        """Yield the samples in data order.

        Raises:
            DamagedRunError: a record is not there any more.
        """
        for name in self.located.samples:
            record = self.located.sample(name)
            detail = run_detail(self._open, name, None)
            assert record is not None and detail is not None
            made = {one["index"]: one for one in detail["responses"]}
            hashes = [str(one) for one in record.get("images") or ()]
            known = all_encodable(record)
            told = known | asked(known, self.withheld)
            yield ExportedSample(
                id=told["id"],
                row=record["row"],
                answer_type=told["answer_type"],
                groups=told["groups"],
                question=told["question"],
                choices=told["choices"],
                answer=told["answer"],
                hashes=hashes,
                images=self._images.of(record["row"], hashes),
                asked=sample_of_record(known),
                responses=[
                    all_encodable(made.get(index)) for index in range(self.located.per_sample)
                ],
            )


def known_task(name: str, include_path: Sequence[str]) -> Task | None:
    """A task by its name; None if this installation does not know it."""
    try:
        return get_task(name, include_path)
    except UsageError:
        return None


def judges_of(run: RunFolder, judge: str | None, task: Task | None) -> dict[str, Path]:
    """Judge -> journal of its verdicts; the given judge first, else the task's own."""
    wanted = [judge] if judge else [task.judge, task.judge_fallback] if task else []
    judged = run.judged()

    def place(name: str) -> tuple[int, str]:
        matches = (i for i, one in enumerate(wanted) if one in (name, bare(name)))
        return next(matches, len(wanted)), name

    return {name: judged[name] for name in sorted(judged, key=place)}


def verdict_of(response: Mapping[str, Any] | None) -> str:
    """The main judge's verdict on a response, or why there is none."""
    if response is None:
        return MISSING
    if response["error"] is not None:
        return FAILED
    first = next(iter(response["judgments"]), None)
    if first is None:
        return UNJUDGED
    return UNSCORED if first["outcome"] == "unscored" else str(first["outcome"])
