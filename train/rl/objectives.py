"""Turn rewarded rollouts into training rows: which tokens get which advantage.

| objective | first-pass tokens | second-pass tokens |
|---|---|---|
| `answer_only`, `summed`, `external_perception` | the advantage of one scalar reward | – |
| `multi_advantage` | weighted sum of the components' own advantages | – |
| `decoupled` | λ_ans A(r_ans) | λ_vis A(r_vis) |
| `decoupled`, credit `description` | λ_ans A(r_ans), and λ_vis A(r_vis) on its description | – |

`decoupled` with credit `reader`, as the paper prints it, has a bias: a response without a
description has r_vis = 0 and so mostly a negative advantage, but no reading whose tokens could
carry it. What the group's readings carry does not sum to zero: it is positive on average, the more
so the more responses have no description. With credit `description` a response without one carries
its λ_vis A(r_vis) as a whole.

Of a token with two terms the KL counts once, in the first of them (`updates`).

A group advantage says how much better a response did than its siblings. A reward of `None` could
not be had (a failure of the machinery): it takes no part in its group's mean, and its response has
no advantage.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any

from vsr1_bench.records import Completion

from ..core.encoding import Row, Term
from ..recipe import Recipe
from .rewards import reward_parts, weigh
from .rollouts import Rollout

EPSILON = 1e-6

Rewards = Sequence[float | None]
Advantages = list[float | None]


def group_advantages(rewards: Rewards, *, scale: bool = True) -> Advantages:
    """Advantages of the responses to ONE prompt.

    `(r - mean) / (std + EPSILON)` with the unbiased standard deviation (GRPO, arXiv:2402.03300,
    section 4.1.2; normalised by prompt group, as the released code does and the text does not say).

    Args:
        rewards: Of each response, in order.
        scale: Divide by the deviation; without it this is Dr. GRPO's advantage.

    Returns:
        An advantage for each reward, None if that is None. A group whose rewards are all equal,
        or of a single reward, has advantages of exactly 0.
    """
    known = [reward for reward in rewards if reward is not None]
    if len(known) < 2 or max(known) == min(known):
        return [None if reward is None else 0.0 for reward in rewards]
    mean = math.fsum(known) / len(known)
    deviation = math.sqrt(math.fsum((r - mean) ** 2 for r in known) / (len(known) - 1))
    divisor = deviation + EPSILON if scale else 1.0
    return [None if reward is None else (reward - mean) / divisor for reward in rewards]


def weighted_advantages(
    components: Mapping[str, Rewards], weights: Mapping[str, float], *, scale: bool = True
) -> Advantages:
    """Sum of the components' own group advantages (objective `multi_advantage`).

    A response with any component unknown has no advantage.

    Args:
        components: Rewards of the group, by component.
        weights: Weight of each component.
        scale: See `group_advantages`.
    """
    parts = [
        [None if a is None else weight * a for a in group_advantages(components[name], scale=scale)]
        for name, weight in weights.items()
    ]
    return [
        None if any(a is None for a in of_one) else math.fsum(a for a in of_one if a is not None)
        for of_one in zip(*parts, strict=True)
    ]


def advantages_of(group: Sequence[Rollout], recipe: Recipe) -> tuple[Advantages, Advantages | None]:
    """Advantages of a prompt's responses.

    Returns:
        Those of the first pass, and, for `decoupled`, those of the visual reward.
    """
    scale = recipe.scale_rewards
    if recipe.objective == "multi_advantage":
        components = {
            name: [r.components[name] for r in group] for name in recipe.component_weights
        }
        return weighted_advantages(components, recipe.component_weights, scale=scale), None
    first, *visual = (
        group_advantages([weigh(r.components, weights) for r in group], scale=scale)
        for weights in reward_parts(recipe.objective, recipe.format_weight)
    )
    return first, visual[0] if visual else None


def rows_of(group: Sequence[Rollout], recipe: Recipe, tokenizer: Any) -> list[Row]:
    """The training rows of a prompt's responses; what has no advantage gives none."""
    first, visual = advantages_of(group, recipe)
    rows: list[Row] = []
    for place, rollout in enumerate(group):
        terms: list[Term] = []
        answer, seen = first[place], visual[place] if visual else None
        masked = recipe.mask_truncated and rollout.truncated
        if answer is not None and not masked:
            weight = recipe.lambda_answer if visual is not None else 1.0
            terms.append(Term("answer", weight, answer, (0, _length(rollout.said))))
        on_description = recipe.credit == "description"
        if seen is not None and on_description and not masked:
            span = (0, _length(rollout.said))
            if rollout.description:
                span = description_span(rollout.said, rollout.description, tokenizer)
            terms.append(Term("visual", recipe.lambda_visual, seen, span))
        if terms:
            rows.append(Row(rollout.request, *_drawn(rollout.said), tuple(terms)))
        if seen is None or on_description or rollout.reading is None or rollout.read is None:
            continue
        if not (recipe.mask_truncated and rollout.read.finish_reason == "length"):
            term = Term("visual", recipe.lambda_visual, seen, (0, _length(rollout.read)))
            rows.append(Row(rollout.reading, *_drawn(rollout.read), (term,)))
    return [row for row in rows if row.tokens]


def _length(completion: Completion) -> int:
    return len(completion.token_ids or ())


def _drawn(completion: Completion) -> tuple[tuple[int, ...], tuple[float, ...], int | None]:
    drawn, logprobs = completion.token_ids or (), completion.logprobs or ()
    return drawn, logprobs, completion.usage.prompt_tokens


def description_span(completion: Completion, description: str, tokenizer: Any) -> tuple[int, int]:
    """The tokens [from, to) of a response that write its description.

    Found by decoding prefixes: tokenizing the text anew may cut it otherwise than it was drawn.
    """
    tokens = list(completion.token_ids or ())
    start = completion.text.find(description)
    end = start + len(description)

    def written(count: int) -> int:
        return len(tokenizer.decode(tokens[:count], skip_special_tokens=True))

    counts = range(len(tokens) + 1)
    first = bisect_left(counts, start + 1, key=written) - 1
    return max(0, first), bisect_left(counts, end, key=written)
