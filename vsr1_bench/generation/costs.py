"""Costs of judges and readers: prices from a file, and the limit on spending."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vsr1_bench.errors import JudgeError, UsageError
from vsr1_bench.records import Completion, Request, Usage

if TYPE_CHECKING:
    from vsr1_bench.generation.base import Generator

# Chat templates and schemas add tokens that are not in the prompt's text.
OVERHEAD_TOKENS = 32
WANTED = 'wanted {"MODEL": {"input": PRICE, "output": PRICE}}, prices of a million tokens'


class BudgetSpentError(JudgeError):
    """The next call could exceed `--max_cost`."""


@dataclass(frozen=True, slots=True)
class Price:
    """Price of a million tokens."""

    input: float
    output: float

    def of(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Cost of these tokens."""
        return (prompt_tokens * self.input + completion_tokens * self.output) / 1e6


def read_prices(path: Path) -> dict[str, Price]:
    """Read a price file.

    Raises:
        UsageError: it cannot be read, or has another form.
    """
    try:
        given = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"--price_file {path}: {error.strerror}; {WANTED}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--price_file {path}: not JSON ({error}); {WANTED}") from error
    if not isinstance(given, dict):
        raise UsageError(f"--price_file {path}: {WANTED}")
    return {model: _price(price, f"--price_file {path}: {model}") for model, price in given.items()}


def _price(given: Any, where: str) -> Price:
    if not isinstance(given, dict) or given.keys() != {"input", "output"}:
        raise UsageError(f"{where}: {WANTED}")
    for value in given.values():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
            raise UsageError(f"{where}: {value!r} is no price; {WANTED}")
    return Price(float(given["input"]), float(given["output"]))


@dataclass(slots=True)
class Spending:
    """Prices, the limit, and what one command has spent so far."""

    prices: Mapping[str, Price] = field(default_factory=dict)
    max_cost: float | None = None
    spent: float = 0.0
    _held: float = 0.0
    """Upper bound of the cost of the calls under way."""

    def price(self, model: str) -> Price | None:
        """Price of a model; None if the user gave none."""
        return self.prices.get(model)

    def check(self, model: str) -> None:
        """Check that the limit can be kept.

        Raises:
            UsageError: there is a limit but no price.
        """
        if self.max_cost is not None and self.price(model) is None:
            raise UsageError(
                f"--max_cost needs the price of {model!r}: give --price_file FILE.json, {WANTED}"
            )

    def most(self, model: str, request: Request) -> float:
        """Upper bound of what a call can cost; 0 if no price is known.

        No token is shorter than a byte, so the bytes of the prompt bound its tokens.
        """
        price = self.price(model)
        text = "".join(str(part) for message in request.messages for part in message.content)
        tokens = OVERHEAD_TOKENS + len(text.encode("utf-8", "replace"))
        return price.of(tokens, request.sampling.max_tokens) if price else 0.0

    def hold(self, most: float) -> bool:
        """Reserve what a call can cost at most; False if that could exceed the limit."""
        if self.max_cost is not None and self.spent + self._held + most > self.max_cost:
            return False
        self._held += most
        return True

    def settle(self, most: float, cost: float) -> None:
        """Replace a reservation by the actual cost."""
        self._held -= most
        self.spent += cost

    def settle_call(self, model: str, most: float, completion: Completion) -> float | None:
        """Settle by a call's tokens; return its cost, None if unknown.

        If a successful call does not state its tokens, the upper bound is charged. If a failed
        call does not, nothing is.
        """
        usage = completion.usage
        cost = cost_of(self.price(model), usage)
        charged = 0.0 if cost is None else cost
        named = usage.prompt_tokens is not None and usage.completion_tokens is not None
        if completion.error is None and not named:
            charged = max(charged, most)
        self.settle(most, charged)
        return cost

    def refusal(self, after: str = "") -> BudgetSpentError:
        """The error for a call that could exceed the limit."""
        return BudgetSpentError(
            f"--max_cost {self.max_cost:g}: {self.spent:.6g} is spent, and the next call could go "
            f"over it{after}"
        )


class PaidCalls:
    """Requests to one model; a request that could exceed the cost limit is not sent."""

    def __init__(self, requests: Iterator[Request | None], spending: Spending, model: str) -> None:
        """Store the requests; a None among them means that there is none for now."""
        self._requests, self._spending, self._model = requests, spending, model
        self._most: dict[str, float] = {}
        """Per key of a call that is under way: the most that it can cost."""
        self._waiting: deque[Request] = deque()
        """Requests that could not be afforded while others were under way, and retries."""

    def serve(self, open: Callable[[], Generator]) -> Iterator[tuple[Completion, float | None]]:
        """Yield completions and their costs; the model is opened for the first request.

        It ends when there are no more requests, or when the next one could not be afforded.
        """
        if (request := self._following()) is None:
            return
        first = [request]
        for completion in open().serve(lambda: first.pop() if first else self._following()):
            most = self._most.pop(completion.key)
            yield completion, self._spending.settle_call(self._model, most, completion)

    def retry(self, request: Request) -> None:
        """Send a request again, before the others."""
        self._waiting.appendleft(request)

    def check(self, after: str = "") -> None:
        """Check that every request was sent.

        Raises:
            BudgetSpentError: one could not be afforded.
        """
        if self._waiting:
            raise self._spending.refusal(after)

    def _following(self) -> Request | None:
        request = self._waiting.popleft() if self._waiting else next(self._requests, None)
        if request is None:
            return None
        most = self._spending.most(self._model, request)
        if not self._spending.hold(most):
            self._waiting.appendleft(request)
            return None
        self._most[request.key] = most
        return request


def cost_of(price: Price | None, usage: Usage) -> float | None:
    """Cost of a call; None if the price or the tokens are not known."""
    if price is None or (usage.prompt_tokens is None and usage.completion_tokens is None):
        return None
    return price.of(usage.prompt_tokens or 0, usage.completion_tokens or 0)
