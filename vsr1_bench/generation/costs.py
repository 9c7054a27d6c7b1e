"""Costs of models, judges and readers: prices from a file, the limit, and what was spent."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vsr1_bench.errors import JudgeError, UsageError
from vsr1_bench.records import Completion, ImagePlace, Request, Usage

if TYPE_CHECKING:
    from vsr1_bench.generation.base import Generator

# Chat templates and schemas add tokens that are not in the prompt's text.
OVERHEAD_TOKENS = 32
IMAGE_TOKENS = 50_000
"""Most tokens of an image if the price file states none. The most expensive published formula
(gpt-4o-mini: 2,833 tokens, and 5,667 for each of at most 8 tiles) gives 48,169."""
WANTED = (
    'wanted {"MODEL": {"input": PRICE, "output": PRICE}}, prices of a million tokens; each may '
    'have "cached_input" (price), "batch" (factor for --batch) and "image" (most tokens of an '
    'image), and the file a "currency"'
)
CURRENCY = "currency"


class BudgetSpentError(JudgeError):
    """The next call could exceed `--max_cost`."""


@dataclass(frozen=True, slots=True)
class Price:
    """Price of a million tokens."""

    input: float
    output: float
    cached_input: float | None = None
    """Of prompt tokens that the endpoint reads from its cache; None = like the others."""
    batch: float = 1.0
    """Factor for calls by `--batch`; 0.5 is half price."""
    image: int = IMAGE_TOKENS
    """Most tokens of an image."""

    def of(self, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0) -> float:
        """Cost of these tokens; cached ones are part of the prompt's."""
        cached = min(max(cached_tokens, 0), prompt_tokens)
        cheap = self.input if self.cached_input is None else self.cached_input
        prompt = (prompt_tokens - cached) * self.input + cached * cheap
        return (prompt + completion_tokens * self.output) / 1e6

    def most(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Upper bound of the cost, whichever part of the prompt is cached."""
        cached = prompt_tokens if (self.cached_input or 0) > self.input else 0
        return self.of(prompt_tokens, completion_tokens, cached)

    def by_batch(self) -> Price:
        """The price of the same tokens by `--batch`."""
        cached = None if self.cached_input is None else self.cached_input * self.batch
        return Price(self.input * self.batch, self.output * self.batch, cached, image=self.image)


def read_prices(path: Path) -> tuple[dict[str, Price], str]:
    """Read a price file: the price of each model, and the currency (empty if none is stated).

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
    currency = ""
    if isinstance(given.get(CURRENCY), str):
        currency = given.pop(CURRENCY)
        if not currency.isprintable() or not 0 < len(currency) <= 12:
            raise UsageError(f"--price_file {path}: currency {currency[:40]!r}; wanted e.g. USD")
    prices = {model: _price(one, f"--price_file {path}: {model}") for model, one in given.items()}
    return prices, currency


def _price(given: Any, where: str) -> Price:
    needed, known = {"input", "output"}, {"input", "output", "cached_input", "batch", "image"}
    if not isinstance(given, dict) or not needed <= given.keys() <= known:
        raise UsageError(f"{where}: {WANTED}")
    for value in given.values():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
            raise UsageError(f"{where}: {value!r} is no price; {WANTED}")
    if given.get("batch", 1) > 1:
        raise UsageError(f"{where}: batch {given['batch']}: wanted a factor, 0.5 for half price")
    return Price(**given)


@dataclass(slots=True)
class Account:
    """What one model (or judge, or reader) of a command has used."""

    calls: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    untold: int = 0
    """Calls that succeeded without stating their tokens."""
    cost: float | None = 0.0
    """None if the price is not known."""

    def add(self, completion: Completion, charged: float | None) -> None:
        """Count a call."""
        usage = completion.usage
        self.calls += 1
        self.failed += completion.error is not None
        self.prompt_tokens += usage.prompt_tokens or 0
        self.cached_tokens += completion.cached_tokens or 0
        self.completion_tokens += usage.completion_tokens or 0
        self.untold += completion.error is None and None in (
            usage.prompt_tokens,
            usage.completion_tokens,
        )
        self.cost = None if charged is None or self.cost is None else self.cost + charged

    def line(self, currency: str) -> str:
        """Calls, tokens and cost in words."""
        calls = f"{self.calls:,} call{'' if self.calls == 1 else 's'}"
        calls += f" ({self.failed:,} failed)" if self.failed else ""
        cached = f" ({self.cached_tokens:,} cached)" if self.cached_tokens else ""
        words = [
            calls,
            f"{self.prompt_tokens:,} tokens in{cached}",
            f"{self.completion_tokens:,} out",
        ]
        if self.untold:
            words.append(f"{self.untold:,} without counts")
        most = "at most " if self.untold and self.cost else ""
        words.append("price unknown" if self.cost is None else most + money(self.cost, currency))
        return ", ".join(words)


def money(amount: float, currency: str) -> str:
    """An amount with its currency; small ones have more digits."""
    digits = 6 if 0 < amount < 0.01 else 4
    return f"{amount:.{digits}f} {currency}".rstrip()


@dataclass(slots=True)
class Spending:
    """Prices, the limit, and what one command has spent so far, with everyone it asks."""

    prices: Mapping[str, Price] = field(default_factory=dict)
    max_cost: float | None = None
    spent: float = 0.0
    currency: str = ""
    batch: bool = False
    """Whether calls go by `--batch`, at its price."""
    accounts: dict[str, Account] = field(default_factory=dict)
    """What was used, by who was asked: `model m`, `judge openai[m]`."""
    _held: float = 0.0
    """Upper bound of the cost of the calls under way."""

    def price(self, model: str) -> Price | None:
        """Price of a model; None if the user gave none."""
        price = self.prices.get(model)
        return price.by_batch() if price and self.batch else price

    def check(self, model: str) -> None:
        """Check that the limit can be kept.

        Raises:
            UsageError: there is a limit but no price.
        """
        if self.max_cost is not None and self.price(model) is None:
            raise UsageError(
                f"--max_cost needs the price of {model!r} (0 if it costs nothing): give "
                f"--price_file FILE.json, {WANTED}"
            )

    def prompt_bound(self, model: str, request: Request) -> int:
        """Upper bound of the tokens of a prompt.

        No token is shorter than a byte, so the bytes of the text bound its tokens, those of a
        schema and of an extra body included. Images have a bound of their own (`Price.image`).
        """
        price = self.price(model)
        parts = [part for message in request.messages for part in message.content]
        text = "".join(part for part in parts if isinstance(part, str))
        text += json.dumps(dict(request.json_schema)) if request.json_schema else ""
        text += request.sampling.extra_body or ""
        images = sum(isinstance(part, ImagePlace) for part in parts)
        each = price.image if price else IMAGE_TOKENS
        return OVERHEAD_TOKENS + len(text.encode("utf-8", "replace")) + images * each

    def most(self, model: str, request: Request) -> float:
        """Upper bound of what a call can cost; 0 if no price is known."""
        price = self.price(model)
        if price is None:
            return 0.0
        return price.most(self.prompt_bound(model, request), request.sampling.max_tokens)

    def hold(self, most: float, *, paid: bool = False) -> bool:
        """Reserve what a call can cost at most; False if that could exceed the limit.

        A call that is paid for already is reserved in any case.
        """
        if (
            not paid
            and self.max_cost is not None
            and self.spent + self._held + most > self.max_cost
        ):
            return False
        self._held += most
        return True

    def settle(self, most: float, cost: float) -> None:
        """Replace a reservation by the actual cost."""
        self._held -= most
        self.spent += cost

    def settle_call(
        self, model: str, most: float, completion: Completion, *, who: str = ""
    ) -> float | None:
        """Settle by a call's tokens; return its cost, None if unknown.

        If a successful call does not state its tokens, the upper bound is charged. If a failed
        call does not, nothing is.

        Args:
            model: The model that was called.
            most: What `hold` has reserved.
            completion: The reply.
            who: The account; empty = the model's.
        """
        usage = completion.usage
        price = self.price(model)
        cost = cost_of(price, usage, completion.cached_tokens)
        charged = 0.0 if cost is None else cost
        named = usage.prompt_tokens is not None and usage.completion_tokens is not None
        if completion.error is None and not named:
            charged = max(charged, most)
        self.settle(most, charged)
        account = self.accounts.setdefault(who or f"model {model}", Account())
        account.add(completion, None if price is None else charged)
        return cost

    def refusal(self, after: str = "") -> BudgetSpentError:
        """The error for a call that could exceed the limit."""
        return BudgetSpentError(
            f"--max_cost {self.max_cost:g}: {self.spent:.6g} is spent, and the next call could go "
            f"over it{after}"
        )

    def lines(self) -> list[str]:
        """What was spent: a line for everyone who was asked, and the sum if there are several."""
        asked = [(who, one) for who, one in self.accounts.items() if one.calls]
        lines = [f"spent: {who}: {one.line(self.currency)}" for who, one in asked]
        if len(asked) > 1:
            costs = [one.cost for _, one in asked]
            known = money(sum(cost for cost in costs if cost is not None), self.currency)
            rest = ", and what has no known price" if None in costs else ""
            lines.append(f"spent in all: {known}{rest}")
        return lines


class PaidCalls:
    """Requests to one model; a request that could exceed the cost limit is not sent."""

    def __init__(
        self,
        requests: Iterator[Request | None],
        spending: Spending,
        model: str,
        who: str = "",
    ) -> None:
        """Store the requests.

        Args:
            requests: A None among them means that there is none for now.
            spending: The prices and the limit.
            model: The model whose price counts.
            who: Under which name `spending` counts its calls.
        """
        self._requests, self._spending, self._model = requests, spending, model
        self._who = who
        self._most: dict[str, float] = {}
        """Per key of a call that is under way: the most that it can cost."""
        self._paid: Callable[[Request], bool] = lambda request: False
        """Whether an earlier command has paid for a request already."""
        self._waiting: deque[Request] = deque()
        """Requests that could not be afforded while others were under way, and retries."""

    def serve(self, open: Callable[[], Generator]) -> Iterator[tuple[Completion, float | None]]:
        """Yield completions and their costs; the model is opened for the first request.

        It ends when there are no more requests, or when the next one could not be afforded.
        """
        if (first := next(self._requests, None)) is None:
            return
        self._waiting.append(first)
        generator = open()
        self._paid = generator.submitted
        for completion in generator.serve(self._following):
            most = self._most.pop(completion.key)
            yield (
                completion,
                self._spending.settle_call(self._model, most, completion, who=self._who),
            )

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
        if not self._spending.hold(most, paid=self._paid(request)):
            self._waiting.appendleft(request)
            return None
        self._most[request.key] = most
        return request


def cost_of(price: Price | None, usage: Usage, cached_tokens: int | None = None) -> float | None:
    """Cost of a call; None if the price or the tokens are not known."""
    if price is None or (usage.prompt_tokens is None and usage.completion_tokens is None):
        return None
    return price.of(usage.prompt_tokens or 0, usage.completion_tokens or 0, cached_tokens or 0)
