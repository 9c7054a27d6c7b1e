"""Estimates of calls, tokens and cost before anybody is asked, and bounds that nothing exceeds.

An estimate (`≈`) counts four characters as a token and takes the length of replies from those that
the same model has given already. A bound (`≤`) counts every byte as a token, and the limit of each
reply.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from vsr1_bench.generation.costs import OVERHEAD_TOKENS, Spending, money
from vsr1_bench.records import ImagePlace, Request, Usage

USUAL_IMAGE = 1000
"""Tokens of an image in estimates if the price file states no bound below it."""
HEADERS = (
    "calls", "tokens in ≈", "tokens out ≈", "cost ≈", "tokens in ≤", "tokens out ≤", "cost ≤",
)  # fmt: skip
LEGEND = (
    "no model was called; ≈ is an estimate: four characters are a token, an image is 1,000, and "
    "replies are as long as the stored ones; ≤ is a bound"
)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What calls would use. A token of a prompt is estimated as four characters."""

    calls: int = 0
    prompt_tokens: int = 0
    """An estimate."""
    completion_tokens: int = 0
    """An upper bound: the limit of the replies."""
    cost: float | None = 0.0
    """An upper bound; None = the price is unknown."""
    prompt_bound: int | None = None
    """An upper bound; None = there is none."""
    reply_tokens: int | None = None
    """An estimate; None = no reply has been seen yet."""
    usual_cost: float | None = None
    """An estimate; None = the price is unknown, or no reply has been seen yet."""

    def __add__(self, other: Estimate) -> Estimate:
        """The sum; unknown if a part of it is. A part without calls adds nothing."""
        if not other.calls and other.cost is not None:
            return self
        if not self.calls and self.cost is not None:
            return other
        return Estimate(
            self.calls + other.calls,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            _sum(self.cost, other.cost),
            _whole(_sum(self.prompt_bound, other.prompt_bound)),
            _whole(_sum(self.reply_tokens, other.reply_tokens)),
            _sum(self.usual_cost, other.usual_cost),
        )

    def bounded_by(self, bound: Estimate) -> Estimate:
        """The estimates of this one with the bounds of another, of as many calls."""
        return replace(
            bound,
            prompt_tokens=self.prompt_tokens,
            reply_tokens=self.reply_tokens,
            usual_cost=self.usual_cost,
        )

    def cells(self, currency: str = "", *, at_most: bool = False) -> tuple[str, ...]:
        """The cells of a table's row, under `HEADERS`.

        Args:
            currency: Of the costs.
            at_most: The number of calls is a bound, too.
        """
        if not self.calls and self.cost is not None:
            nothing = money(0.0, currency)
            return ("0", "0", "0", nothing, "0", "0", nothing)

        def shown(value: int | None) -> str:
            return "–" if value is None else str(value)

        usual = "–" if self.usual_cost is None else money(self.usual_cost, currency)
        most = "price unknown" if self.cost is None else money(self.cost, currency)
        return (
            f"{'≤ ' if at_most else ''}{self.calls}",
            str(self.prompt_tokens),
            shown(self.reply_tokens),
            usual,
            shown(self.prompt_bound),
            str(self.completion_tokens),
            most,
        )


@dataclass(slots=True)
class Seen:
    """Tokens of the replies that a model has given already."""

    replies: int = 0
    tokens: int = 0

    def add(self, usage: Usage) -> None:
        """Count a reply if it states its tokens."""
        if usage.completion_tokens is not None:
            self.replies += 1
            self.tokens += usage.completion_tokens

    def mean(self) -> float | None:
        """Tokens of a reply on average; None if none was seen."""
        return self.tokens / self.replies if self.replies else None


def estimate_requests(
    requests: Iterable[Request], spending: Spending, model: str, seen: Seen
) -> Estimate:
    """Estimate the calls for requests, of which nothing is kept.

    Args:
        requests: What would be sent.
        spending: The prices.
        model: The model that would be asked.
        seen: The lengths of its replies so far.
    """
    price, usual = spending.price(model), seen.mean()
    image = min(price.image, USUAL_IMAGE) if price else USUAL_IMAGE
    calls = prompt = bound = limit = 0
    replies = 0.0
    for request in requests:
        parts = [part for message in request.messages for part in message.content]
        characters = sum(len(part) for part in parts if isinstance(part, str))
        images = sum(isinstance(part, ImagePlace) for part in parts)
        calls += 1
        prompt += OVERHEAD_TOKENS + characters // 4 + images * image
        bound += spending.prompt_bound(model, request)
        limit += request.sampling.max_tokens
        replies += min(usual or 0.0, request.sampling.max_tokens)
    reply_tokens = None if usual is None else round(replies)
    return Estimate(
        calls,
        prompt,
        limit,
        (price.most(bound, limit) if price else None) if calls else 0.0,
        bound,
        reply_tokens,
        price.of(prompt, reply_tokens) if price and reply_tokens is not None else None,
    )


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
