"""The interface of a judge file: what it defines, and what a judge receives.

A judge file holds a module-level `RuleJudge` or `ModelJudge`; like a task file it stays light at
import. `vsr1_bench.judging.open.open_judge` turns a spec into a `JudgeRunner`, which judges items.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any, Self

from vsr1_bench._util.closing import Closing
from vsr1_bench.errors import JudgeError
from vsr1_bench.generation.connect import ConnectOptions
from vsr1_bench.generation.costs import Spending
from vsr1_bench.generation.estimates import Estimate as Estimate
from vsr1_bench.generation.flags import Flags
from vsr1_bench.prompts.judge_prompts import JudgePrompt
from vsr1_bench.records import OUTCOMES, AnswerType, Sample, Stage, Usage, Verdict


@dataclass(frozen=True, slots=True)
class Item:
    """One response to be judged."""

    id: str
    response: str
    answer: str
    answer_type: AnswerType
    choices: tuple[str, ...] | None = None
    question: str = ""
    sample_id: str = ""
    row: int | None = None
    """The sample's position in the data set, from 0."""
    index: int | None = None
    """Which of the sample's responses; None if there is only one."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """`Sample.extra`: values for the rules of this benchmark, e.g. `rounded` (a number may have
    more digits than the gold answer, and is rounded like it)."""
    vote: int = 0
    """Which of several votes on this response, from 0 (judge `majority`)."""
    stage: Stage = "answer"
    """`reading`: the text is the reader's answer of the second pass, not the response."""

    @classmethod
    def of(cls, sample: Sample, id: str, response: str, stage: Stage = "answer") -> Self:
        """Put a response beside its sample's question and gold answer."""
        return cls(
            id=id,
            response=response,
            answer=sample.answer,
            answer_type=sample.answer_type,
            choices=sample.choices,
            question=sample.question_text,
            sample_id=sample.id,
            extra=sample.extra,
            stage=stage,
        )


@dataclass(frozen=True, slots=True)
class RuleJudge:
    """A judge that decides by rule, without a model.

    `grade` is a pure function. If its library can hang or use unlimited memory, set `bounded`: it
    then runs in a worker that can be killed, with `seconds` of the worker's own time per item. An
    item that takes longer is `unscored` with the reason `grader_timeout`; the next run retries it.
    """

    name: str
    version: int
    grade: Callable[[Item], Verdict]
    description: str
    bounded: bool = False
    seconds: float = 5.0
    warm_up: Callable[[], object] | None = None
    """Called once in the worker before the clock starts, so that imports do not count."""
    late_warm_up: bool = False
    """`grade` calls `ensure_warm()` before it uses what `warm_up` loads. Items that need nothing of
    it then do not wait for it."""
    answer_type: AnswerType = "text"
    """Answer type of items that state neither a type nor choices."""
    identity: str = ""
    """Whatever else decides, besides its code: for example the hash of a file of labels."""


_to_warm: list[Callable[[], object]] = []


def ensure_warm() -> None:
    """Run the `warm_up` of a judge with `late_warm_up`, unless it has run; costs the item no time.

    Outside a worker there is nothing to do, because no clock runs.
    """
    while _to_warm:
        _to_warm.pop()()


def warm_late(warm_up: Callable[[], object]) -> None:
    """Let the next `ensure_warm` call this."""
    _to_warm.append(warm_up)


JUDGE_FLAGS = Flags(
    *("judge", "--judge_model", "--judge_base_url", "--judge_args"),
    *("VSR1_JUDGE_API_KEY", "VSR1_JUDGE_HEADERS"),
)


@dataclass(frozen=True, slots=True)
class JudgeOptions(ConnectOptions):
    """The options of judges, from the command line."""

    flags: Flags = JUDGE_FLAGS
    labels: Path | None = None
    judge_all: bool = False
    """Let the LLM of a cascade judge every response, not only what the rule calls wrong."""
    prompt: str = "strict"
    task_prompt: JudgePrompt | None = None
    """The task's own prompt; takes precedence over `prompt`."""
    spending: Spending = field(default_factory=Spending)
    thinking_tags: tuple[str, ...] = ()
    """Further tags of thinking (`answers.mark_tags`), beside those of all known families."""


@dataclass(frozen=True, slots=True)
class Judged:
    """The result of a running judge for one item."""

    item: Item
    """The same object that was given to `judge`."""
    verdict: Verdict
    raw: str | None = None
    """A model's reply, word for word."""
    usage: Usage = field(default_factory=Usage)
    cost: float | None = None
    model: str | None = None
    prompt_hash: str | None = None
    asked: str | None = None
    """Hash of the request; equal requests share one reply, its tokens and its cost."""


Verdicts = Generator[Judged, None, None]
"""Close the iterator to stop early; the judge then releases what it holds for these items."""


def check_verdict(judge: str, item: str, verdict: Any) -> None:
    """Check a verdict, because it may come from a plug-in.

    Raises:
        JudgeError: it is not a verdict, its outcome is unknown, or its score is not from 0 to 1.
    """
    if not isinstance(verdict, Verdict):
        fault = f"{type(verdict).__name__}, not a Verdict"
    elif verdict.outcome not in OUTCOMES:
        fault = f"outcome {verdict.outcome!r:.40}, wanted {', '.join(OUTCOMES)}"
    else:
        score = verdict.score
        number = isinstance(score, int | float) and not isinstance(score, bool)
        if score is None or (number and 0 <= score <= 1):
            return
        fault = f"score {score!r:.40}, wanted a number from 0 to 1, or None"
    raise JudgeError(f"judge {judge!r} gave item {item!r:.60} {fault}; fix the judge's file")


def _checking(judge: Callable[[Any, Iterable[Item]], Verdicts]) -> Callable[..., Verdicts]:
    """Wrap a `judge` method so that everything it yields is checked."""

    @wraps(judge)
    def checked(self: JudgeRunner, items: Iterable[Item]) -> Verdicts:
        with closing(judge(self, items)) as verdicts:
            for judged in verdicts:
                check_verdict(self.name, judged.item.sample_id or judged.item.id, judged.verdict)
                yield judged

    return checked


class JudgeRunner(Closing):
    """An opened judge: items in, verdicts out, each as soon as it is ready.

    Everything that the `judge` of a subclass yields is checked (`check_verdict`).
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "judge" in cls.__dict__:
            cls.judge = _checking(cls.__dict__["judge"])  # type: ignore[method-assign]

    name: str
    """The name under which verdicts are stored (see `judge_names`); `--judge` accepts it."""
    identity: str
    """Digest of everything that affects verdicts; verdicts of different identities never mix."""
    answer_type: AnswerType = "text"
    """Answer type of items that state neither a type nor choices."""

    @abstractmethod
    def judge(self, items: Iterable[Item]) -> Verdicts:
        """Judge items, reading ahead only as far as useful; verdicts come in any order.

        Raises:
            JudgeError: it cannot continue; everything already yielded is kept.
        """

    @abstractmethod
    def estimate(self, items: Iterable[Item]) -> Estimate:
        """Estimate the calls of `judge` without calling a model."""

    def by_batch(self) -> bool | None:
        """Whether `--batch` changes how it asks; None = it asks no model."""
        return None

    def recall(self, folder: Path) -> set[str]:
        """Load the hashes of replies stored in a folder, so that `estimate` excludes them.

        Returns:
            The hashes of the requests.
        """
        return set()

    def keeping(self, folder: Path) -> AbstractContextManager[tuple[Path, ...]]:
        """Store the models' replies in a folder, and reuse the stored ones, until the context ends.

        Args:
            folder: Created with the first reply.

        Returns:
            A context with the journals that are written.

        Raises:
            StoreError: another process writes one of them, or one is damaged.
        """
        return nullcontext(())

    @abstractmethod
    def close(self) -> None:
        """Free what it holds. Safe to call twice."""


class WrappingRunner(JudgeRunner):
    """Base of a judge that is made of others: they store their own replies, and close with it."""

    _inner: tuple[JudgeRunner, ...]

    def by_batch(self) -> bool | None:
        """Whether `--batch` changes how one of the inner judges asks."""
        known = [can for judge in self._inner if (can := judge.by_batch()) is not None]
        return any(known) if known else None

    def recall(self, folder: Path) -> set[str]:
        """Load the replies that the inner judges have stored."""
        return {key for judge in self._inner for key in judge.recall(folder)}

    @contextmanager
    def keeping(self, folder: Path) -> Iterator[tuple[Path, ...]]:
        """Have the inner judges store their replies."""
        with ExitStack() as stack:
            kept = [stack.enter_context(judge.keeping(folder)) for judge in self._inner]
            yield tuple(path for paths in kept for path in paths)

    def close(self) -> None:
        """Close the inner judges."""
        for judge in self._inner:
            judge.close()


@dataclass(frozen=True, slots=True)
class JudgeContext:
    """What a judge needs to open itself."""

    spec: str
    """The spec as typed, with its argument: `cascade:math,gemini`."""
    argument: str
    """The part after the first colon; empty if there is none."""
    brackets: str
    """The part in brackets, `MODEL` or `MODEL,PROMPT`; empty if there is none."""
    options: JudgeOptions
    open: Callable[[str, JudgeOptions], JudgeRunner]
    """Opens another judge by its spec."""


@dataclass(frozen=True, slots=True)
class ModelJudge:
    """A judge that is opened with options: it asks a model, combines judges, or reads a file."""

    name: str
    version: int
    open: Callable[[JudgeContext], JudgeRunner]
    """Opens it; nothing is loaded or called before the first item.

    Raises:
        JudgeMissingError: a key, an endpoint, a model or a package is missing.
        UsageError: its options are not usable.
    """
    description: str


Judge = RuleJudge | ModelJudge
