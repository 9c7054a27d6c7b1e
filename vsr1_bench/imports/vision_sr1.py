"""The raw outputs that the authors of Vision-SR1 published (arXiv:2508.19652), as runs.

    <run>/<set>.jsonl                   one line per row of the set, in order, with `response`
    LLM-Eval-out/<run>/MLLM_test.jsonl  the same with gold_answer, accuracy_output and
                                        accuracy_judgment: their judge's verdict

The sets are their own copies (owner zli12321). Rows are joined by position, so nothing is taken
before counts and golds agree with the data. What their judge said becomes verdicts of a judge
`published`, read by their own rule: the published scores, without asking anybody again. The sets
that their judge never saw get theirs from the paper's rule grader, as the authors have it. The
rows of the merged set MLLM_test become runs of the benchmarks that they come from.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vsr1_bench._util.progress import progress_bar
from vsr1_bench.data.dataset import DataOptions, TaskData, open_data
from vsr1_bench.errors import (
    BenchError,
    ExchangeError,
    TaskError,
    TransferError,
    UsageError,
    nearest,
)
from vsr1_bench.imports.responses import add_response, imported_spec
from vsr1_bench.judge import Judged
from vsr1_bench.judging.identity import judge_digest
from vsr1_bench.judging.runs import item_of, judgment_of
from vsr1_bench.judging.worker import Grader
from vsr1_bench.publish.bundle import MAX_CONTENT, strict_json
from vsr1_bench.publish.remote import STAGING
from vsr1_bench.publish.remotes import HubRemote
from vsr1_bench.records import Generation, Sample, Verdict
from vsr1_bench.registry import get_judge, get_task, load_registry
from vsr1_bench.scoring.runs import score_run
from vsr1_bench.store.environment import package_versions
from vsr1_bench.store.journal import Journal, Lock
from vsr1_bench.store.run_folder import RunFolder
from vsr1_bench.store.spec import ModelSpec
from vsr1_bench.store.writer import RunWriter
from vsr1_bench.task import Source, Task, part_of

REPOSITORY = "DingZhenDojoCat/Raw-Outputs"
REVISION = "main"
"""Written without access to the hub: no commit could be looked up. The commit that this resolves
to is recorded with every run, and printed, to be given as `--revision`."""
OWNER = "zli12321"
"""Whose copies of the sets were answered."""
JUDGED = "LLM-Eval-out"
PUBLISHED = "published"
"""Name of the judge whose verdicts are those that were published."""
RULE = "mathruler"
"""The authors' rule grader."""
ANSWER_TAG = ("(By Huang)",)
"""Runs whose answers are in `<answer>` tags, there after the words "Final Answer:"."""
TAGGED_FORM = "<answer>, repeated in a box"

# The runs of the paper's tables, by the authors' evaluation script. (Their papers' text and other
# scripts also say 7B-Vision-R1-ablation; what the repository holds is what is taken.)
RUNS = (
    *(f"{size}-{kind}" for size in ("3B", "7B") for kind in ("baseline", "SFT", "Vision-R1")),
    "3B-Vision-SR1",
    "7B-Vision-SR1",
    "3B-Vision-R1-ablation",
    "7B-Vision-SR1-ablation",
    "7B-Vision-R1(By Huang)",
    "7B-Perception-R1",
    "3B-Visionary-R1",
)

_TAG = re.compile(r"<answer>(.*?)</answer>", re.IGNORECASE | re.DOTALL)
_FINAL = re.compile(r"final\s+answer\s*:?", re.IGNORECASE)
_WRAPPED = re.compile(r"\\boxed\{(.*)\}|<answer>(.*)</answer>", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class RawOptions:
    """What to download; the fields are the flags of `vsr1-bench download vision-sr1`."""

    runs: tuple[str, ...] = ()
    """Names of runs; none = all."""
    revision: str | None = None
    to: Path = Path("runs")
    data: DataOptions = field(default_factory=DataOptions)
    include_path: tuple[str, ...] = ()
    progress: bool = True


@dataclass
class RawReport:
    """The result of a download."""

    commit: str
    runs: list[RunFolder] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    """A line for each file that does not match its data; such files are not imported."""
    unknown: list[str] = field(default_factory=list)
    """Files of sets that no task uses."""


def download_raw_outputs(options: RawOptions) -> RawReport:
    """Fetch the raw outputs, check them against the data, and store them as runs.

    Raises:
        UsageError: a run that the repository does not have.
        ExchangeError: the repository cannot be read.
        TransferError: a transfer broke off; the same call resumes from there.
    """
    remote = HubRemote(REPOSITORY, options.revision or REVISION)
    report = RawReport(remote.resolve())
    wanted = _chosen(remote.files(), options.runs)
    tasks = tasks_of_sets(options.include_path)
    sets: dict[str, list[str]] = {}
    for path in wanted:
        sets.setdefault(Path(path).stem, []).append(path)
    with Grader(get_judge(RULE), options.include_path) as grader:
        shared = _Shared(remote, grader, options)
        for name, paths in sorted(sets.items()):
            if name.lower() in tasks:
                _take_set(shared, paths, *tasks[name.lower()], report)
            else:
                report.unknown += paths
    if not report.refused:
        shutil.rmtree(options.to / STAGING / "vision-sr1", ignore_errors=True)
        with contextlib.suppress(OSError):  # a bundle may be on its way, too
            (options.to / STAGING).rmdir()
    return report


@dataclass(frozen=True, slots=True)
class _Shared:
    """Shared by all files."""

    remote: HubRemote
    grader: Grader
    options: RawOptions


def _take_set(
    shared: _Shared, paths: Sequence[str], task: Task, copy: str | None, report: RawReport
) -> None:
    """Import every run's answers to one set; its rows are opened once."""
    try:
        data = open_data(task, replace(shared.options.data, copy=copy))
    except TaskError as error:
        report.refused.append(str(error))
        return
    for path in paths:
        try:
            report.runs += _take(shared, path, task, data)
        except TransferError:
            raise
        except BenchError as error:
            report.refused.append(str(error))


def tasks_of_sets(include_path: Sequence[str] = ()) -> dict[str, tuple[Task, str | None]]:
    """Name of an authors' set, in lower case -> the task that uses it, and which copy."""
    found: dict[str, tuple[Task, str | None]] = {}
    for task in load_registry(include_path).tasks.values():
        sources: dict[str | None, object] = {None: task.source}
        sources |= {name: copy.source for name, copy in task.copies.items()}
        for name, source in sources.items():
            if isinstance(source, Source) and source.hub_id.startswith(f"{OWNER}/"):
                found[source.hub_id.partition("/")[2].lower()] = (task, name)
    return found


def _chosen(files: Iterable[str], runs: Sequence[str]) -> list[str]:
    """The answer files of the wanted runs."""
    found: dict[str, list[str]] = {}
    for path in sorted(files):
        parts = path.split("/")
        if len(parts) == 2 and parts[1].endswith(".jsonl") and parts[0] != JUDGED:
            found.setdefault(parts[0], []).append(path)
    if not found:
        raise ExchangeError(f"{REPOSITORY}: no <run>/<set>.jsonl in it; its layout has changed")
    for name in runs:
        if name not in found:
            raise UsageError(
                f"--runs {name!r}: not in the repository; {nearest(name, tuple(found))}"
            )
    return [path for name in runs or found for path in found[name]]


def _take(shared: _Shared, path: str, task: Task, data: TaskData) -> list[RunFolder]:
    """Download one file, check it, and store it as one run, or as one run per part of a merged set.

    Raises:
        ExchangeError: it does not fit its data.
    """
    run, name = Path(path).parts
    lines = _fetch_lines(shared, path)
    _check(path, lines, data)
    judged_path = f"{JUDGED}/{run}/{name}"
    judged: Sequence[dict[str, Any] | None] = [None] * len(lines)
    if judged_path in shared.remote.files():
        judged = found = _fetch_lines(shared, judged_path)
        _check(judged_path, found, data)
        for number, (ours, theirs) in enumerate(zip(lines, found, strict=True), start=1):
            if theirs.get("response", ours["response"]) != ours["response"]:
                raise ExchangeError(
                    f"{judged_path}:{number}: another response than line {number} of {path}: the "
                    "judged copy is not of this file; nothing of either is taken"
                )
    read = boxed_answer if run.endswith(ANSWER_TAG) else str
    answers = [
        (read(line["response"]), judgment) for line, judgment in zip(lines, judged, strict=True)
    ]
    with progress_bar(len(data), f"import {path}", "row", shown=shared.options.progress) as bar:
        return _store(shared, path, task, data, answers, bar)


def _fetch_lines(shared: _Shared, path: str) -> list[dict[str, Any]]:
    """Download a file, once per commit of the repository, and read its lines."""
    remote, options = shared.remote, shared.options
    commit = remote.resolve()
    folder = options.to / STAGING / "vision-sr1" / commit[:12]
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / hashlib.sha256(path.encode()).hexdigest()[:32]
    entry = remote.files()[path]
    if not (kept.exists() and entry.matches(kept)):
        with progress_bar(entry.size, path, "B", shown=options.progress) as bar:
            remote.fetch(path, kept, entry.size, MAX_CONTENT, bar.update)
    lines = []
    for number, raw in enumerate(kept.read_bytes().split(b"\n"), start=1):
        if not raw.strip():
            continue
        line = strict_json(raw, f"{path}:{number}")
        if not isinstance(line, dict) or not isinstance(line.get("response"), str):
            raise ExchangeError(f'{path}:{number}: wanted {{"response": "…"}}; nothing is taken')
        lines.append(line)
    return lines


def _check(path: str, lines: Sequence[dict[str, Any]], data: TaskData) -> None:
    """Compare the number of lines and every gold answer that a line states with the data."""
    if len(lines) != len(data):
        raise ExchangeError(
            f"{path}: {len(lines)} lines for {len(data)} rows of {data.spec.id}: other data, or "
            "not all of it; rows are joined by their place, so nothing of it is taken"
        )
    wrong = [
        number
        for number, line in enumerate(lines)
        if "gold_answer" in line and not same_gold(line["gold_answer"], data.row(number)["answer"])
    ]
    if wrong:
        first = wrong[0]
        raise ExchangeError(
            f"{path}: {len(wrong)} of {len(lines)} gold answers are not those of {data.spec.id}, "
            f"first row {first}: {lines[first]['gold_answer']!r:.60} and "
            f"{data.row(first)['answer']!r:.60}; the rows are others, or in another order"
        )


def same_gold(stated: Any, gold: Any) -> bool:
    """Whether two gold answers are equal, ignoring white space, case and wrapping."""
    return _plain_gold(stated) == _plain_gold(gold)


def _plain_gold(value: Any) -> str:
    text = str(value).strip()
    if found := _WRAPPED.fullmatch(text):
        text = found[1] if found[1] is not None else found[2]
    return " ".join(text.split()).casefold()


def boxed_answer(response: str) -> str:
    r"""Repeat in a box, at the end, what is in the last `<answer>` after "Final Answer:".

    So every judge reads it, the paper's rule grader included, which knows boxes only. The words may
    be inside the tags or before them; without the tags, or with nothing or half a box in them,
    the response stays as it is.
    """
    found = _TAG.findall(response)
    answer = _FINAL.split(found[-1])[-1].strip() if found else ""
    if not answer or answer.count("{") != answer.count("}"):
        return response
    return response if answer.startswith("\\boxed{") else f"{response}\n\\boxed{{{answer}}}"


Answer = tuple[str, dict[str, Any] | None]
"""A row's response, and the authors' judgment of it."""


def _store(
    shared: _Shared,
    path: str,
    task: Task,
    data: TaskData,
    answers: Sequence[Answer],
    bar: tqdm[Any],
) -> list[RunFolder]:
    """Write the runs of a file: each of its parts has its own rows and positions."""
    counts: Counter[str] = Counter(part_of(task, sample) for sample in data.samples())
    parts: dict[str, _Part] = {}
    if task.parts is not None and counts[task.name]:
        raise ExchangeError(
            f"{path}: {counts[task.name]} rows of {data.spec.id} belong to no benchmark that is "
            f"known here (its {task.parts[0]}); nothing of it is taken"
        )
    with ExitStack() as stack:
        for name, n in counts.items():
            parts[name] = stack.enter_context(closing(_Part(shared, path, name, data, n)))
        for sample, (text, judged) in zip(data.samples(), answers, strict=True):
            parts[part_of(task, sample)].add(sample, text, judged)
            bar.update()
    for part in parts.values():
        part.publish(shared.grader)
        score_run(part.folder, PUBLISHED, shared.options.include_path)
    return [part.folder for part in parts.values()]


class _Part:
    """A run that is being written."""

    def __init__(self, shared: _Shared, path: str, task: str, data: TaskData, n: int) -> None:
        options, commit = shared.options, shared.remote.resolve()
        run = Path(path).parts[0]
        # All files of a run at one commit are one model's: groups of tasks then find together.
        identity = hashlib.sha256(f"{REPOSITORY}@{commit}/{run}".encode()).hexdigest()[:32]
        model = ModelSpec(id=run, revision=commit, fingerprint=identity, verified=False)
        spec = imported_spec(model, get_task(task, options.include_path), data)
        facts = {
            "backend": "import",
            "versions": package_versions(),
            "origin": {
                "source": f"hf://datasets/{REPOSITORY}@{commit}",
                "file": path,
                "answer_form": TAGGED_FORM if run.endswith(ANSWER_TAG) else "box",
            },
        }
        self.folder = RunFolder.of(options.to, spec)
        self._digest, self._commit = spec.digest(), commit
        self._answers: list[tuple[Sample, Generation, dict[str, Any] | None]] = []
        self._writer = RunWriter(self.folder)
        self.folder.write_meta(spec, n, facts)

    def add(self, sample: Sample, text: str, judged: dict[str, Any] | None) -> None:
        """Store the response to the next row."""
        self._writer.add_sample(sample, len(self._answers))
        made = add_response(self._writer, self._digest, sample, text)
        self._answers.append((replace(sample, images=()), made, judged))

    def close(self) -> None:
        """Close the journals."""
        self._writer.close()

    def publish(self, grader: Grader) -> None:
        """Write the verdicts of the published scoring, once.

        They are in the judged copy, where there is one. The sets without one were scored by the
        rule grader alone, when their table was printed; so it is done here.
        """
        # One judge for all runs of a commit, so that their scores compare.
        words = f"{self._commit} {judge_digest(get_judge(RULE))}"
        digest = hashlib.sha256(words.encode()).hexdigest()
        target = self.folder.judgment_path(PUBLISHED, digest)
        if len(self.folder.judgments(target)) == len(self._answers):
            return
        lock = Lock(target.with_name(f".{target.stem}.lock"))
        try:
            with Journal(target) as journal:
                for row, (sample, made, judged) in enumerate(self._answers):
                    item, raw = item_of(sample, made, row), None
                    if judged is None:
                        verdict = grader.grade(item)
                    else:
                        verdict, raw = published_verdict(judged), judged.get("accuracy_output")
                    output = Judged(item, verdict, None if raw is None else str(raw))
                    journal.append(asdict(judgment_of(made, output)))
        finally:
            lock.release()


def published_verdict(line: dict[str, Any]) -> Verdict:
    """Read a judged line as its authors do: correct, unless "incorrect" is in the judgment.

    The reason says what that rule made of it: nothing where the judgment is the word itself.
    """
    judgment = line.get("accuracy_judgment")
    if not isinstance(judgment, str):
        return Verdict("unscored", reason="no judgment was published")
    word = " ".join(judgment.split()).lower()
    wrong = "incorrect" in word
    reason = None if word in ("correct", "incorrect") else f"the judgment is {word[:60]!r}"
    return Verdict("incorrect" if wrong else "correct", label=word[:60], reason=reason)
