"""Turn rewarded rollouts into training rows: which advantage applies to which tokens.

| objective | first-pass tokens | second-pass tokens |
|---|---|---|
| `answer_only`, `summed`, `external_perception` | the advantage of one scalar reward | – |
| `multi_advantage` | weighted sum of the components' own advantages | – |
| `moca` | A(r), and `gated` on its description | – |
| `decoupled` | λ_ans A(r_ans) | λ_vis A(r_vis) |
| `decoupled`, credit `description` | λ_ans A(r_ans), and λ_vis A(r_vis) on its description | – |

`decoupled` with credit `reader`, as the paper prints it, is biased. A response without a
description has r_vis = 0 and so usually a negative advantage, but no second-pass tokens to apply it
to. The advantages that are applied therefore do not sum to zero. They are positive on average, the
more so the more responses have no description. With credit `description`, λ_vis A(r_vis) of such a
response applies to all of its tokens.

A token with two terms gets the KL once, with its first term (`updates`).

A group advantage compares a response with the others to the same prompt. A reward of `None` is
unknown because of a technical failure: it does not count in the group's mean, and its response has
no advantage.
"""

from __future__ import annotations

import math
import statistics
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any

from vsr1_bench.records import Completion, Request

from ..core.encoding import Term, TrainRow
from ..recipe import Recipe
from .rewards import reward_parts, weigh
from .rollouts import Rollout

EPSILON = 1e-6

Rewards = Sequence[float | None]
Advantages = list[float | None]


def group_advantages(rewards: Rewards, *, scale: bool = True) -> Advantages:
    """Advantages of the responses to ONE prompt.

    `(r - mean) / (std + EPSILON)` with the unbiased standard deviation (GRPO, arXiv:2402.03300,
    section 4.1.2). It is normalised by prompt group, like in the released code; the text does not
    say.

    Args:
        rewards: One per response.
        scale: Divide by the deviation; without it this is Dr. GRPO's advantage.

    Returns:
        One advantage per reward, None if the reward is None. A group of equal rewards, or of a
        single one, has advantages of exactly 0.
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
    """Weighted sum of the components' group advantages (objective `multi_advantage`).

    A response with an unknown component has no advantage.

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
        None if None in response else math.fsum(a for a in response if a is not None)
        for response in zip(*parts, strict=True)
    ]


def gated(
    advantage: float, answered: float, seen: float, *, protect: float, punish: float
) -> float:
    """The advantage of the description's tokens (MoCA, arXiv:2605.14054).

    Only a failed answer is gated. If the reader got it right from the description, the thinking was
    bad and the description is protected: `A + protect |A|`. Otherwise the seeing was bad and the
    description is punished more: `A - punish |A|`.

    Args:
        advantage: A of the response.
        answered: R_O, whether the answer is accepted.
        seen: R_P, whether the reader's answer is.
        protect: α_protect.
        punish: α_punish.
    """
    if answered > 0:
        return advantage
    return advantage + (protect if seen > 0 else -punish) * abs(advantage)


Moments = tuple[float, float]
"""Mean and unbiased standard deviation."""


def batch_moments(sums: Sequence[float]) -> Moments:
    """The moments of the advantages of all responses of a step, for GDPO's last normalisation."""
    if len(sums) < 2:
        return 0.0, 0.0
    return statistics.fmean(sums), statistics.stdev(sums)


def advantages_of(
    group: Sequence[Rollout], recipe: Recipe, batch: Moments | None = None
) -> tuple[Advantages, Advantages | None]:
    """Advantages of a prompt's responses.

    Args:
        group: The responses.
        recipe: The objective and its weights.
        batch: `multi_advantage` with `normalize_batch`: the moments of the step's advantages. They
            are normalised to `(A - mean) / (std + EPSILON)` (GDPO, arXiv:2601.05242, eq 6; its
            weights are those of eq 7). None = not.

    Returns:
        Those of the first pass and, for `decoupled`, those of the visual reward; for `moca`, those
        of the descriptions.
    """
    scale = recipe.scale_rewards
    if recipe.objective == "moca":
        first = group_advantages([r.reward for r in group], scale=False)
        return first, [_gated(a, r, recipe) for a, r in zip(first, group, strict=True)]
    if recipe.objective == "multi_advantage":
        weights = recipe.component_weights
        if recipe.reward:  # its components, and `overlong`
            weights = {name: weights.get(name, 1.0) for name in group[0].components}
        components = {name: [r.components[name] for r in group] for name in weights}
        sums = weighted_advantages(components, weights, scale=scale)
        if batch is not None:
            mean, deviation = batch
            sums = [None if a is None else (a - mean) / (deviation + EPSILON) for a in sums]
        return sums, None
    if recipe.reward:
        return group_advantages([r.reward for r in group], scale=scale), None
    first, *visual = (
        group_advantages([weigh(r.components, weights) for r in group], scale=scale)
        for weights in reward_parts(
            recipe.objective, recipe.format_weight, overlong=recipe.overlong_tokens is not None
        )
    )
    return first, visual[0] if visual else None


def _gated(advantage: float | None, rollout: Rollout, recipe: Recipe) -> float | None:
    """See `gated`; None for a response without an advantage."""
    answered, seen = (rollout.components[n] for n in ("accuracy", "description_accuracy"))
    if advantage is None or answered is None or seen is None:
        return None
    protect, punish = recipe.moca_protect or 0.0, recipe.moca_punish or 0.0
    return gated(advantage, answered, seen, protect=protect, punish=punish)


def rows_of(
    group: Sequence[Rollout], recipe: Recipe, tokenizer: Any, batch: Moments | None = None
) -> list[TrainRow]:
    """The training rows of a prompt's responses; a response without an advantage gives none.

    `batch`: see `advantages_of`.
    """
    first, visual = advantages_of(group, recipe, batch)
    rows: list[TrainRow] = []

    def add(request: Request, completion: Completion, terms: list[Term]) -> None:
        tokens, masked = completion.token_ids or (), completion.finish_reason == "length"
        if terms and tokens and not (recipe.mask_truncated and masked):
            prompt_tokens = completion.usage.prompt_tokens
            sampled = completion.logprobs or ()
            rows.append(TrainRow(request, tokens, sampled, prompt_tokens, tuple(terms)))

    for place, rollout in enumerate(group):
        response, reading = rollout.response, rollout.reading
        answer, seen = first[place], visual[place] if visual else None
        terms: list[Term] = []
        whole = (0, len(response.token_ids or ()))
        if answer is not None:
            weight = recipe.lambda_answer if recipe.objective == "decoupled" else 1.0
            other = None
            if recipe.objective == "moca" and seen is not None and rollout.description:
                other = (seen, description_span(response, rollout.description, tokenizer))
            terms.append(Term("answer", weight, answer, whole, other))
        if seen is not None and recipe.credit == "description":
            described = rollout.description
            span = description_span(response, described, tokenizer) if described else whole
            terms.append(Term("visual", recipe.lambda_visual, seen, span))
        add(rollout.request, response, terms)
        if seen is not None and recipe.trains_reader and rollout.reading_request and reading:
            whole = (0, len(reading.token_ids or ()))
            term = Term("visual", recipe.lambda_visual, seen, whole)
            add(rollout.reading_request, reading, [term])
    return rows


def description_span(completion: Completion, description: str, tokenizer: Any) -> tuple[int, int]:
    """The tokens [from, to) of a response that contain its description.

    They are found by decoding prefixes, because tokenizing the text again may split it differently
    from what was sampled.
    """
    tokens = list(completion.token_ids or ())
    start = completion.text.find(description)
    end = start + len(description)

    def written(count: int) -> int:
        return len(tokenizer.decode(tokens[:count], skip_special_tokens=True))

    counts = range(len(tokens) + 1)
    first = bisect_left(counts, start + 1, key=written) - 1
    return max(0, first), bisect_left(counts, end, key=written)
