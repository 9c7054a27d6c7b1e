"""Open judges from their specs.

A spec is `NAME`, `NAME[MODEL]`, or `NAME:ARGUMENT` for judges made of others: `cascade:RULE,LLM`,
`majority:SPEC*K`. Specs nest (see `judge_names`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import cached_property
from types import ModuleType

from vsr1_bench import answers
from vsr1_bench._util.closing import Closing
from vsr1_bench.errors import JudgeMissingError, UsageError
from vsr1_bench.judge import (
    Estimate,
    Item,
    JudgeContext,
    Judged,
    JudgeOptions,
    JudgeRunner,
    ModelJudge,
    RuleJudge,
    Verdicts,
    WrappingRunner,
)
from vsr1_bench.judging.identity import judge_digest
from vsr1_bench.judging.worker import Grader
from vsr1_bench.registry import find_judge, get_judge, load_registry
from vsr1_bench.store.judge_names import read_name
from vsr1_bench.task import Task


class RuleRunner(JudgeRunner):
    """Runs a rule judge; one thread at a time."""

    def __init__(
        self, judge: RuleJudge, include_path: Sequence[str] = (), home: ModuleType | None = None
    ) -> None:
        """Store the judge; its worker, if it needs one, starts with the first item and is kept.

        Args:
            judge: The judge.
            include_path: Folders of plug-ins.
            home: The module that defines the judge.
        """
        self.name, self.answer_type = judge.name, judge.answer_type
        self._judge, self._home = judge, home
        self._grader = Grader(judge, include_path)

    @cached_property
    def identity(self) -> str:  # type: ignore[override]  # hashing code takes as long as a start
        """Digest of the judge's code; read only where verdicts are stored."""
        return judge_digest(self._judge, self._home)

    def judge(self, items: Iterable[Item]) -> Verdicts:
        """Judge items in their order."""
        for item in items:
            yield Judged(item, self._grader.grade(item))

    def estimate(self, items: Iterable[Item]) -> Estimate:
        """A rule makes no calls."""
        return Estimate()

    def close(self) -> None:
        """End the worker."""
        self._grader.close()


class TaggedJudge(WrappingRunner):
    """A judge that receives responses in which the user's own thinking tags are marked."""

    def __init__(self, inner: JudgeRunner, tags: Sequence[str]) -> None:
        """Wrap a judge; the tags are part of the identity."""
        self.name, self.answer_type = inner.name, inner.answer_type
        words = "\0".join([inner.identity, *sorted(tags)])
        self.identity = hashlib.sha256(words.encode()).hexdigest()
        self._inner, self._tags = (inner,), tuple(tags)

    def judge(self, items: Iterable[Item]) -> Verdicts:
        """Judge items."""
        given: dict[int, tuple[Item, Item]] = {}

        def marked() -> Iterator[Item]:
            for item in items:
                shown = self._marked(item)
                given[id(shown)] = item, shown  # keeps `shown` alive, so its id is not reused
                yield shown

        with closing(self._inner[0].judge(marked())) as verdicts:
            for judged in verdicts:
                yield replace(judged, item=given.pop(id(judged.item))[0])

    def _marked(self, item: Item) -> Item:
        return replace(item, response=answers.mark_tags(item.response, self._tags))

    def estimate(self, items: Iterable[Item]) -> Estimate:
        """Estimate the inner judge's calls."""
        return self._inner[0].estimate(map(self._marked, items))


def open_judge(
    spec: str, include_path: Sequence[str] = (), options: JudgeOptions | None = None
) -> JudgeRunner:
    """Open a judge by its spec; no model is loaded or called before the first item.

    Raises:
        JudgeMissingError: a key, an endpoint, a model or a package is missing.
        UsageError: the judge is unknown, or an option that it needs is missing or wrong.
    """
    options = options or JudgeOptions()
    if options.thinking_tags:
        opened = open_judge(spec, include_path, replace(options, thinking_tags=()))
        return TaggedJudge(opened, options.thinking_tags)
    name = read_name(spec)
    judge = find_judge(name.kind, include_path)
    if isinstance(judge, ModelJudge):

        def inner(spec: str, options: JudgeOptions) -> JudgeRunner:
            return open_judge(spec, include_path, options)

        context = JudgeContext(
            spec.strip(), name.argument or "", name.brackets or "", options, inner
        )
        opened = judge.open(context)
        if name.brackets is not None and not opened.name.startswith(f"{name.kind}["):
            raise UsageError(f"judge {spec!r}: {name.kind!r} takes nothing in brackets")
        return opened
    if name.argument is not None:
        raise UsageError(f"judge {spec!r}: {name.kind!r} takes nothing after a colon")
    if name.brackets is not None:
        raise UsageError(f"judge {spec!r}: {name.kind!r} takes nothing in brackets")
    rule = get_judge(name.kind, include_path)
    return RuleRunner(rule, include_path, load_registry(include_path).homes[name.kind])


class JudgePool(Closing):
    """Opens judges for one command: one at a time, and each once.

    Two local models would not fit into memory together. An LLM judge stays open for the next run,
    because it reuses its replies to equal questions only while it is open.
    """

    def __init__(self, include_path: Sequence[str] = (), options: JudgeOptions | None = None):
        """Store the judges' options."""
        self.include_path = tuple(include_path)
        self.options = options or JudgeOptions()
        self._key: tuple[str, str] | None = None
        self._open: JudgeRunner | None = None

    def get(self, spec: str, task: Task) -> JudgeRunner:
        """The judge of this spec for this task, whose own prompt takes precedence.

        Raises:
            UsageError: as `open_judge`.
        """
        key = (spec, task.judge_prompt.digest() if task.judge_prompt else "")
        if self._open is None or key != self._key:
            self.close()
            options = replace(self.options, task_prompt=task.judge_prompt)
            self._open, self._key = open_judge(spec, self.include_path, options), key
        return self._open

    def missing(self, spec: str, task: Task) -> str | None:
        """What this judge is missing, in one line; None = nothing.

        Raises:
            UsageError: the judge or one of its options is unknown.
        """
        try:
            self.get(spec, task)
        except JudgeMissingError as error:
            return str(error)
        return None

    def close(self) -> None:
        """Close the judge that is open."""
        opened, self._open = self._open, None
        if opened is not None:
            opened.close()
