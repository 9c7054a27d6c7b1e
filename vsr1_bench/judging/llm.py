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
from vsr1_bench.generation.base import NO_SCHEMA, Generator, Home
from vsr1_bench.generation.connect import Connection
from vsr1_bench.generation.costs import BudgetSpentError, PaidCalls, Spending, cost_of
from vsr1_bench.generation.estimates import Estimate, Seen, estimate_requests
from vsr1_bench.generation.further_fields import given_fields
from vsr1_bench.generation.tally import HOPELESS
from vsr1_bench.judge import Item, Judged, JudgeRunner, Verdicts
from vsr1_bench.judging import llm_parse
from vsr1_bench.judging.llm_replies import Reply, ReplyJournal, read_replies, replies_path
from vsr1_bench.prompts.judge_prompts import JudgePrompt
from vsr1_bench.records import Completion, Message, Request, Verdict
from vsr1_bench.store.spec import canonical_json

TAIL = 2000
"""Characters of the final region that are shown if no final answer can be extracted."""
FILL_SECONDS = 1.0
"""How long items are prepared before the replies that have arrived are passed on."""
# How endpoints say that they do not support a schema.
_NO_SCHEMA = re.compile(
    r"HTTP (?:400|415|422): "
    r".*(?:response_format|response_mime|json_object|structured|schema|grammar)",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(slots=True)
class _Prompt:
    """A prompt under way, and the items that wait for its reply."""

    items: list[tuple[Item, str | None]]
    """Each with its extracted answer."""
    shown: str
    """The candidate, as the judge sees it."""
    structured: bool
    """Whether the reply must follow the JSON schema."""


class LLMRunner(JudgeRunner):
    """Judges by asking a model once for each different (question, gold, candidate, choices).

    A reply is stored as soon as it arrives, before it is parsed (see `keeping`). A reply that can
    be parsed is never requested again.
    """

    def __init__(
        self,
        name: str,
        connection: Connection,
        prompt: JudgePrompt,
        spending: Spending,
    ) -> None:
        """Keep the settings; the model is loaded or called for the first prompt.

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
            "judge": [name, 1],
            "model": [connection.model, connection.mark],
            "prompt": self.prompt_hash,
            "sampling": [sampling.temperature, sampling.top_p, sampling.max_tokens, sampling.seed],
            "told": dict(connection.settings),
        } | given_fields(sampling)
        self._asks = hashlib.sha256(canonical_json(asks).encode()).hexdigest()
        """Digest of everything that affects a reply; its parser is not part of it."""
        decides = canonical_json([self._asks, llm_parse.VERSION])
        self.identity = hashlib.sha256(decides.encode()).hexdigest()
        self._structured = prompt.schema is not None
        self._generator: Generator | None = None
        self._prompts: dict[str, _Prompt] = {}
        """Prompts under way, by the hash of the request."""
        self._known: dict[str, Reply] = {}
        """Replies by the hash of the request."""
        self._journal: ReplyJournal | None = None
        self._free: deque[Judged] = deque()
        """Verdicts that took no separate call."""
        self._until = 0.0
        """When to stop preparing items and pass on the replies that have arrived."""
        self._failed = 0
        """Failed calls since the last one that succeeded."""

    def by_batch(self) -> bool:
        """Whether its endpoint can have a batch service."""
        return self._connection.by_batch

    def judge(self, items: Iterable[Item]) -> Verdicts:
        """Judge items; no request is made twice in the life of this judge.

        Raises:
            BudgetSpentError: the cost limit is reached; every call under way has finished.
            JudgeError: `HOPELESS` calls in a row have failed.
            BenchError: the model cannot be called (a refused key, a dead endpoint).
        """
        try:
            yield from self._stream(items)
        except BudgetSpentError:
            raise
        except BenchError as error:
            raise type(error)(f"judge {self.name!r}: {error}") from None

    def estimate(self, items: Iterable[Item]) -> Estimate:
        """Count distinct prompts and their tokens."""
        asked: set[str] = set()
        seen = Seen()
        for reply in self._known.values():
            seen.add(reply.completion.usage)

        def requests() -> Iterator[Request]:
            for item in items:
                shown = candidate(item, graded=self.prompt.graded)
                if shown is None:
                    continue
                text = self._text(item, shown[0])
                key = _key(text, item.vote)
                if key not in asked and key not in self._known:
                    asked.add(key)
                    prompt = _Prompt([(item, shown[1])], shown[0], self._structured)
                    yield self._request(key, prompt, text)

        return estimate_requests(requests(), self._spending, self._connection.model, seen)

    def recall(self, folder: Path) -> set[str]:
        """Load the replies of a folder that can be parsed, and return their keys."""
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
        """Store each reply in a folder as it arrives, and use the stored ones."""
        path = replies_path(folder, self.name, self._asks)
        self._journal = ReplyJournal(path, set())
        try:
            # Read under the lock, to include what another process has just paid for.
            self._journal.held |= self.recall(folder)
            yield (path,)
        finally:
            journal, self._journal = self._journal, None
            journal.close()

    def close(self) -> None:
        """Free the model, or cancel the calls."""
        if self._generator is not None:
            self._generator.close()
            self._generator = None

    def _stream(self, items: Iterable[Item]) -> Iterator[Judged]:
        calls = PaidCalls(
            self._requests(items), self._spending, self._connection.model, f"judge {self.name}"
        )
        self._until = time.monotonic() + FILL_SECONDS
        try:
            for completion, cost in calls.serve(self._opened):
                prompt = self._prompts[completion.key]
                if prompt.structured and _schema_refused(completion.error):
                    self._structured = prompt.structured = False
                    text = self._text(prompt.items[0][0], prompt.shown, structured=False)
                    calls.retry(self._request(completion.key, prompt, text))
                else:
                    yield from self._finish(completion, cost)
                yield from self._drain()
                self._until = time.monotonic() + FILL_SECONDS
            yield from self._drain()
            calls.check("; verdicts so far are safe")
        finally:
            if self._prompts:  # stopped early: drop the calls under way
                self._prompts.clear()
                self.close()

    def _home(self, request: Request) -> Home:
        """Where the record of batches of this judge is: beside its replies."""
        assert self._journal is not None
        path = self._journal.path
        return Home(path.parent, f"-{path.stem}", self._journal.held)

    def _drain(self) -> Iterator[Judged]:
        while self._free:
            yield self._free.popleft()

    def _opened(self) -> Generator:
        if self._generator is None:
            self._generator = self._connection.open()
            self._generator.on_arrival = self._arrived
        self._generator.home = self._home if self._journal is not None else None
        return self._generator

    def _requests(self, items: Iterable[Item]) -> Iterator[Request | None]:
        """Yield the requests that items need; None when replies should be passed on first."""
        for item in items:
            request = self._consider(item)
            if request is not None:
                yield request
            by_batch = self._generator is not None and self._generator.by_batch
            while self._prompts and time.monotonic() > self._until and not by_batch:
                yield None

    def _consider(self, item: Item) -> Request | None:
        """Turn an item into a request; None if its verdict is known, under way or free."""
        shown = candidate(item, graded=self.prompt.graded)
        if shown is None:
            zero = 0.0 if self.prompt.graded else None
            verdict = Verdict("incorrect", unparsed=True, reason="no final answer", score=zero)
            self._free.append(self._judged(item, verdict))
            return None
        text, extracted = self._text(item, shown[0]), shown[1]
        key = _key(text, item.vote)
        if key in self._known:
            self._keep(self._known[key])  # in this run's folder, too
            self._free.append(self._judged_by(self._known[key], item, extracted))
            return None
        if key in self._prompts:
            self._prompts[key].items.append((item, extracted))
            return None
        self._prompts[key] = _Prompt([(item, extracted)], shown[0], self._structured)
        if not self._structured:
            text = self._text(item, shown[0], structured=False)
        return self._request(key, self._prompts[key], text)

    def _text(self, item: Item, shown: str, *, structured: bool = True) -> str:
        written = self.prompt.write(
            item.question, item.answer, shown, item.choices, structured=structured
        )
        return answers.well_formed(written)

    def _request(self, key: str, prompt: _Prompt, text: str) -> Request:
        item, _ = prompt.items[0]
        return Request(
            key,
            (Message("user", (text,)),),
            self._connection.sampling,
            sample_id=item.sample_id or item.id,
            index=item.vote,
            json_schema=self.prompt.schema if prompt.structured else None,
        )

    def _finish(self, completion: Completion, cost: float | None) -> Iterator[Judged]:
        """Read a reply, for all the items that wait for it."""
        reply = Reply(completion, cost)
        self._keep(reply)
        self._known[completion.key] = reply
        for item, extracted in self._prompts.pop(completion.key).items:
            yield self._judged_by(reply, item, extracted)
        self._failed = self._failed + 1 if completion.error is not None else 0
        if self._failed >= HOPELESS:
            raise JudgeError(
                f"the last {self._failed} calls all failed: {completion.error}; "
                "verdicts so far are safe"
            )

    def _arrived(self, completion: Completion) -> None:
        """Store a reply; called in the thread that received it."""
        self._keep(
            Reply(completion, cost_of(self._price, completion.usage, completion.cached_tokens))
        )

    def _keep(self, reply: Reply) -> None:
        if self._journal is not None and reply.completion.error is None:
            self._journal.add(reply.completion.key, reply)

    def _judged_by(self, reply: Reply, item: Item, extracted: str | None) -> Judged:
        """The verdict of a reply on an item; items with the same `asked` share the reply."""
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
    """What the judge is shown of a response, and the extracted answer; None = no answer.

    It is the extracted final answer, else the end of the text outside thinking and description.
    Graded answers are sentences, so there only a marked final answer counts as extracted.
    """
    found = answers.extract(item.response, item.answer_type, item.choices)
    if found.value is not None and (not graded or found.how in ("boxed", "answer_tag")):
        return found.value, found.value
    region = answers.final_region(item.response).strip()
    return (region[-TAIL:], None) if region else None


def _key(text: str, vote: int) -> str:
    words = f"{vote}\0{text}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(words).hexdigest()[:32]


def _schema_refused(error: str | None) -> bool:
    """Whether an endpoint refused structured output itself."""
    return error is not None and (error == NO_SCHEMA or bool(_NO_SCHEMA.match(error)))
