"""An LLM as judge, on the generation path: prompts out, replies in, verdicts as they arrive."""

from __future__ import annotations

import hashlib
import re
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from vsr1_bench import answers
from vsr1_bench.errors import BenchError, JudgeError
from vsr1_bench.generation.base import NO_SCHEMA, Generator
from vsr1_bench.generation.connect import Connection
from vsr1_bench.generation.costs import (
    OVERHEAD_TOKENS,
    BudgetSpentError,
    Spending,
    cost_of,
)
from vsr1_bench.generation.tally import HOPELESS
from vsr1_bench.judge import Estimate, Item, Judged, JudgeRunner, Verdicts
from vsr1_bench.judging import llm_parse
from vsr1_bench.judging.llm_replies import Reply, ReplyJournal, read_replies, replies_path
from vsr1_bench.prompts.judge_prompts import JudgePrompt
from vsr1_bench.records import Completion, Message, Request, Verdict
from vsr1_bench.store.spec import canonical_json

TAIL = 2000
"""Characters of a final region that are shown where no final answer can be extracted."""
FILL_SECONDS = 1.0
"""How long new items are prepared before the replies that are there are passed on."""
# How an endpoint says that it cannot be held to a schema.
_NO_SCHEMA = re.compile(
    r"HTTP (?:400|415|422): "
    r".*(?:response_format|response_mime|json_object|structured|schema|grammar)",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(slots=True)
class _Asked:
    """A prompt, and the items that wait for its reply."""

    key: str
    items: list[tuple[Item, str | None]]
    """Each with its extracted answer."""
    shown: str
    """The candidate, as the judge sees it."""
    structured: bool
    most: float
    """What it can cost."""


class LLMRunner(JudgeRunner):
    """Judges by asking a model once for each different (question, gold, candidate, choices).

    A reply is written down the moment it comes, before anybody reads a verdict from it (see
    `keeping`), and one that can be read is not asked for again.
    """

    def __init__(
        self,
        name: str,
        version: int,
        connection: Connection,
        prompt: JudgePrompt,
        spending: Spending,
    ) -> None:
        """Remember what to ask; the model is loaded or called when the first prompt is there.

        Raises:
            UsageError: a bound on the cost and no price.
        """
        spending.check(connection.model)
        self.name = name
        self.prompt, self.prompt_hash = prompt, prompt.digest()
        self._connection, self._spending = connection, spending
        self._price = spending.price(connection.model)
        sampling = connection.sampling
        asks = {
            "judge": [name, version],
            "model": [connection.model, connection.mark],
            "prompt": self.prompt_hash,
            "sampling": [sampling.temperature, sampling.top_p, sampling.max_tokens, sampling.seed],
            "told": dict(connection.told),
        }
        self._asks = hashlib.sha256(canonical_json(asks).encode()).hexdigest()
        """Digest of what decides a reply; how it is read is not part of that."""
        decides = canonical_json([self._asks, llm_parse.VERSION])
        self.identity = hashlib.sha256(decides.encode()).hexdigest()
        self._structured = prompt.schema is not None
        self._generator: Generator | None = None
        self._asked: dict[str, _Asked] = {}
        """Prompts on their way."""
        self._known: dict[str, Reply] = {}
        """Replies by the hash of what was asked."""
        self._journal: ReplyJournal | None = None
        self._free: deque[Judged] = deque()
        """Verdicts that took no separate call."""
        self._held: _Asked | None = None
        """The next prompt, too dear while others are on their way."""
        self._ended = False
        self._failed = 0
        """Calls that have failed since the last one that has not."""

    def judge(self, items: Iterable[Item]) -> Verdicts:
        """Judge items; nothing is asked twice within the life of this judge.

        Raises:
            BudgetSpentError: the bound on the cost is reached; every reply on its way has come.
            JudgeError: so many calls in a row have failed that it is hopeless.
            BenchError: the model cannot be asked (a refused key, a dead endpoint).
        """
        try:
            yield from self._stream(iter(items))
        except BudgetSpentError:
            raise
        except BenchError as error:
            raise type(error)(f"judge {self.name!r}: {error}") from None

    def estimate(self, items: Iterable[Item]) -> Estimate:
        """Count the calls of different prompts, and their tokens."""
        seen: set[str] = set()
        tokens = 0
        for item in items:
            shown = candidate(item, graded=self.prompt.graded)
            if shown is None:
                continue
            text = self._prompt(item, shown[0])
            key = _key(text, item.vote)
            if key not in seen and key not in self._known:
                seen.add(key)
                tokens += OVERHEAD_TOKENS + len(text) // 4
        replies = len(seen) * self._connection.sampling.max_tokens
        cost = self._price.of(tokens, replies) if self._price else None
        return Estimate(len(seen), tokens, replies, cost if seen else 0.0)

    def recall(self, folder: Path) -> set[str]:
        """Know the replies of a folder that can be read, and return their keys."""
        found = read_replies(replies_path(folder, self.name, self._asks))
        readable = {
            key: reply
            for key, reply in found.items()
            if self._verdict(reply.completion).outcome != "unscored"
        }
        self._known |= readable
        return set(readable)

    @contextmanager
    def keeping(self, folder: Path) -> Iterator[tuple[Path, ...]]:
        """Write each reply into a folder as it comes, and use those that are there."""
        path = replies_path(folder, self.name, self._asks)
        self._journal = ReplyJournal(path, set())
        try:
            # Read under the lock: what another process has just paid for is here by now.
            self._journal.held |= self.recall(folder)
            yield (path,)
        finally:
            journal, self._journal = self._journal, None
            journal.close()

    def close(self) -> None:
        """Free the model, or end the calls."""
        if self._generator is not None:
            self._generator.close()
            self._generator = None

    def _stream(self, source: Iterator[Item]) -> Iterator[Judged]:
        self._held, self._ended = None, False
        while True:
            self._fill(source)
            yield from self._drain()
            if self._asked:
                for completion in self._opened().completions():
                    yield from self._finish(completion)
                    self._fill(source)
                    yield from self._drain()
            elif self._held is not None:
                raise self._spending.refusal("; verdicts so far are safe")
            elif self._ended:
                return

    def _drain(self) -> Iterator[Judged]:
        while self._free:
            yield self._free.popleft()

    def _opened(self) -> Generator:
        if self._generator is None:
            self._generator = self._connection.open()
            self._generator.on_arrival = self._arrived
        return self._generator

    def _fill(self, source: Iterator[Item]) -> None:
        """Submit what there is room, money and a little time for."""
        until = time.monotonic() + FILL_SECONDS
        while not self._ended and (not self._asked or time.monotonic() < until):
            if self._asked and len(self._asked) >= self._opened().capacity:
                return
            asked = self._held
            if asked is None:
                item = next(source, None)
                if item is None:
                    self._ended = True
                    return
                asked = self._consider(item)
                if asked is None:
                    continue
            self._held = None
            if not self._spending.hold(asked.most):
                self._held = asked
                return
            self._asked[asked.key] = asked
            self._submit(asked)

    def _consider(self, item: Item) -> _Asked | None:
        """Turn an item into a prompt; None if its verdict is known, on its way or free."""
        shown = candidate(item, graded=self.prompt.graded)
        if shown is None:
            verdict = Verdict("incorrect", unparsed=True, reason="no final answer")
            self._free.append(self._judged(item, replace(verdict, score=self._zero)))
            return None
        text, extracted = self._prompt(item, shown[0]), shown[1]
        key = _key(text, item.vote)
        if key in self._known:
            self._keep(self._known[key])  # in this run's folder, too
            self._free.append(self._said(item, extracted, self._known[key]))
            return None
        if key in self._asked:
            self._asked[key].items.append((item, extracted))
            return None
        limit = self._connection.sampling.max_tokens
        most = self._spending.most(self._connection.model, text, limit)
        return _Asked(key, [(item, extracted)], shown[0], self._structured, most)

    @property
    def _zero(self) -> float | None:
        return 0.0 if self.prompt.graded else None

    def _prompt(self, item: Item, shown: str, *, structured: bool = True) -> str:
        written = self.prompt.write(
            item.question, item.answer, shown, item.choices, structured=structured
        )
        return answers.well_formed(written)

    def _submit(self, asked: _Asked) -> None:
        item, _ = asked.items[0]
        text = self._prompt(item, asked.shown, structured=asked.structured)
        schema = self.prompt.schema if asked.structured else None
        self._opened().submit(
            Request(
                asked.key,
                (Message("user", (text,)),),
                self._connection.sampling,
                sample_id=item.sample_id or item.id,
                index=item.vote,
                json_schema=schema,
            )
        )

    def _finish(self, completion: Completion) -> Iterator[Judged]:
        """Read a reply, for all the items that wait for it."""
        asked = self._asked[completion.key]
        if asked.structured and _cannot_be_held(completion.error):
            self._structured = asked.structured = False
            self._again(asked, completion)
            return
        self._arrived(completion)
        del self._asked[completion.key]
        cost = self._spending.settle_call(self._connection.model, asked.most, completion)
        reply = Reply(completion, cost)
        self._known[completion.key] = reply
        for item, extracted in asked.items:
            yield self._said(item, extracted, reply)
        self._failed = self._failed + 1 if completion.error is not None else 0
        if self._failed >= HOPELESS:
            raise JudgeError(
                f"the last {self._failed} calls all failed: {completion.error}; "
                "verdicts so far are safe"
            )

    def _again(self, asked: _Asked, refused: Completion) -> None:
        """Ask once more without the schema; what the refusal cost is counted, the bound kept."""
        self._spending.settle_call(self._connection.model, asked.most, refused)
        if self._spending.hold(asked.most):
            self._submit(asked)
            return
        # Where another is held back already, the command ends with it: these have no verdict yet.
        del self._asked[asked.key]
        self._held = self._held or asked

    def _arrived(self, completion: Completion) -> None:
        """Write a reply down; called in whatever thread it came in."""
        self._keep(Reply(completion, cost_of(self._price, completion.usage)))

    def _keep(self, reply: Reply) -> None:
        if self._journal is not None and reply.completion.error is None:
            self._journal.add(reply.completion.key, reply)

    def _said(self, item: Item, extracted: str | None, reply: Reply) -> Judged:
        """What a reply says of an item; equal ones share it, and `asked` tells that they do."""
        completion = reply.completion
        return replace(
            self._judged(item, replace(self._verdict(completion), extracted=extracted)),
            raw=completion.text if completion.error is None else None,
            usage=completion.usage,
            cost=reply.cost,
            asked=completion.key,
        )

    def _verdict(self, completion: Completion) -> Verdict:
        if completion.error is not None:
            return Verdict("unscored", reason=f"the judge failed: {completion.error}")
        if completion.finish_reason == "length":
            return Verdict("unscored", reason="the judge's reply was cut at its token limit")
        return llm_parse.read_reply(completion.text, graded=self.prompt.graded)

    def _judged(self, item: Item, verdict: Verdict) -> Judged:
        return Judged(item, verdict, model=self._connection.model, prompt_hash=self.prompt_hash)


def candidate(item: Item, *, graded: bool = False) -> tuple[str, str | None] | None:
    """What the judge is shown of a response, and the extracted answer; None = it gives no answer.

    The extracted final answer, else the end of what was said outside thinking and description.
    Graded answers are sentences: of those only a marked final answer counts as extracted.
    """
    found = answers.extract(item.response, item.answer_type, item.choices)
    if found.value is not None and (not graded or found.how in ("boxed", "answer_tag")):
        return found.value, found.value
    region = answers.final_region(item.response).strip()
    return (region[-TAIL:], None) if region else None


def _key(text: str, vote: int) -> str:
    words = f"{vote}\0{text}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(words).hexdigest()[:32]


def _cannot_be_held(error: str | None) -> bool:
    """Whether a failure is about structured output itself."""
    return error is not None and (error == NO_SCHEMA or bool(_NO_SCHEMA.match(error)))
