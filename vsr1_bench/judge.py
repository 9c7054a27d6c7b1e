"""The interface of a judge file: what it defines, and what a judge receives.

A judge file holds module-level `RuleJudge`, `ConfiguredJudge` or `ModelJudge` objects; like a task
file it stays light at import. What judges is a `RunningJudge`, opened from a spec by
`vsr1_bench.judging.open.open_judge`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any

from vsr1_bench._util.closing import Closing
from vsr1_bench.errors import JudgeError
from vsr1_bench.generation.costs import Spending
from vsr1_bench.prompts.judge_prompts import JudgePrompt
from vsr1_bench.records import OUTCOMES, AnswerType, Stage, Usage, Verdict


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
    """The sample's place in the data set, from 0."""
    index: int | None = None
    """Which of the sample's responses; None where there is one."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """`Sample.extra`: what this benchmark's own rules need, e.g. `rounded` (a number may have more
    digits than the gold; it is rounded as the gold is)."""
    vote: int = 0
    """Which of several votes on this response, from 0 (judge `majority`)."""
    stage: Stage = "answer"
    """`reading`: what a reader answered from the description, not the response itself."""


@dataclass(frozen=True, slots=True)
class RuleJudge:
    """A judge that decides by rule, without a model.

    `grade` is a pure function. Where the library behind it can hang or eat memory, `bounded` runs
    it in a killable worker with `seconds` an item, of the worker's own time; an item that goes over
    is `unscored` with the reason `grader_timeout`, and asked again by the next run.
    """

    name: str
    version: int
    grade: Callable[[Item], Verdict]
    description: str
    bounded: bool = False
    seconds: float = 5.0
    warm_up: Callable[[], object] | None = None
    """Called once in the worker before the clock starts, so that imports cost no item its time."""
    answer_type: AnswerType = "text"
    """Answer type of items that state neither a type nor choices."""
    identity: str = ""
    """What else decides, beyond its file: the hash of a file of labels, say."""


@dataclass(frozen=True, slots=True)
class JudgeOptions:
    """What the command line says to judges that need options."""

    labels: Path | None = None
    model: str | None = None
    """The model that judges (`--judge_model`)."""
    base_url: str | None = None
    judge_all: bool = False
    """Show the LLM of a cascade every response, not only those that the rule refuses."""
    concurrency: int | None = None
    """Calls at once; None = the judge's default."""
    prompt: str = "strict"
    task_prompt: JudgePrompt | None = None
    """The task's own prompt; takes precedence over `prompt`."""
    args: Mapping[str, Any] = field(default_factory=dict)
    """`--judge_args`: temperature, max_tokens, seed, and what the judge's backend takes."""
    spending: Spending = field(default_factory=Spending)
    thinking_tags: tuple[str, ...] = ()
    """Further tags of thinking (`answers.mark_tags`), beside those of all known families."""
    dry_run: bool = False
    """Nothing will be asked: a missing key is not an error, and the hub is left alone."""


@dataclass(frozen=True, slots=True)
class ConfiguredJudge:
    """A judge that needs options before it can judge."""

    name: str
    version: int
    configure: Callable[[JudgeOptions], RuleJudge]
    """Returns the judge, of the same name, or with what tells it apart in brackets behind it.

    Raises:
        UsageError: what it needs was not given, or is not usable.
    """
    description: str


@dataclass(frozen=True, slots=True)
class Judged:
    """What a running judge says of one item."""

    item: Item
    """The very object that was handed in."""
    verdict: Verdict
    raw: str | None = None
    """A model's reply, word for word."""
    usage: Usage = field(default_factory=Usage)
    cost: float | None = None
    model: str | None = None
    prompt_hash: str | None = None
    asked: str | None = None
    """Hash of what the model was asked; equal ones share one reply, its tokens and its cost."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What judging would take; tokens are reckoned at four characters each."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    """At most: the replies' limit."""
    cost: float | None = 0.0
    """At most; None = no price is known."""

    def __add__(self, other: Estimate) -> Estimate:
        costs = (self.cost, other.cost)
        return Estimate(
            self.calls + other.calls,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            None if None in costs else sum(cost or 0.0 for cost in costs),
        )


Verdicts = Generator[Judged, None, None]
"""Close it to leave early: the judge then lets go of what it holds for these items."""


def check_verdict(judge: str, item: str, verdict: Any) -> None:
    """See to it that a verdict is one, whoever made it: a plug-in's goes where ours go.

    Raises:
        JudgeError: it is none, its outcome is unknown, or its score is not from 0 to 1.
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
    """Let a `judge` method check what it yields."""

    @wraps(judge)
    def checked(self: RunningJudge, items: Iterable[Item]) -> Verdicts:
        with closing(judge(self, items)) as verdicts:
            for judged in verdicts:
                check_verdict(self.name, judged.item.sample_id or judged.item.id, judged.verdict)
                yield judged

    return checked


class RunningJudge(Closing):
    """A judge at work: items in, verdicts out, each as it is there.

    What the `judge` of a subclass yields is checked (`check_verdict`).
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "judge" in cls.__dict__:
            cls.judge = _checking(cls.__dict__["judge"])  # type: ignore[method-assign]

    name: str
    """Under which its verdicts are stored (see `judge_names`); it can be typed after `--judge`."""
    identity: str
    """Digest of everything that decides; verdicts of another identity are never mixed in."""
    answer_type: AnswerType = "text"
    """Answer type of items that state neither a type nor choices."""

    @abstractmethod
    def judge(self, items: Iterable[Item]) -> Verdicts:
        """Judge items, reading no further ahead than is useful; verdicts come in any order.

        Raises:
            JudgeError: it cannot go on; what it has yielded is kept.
        """

    @abstractmethod
    def estimate(self, items: Iterable[Item]) -> Estimate:
        """What `judge` would take; calls no model."""

    def recall(self, folder: Path) -> set[str]:
        """Know the replies that are kept in a folder, so that `estimate` leaves them out.

        Returns:
            The hashes of what was asked.
        """
        return set()

    def keeping(self, folder: Path) -> AbstractContextManager[tuple[Path, ...]]:
        """Keep what models reply in a folder, and use what is there, until the context ends.

        Args:
            folder: Where; it is made with the first reply.

        Returns:
            A context with the journals that are written.

        Raises:
            StoreError: another process writes one of them, or one is damaged.
        """
        return nullcontext(())

    @abstractmethod
    def close(self) -> None:
        """Free what it holds. Safe to call twice."""


@dataclass(frozen=True, slots=True)
class Opening:
    """What a judge is opened with."""

    spec: str
    """As it was named, argument included: `cascade:math,gemini`."""
    argument: str
    """What follows the first colon; empty where there is none."""
    brackets: str
    """What is in its brackets, `MODEL` or `MODEL,PROMPT`; empty where there are none."""
    options: JudgeOptions
    open: Callable[[str, JudgeOptions], RunningJudge]
    """Opens another judge by its spec."""


@dataclass(frozen=True, slots=True)
class ModelJudge:
    """A judge that asks a model, or is made of other judges."""

    name: str
    version: int
    open: Callable[[Opening], RunningJudge]
    """Opens it; nothing is loaded or called before the first item.

    Raises:
        JudgeMissingError: a key, an endpoint, a model or a package that it needs is not there.
        UsageError: its options are not usable.
    """
    description: str


Judge = RuleJudge | ConfiguredJudge | ModelJudge
