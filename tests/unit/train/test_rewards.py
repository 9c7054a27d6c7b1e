"""Rewards and advantages, by hand and by property."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rollouts import FINE, PROMPT, SAMPLE, Echo, OneRank, recipe, said, scripted

from vsr1_bench.judging.open import open_judge
from vsr1_bench.records import Completion, ImagePlace, Request, Sample
from vsr1_bench.train.core.encoding import TrainRow
from vsr1_bench.train.core.metrics import StepMetrics
from vsr1_bench.train.recipe import Recipe
from vsr1_bench.train.rl.losses import Totals
from vsr1_bench.train.rl.objectives import (
    EPSILON,
    advantages_of,
    batch_moments,
    description_span,
    group_advantages,
    rows_of,
    weighted_advantages,
)
from vsr1_bench.train.rl.rewards import (
    grading_by,
    overlong_penalty,
    reward_parts,
    total_reward,
    weigh,
)
from vsr1_bench.train.rl.rollouts import Rollout, collect, note_rollouts
from vsr1_bench.train.rl.updates import Updater


def parts(*values: float | None) -> dict[str, float | None]:
    names = ("accuracy", "format", "description_accuracy", "description_format")
    return dict(zip(names, values, strict=True))


def test_scalar_rewards_by_hand() -> None:
    right = parts(1, 0, 1, 1)
    assert total_reward(right, "answer_only", 0.1) == pytest.approx(0.9)
    for objective in ("summed", "external_perception", "multi_advantage"):
        assert total_reward(right, objective, 0.1) == pytest.approx(1.9)
    answer, visual = reward_parts("decoupled", 0.1)
    assert weigh(right, answer) == pytest.approx(1.0)
    assert weigh(right, visual) == pytest.approx(1.1)
    assert total_reward(right, "decoupled", 0.1) == pytest.approx(2.1)
    assert total_reward(parts(0, 1, 0, 0), "summed", 0.1) == pytest.approx(0.1)


@pytest.mark.parametrize("hole", range(4))
def test_what_is_unknown_makes_the_reward_unknown(hole: int) -> None:
    values: list[float | None] = [1, 1, 1, 1]
    values[hole] = None
    assert total_reward(parts(*values), "decoupled", 0.1) is None
    assert (total_reward(parts(*values), "summed", 0.1) is None) == (hole < 3)
    assert (total_reward(parts(*values), "answer_only", 0.1) is None) == (hole < 2)


def test_advantages_by_hand() -> None:
    # mean 0.25, unbiased deviation 0.5
    assert group_advantages([1, 0, 0, 0]) == pytest.approx(
        [0.75 / (0.5 + EPSILON), *[-0.25 / (0.5 + EPSILON)] * 3]
    )
    assert group_advantages([1, 0, 0, 0], scale=False) == pytest.approx([0.75, *[-0.25] * 3])
    assert group_advantages([1.9, 1.9, 1.9]) == [0, 0, 0]
    assert group_advantages([0.1 + 0.2, 0.1 + 0.2, None]) == [0, 0, None]
    assert group_advantages([1, None, None]) == [0, None, None]
    assert group_advantages([None, None]) == [None, None]
    known = group_advantages([1, None, 0])
    assert known[1] is None and known[0] == pytest.approx(0.5 / (math.sqrt(0.5) + EPSILON))


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=16))
def test_advantages_are_z_scores(rewards: list[float]) -> None:
    found = [a for a in group_advantages(rewards) if a is not None]
    assert len(found) == len(rewards) and all(map(math.isfinite, found))
    assert sum(found) == pytest.approx(0, abs=1e-6)
    if max(rewards) - min(rewards) > 0.1:
        assert statistics.stdev(found) == pytest.approx(1, rel=1e-3)


def test_components_are_normalised_before_they_are_summed() -> None:
    rewards: dict[str, list[float | None]] = {"accuracy": [1, 0], "format": [0, 1]}
    found = weighted_advantages(rewards, {"accuracy": 1.0, "format": 0.1})
    z = 0.5 / (math.sqrt(0.5) + EPSILON)
    assert found == pytest.approx([0.9 * z, -0.9 * z])
    rewards["format"] = [0, None]
    assert weighted_advantages(rewards, {"accuracy": 1.0, "format": 0.1})[1] is None


def test_gdpo_normalises_over_the_batch_last() -> None:
    """GDPO, eqs 4, 6 and 7, written out in numpy, on 20 random batches of 3 groups."""
    weights = {"accuracy": 1.0, "format": 0.1, "description_accuracy": 0.7}
    told = recipe(objective="multi_advantage", component_weights=weights, normalize_batch=True)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        drawn = rng.integers(0, 2, (3, 5, 3)).astype(float)  # groups, responses, components
        scale = drawn.std(axis=1, ddof=1, keepdims=True) + EPSILON
        sums = ((drawn - drawn.mean(axis=1, keepdims=True)) / scale) @ [*weights.values()]
        wanted = (sums - sums.mean()) / (sums.std(ddof=1) + EPSILON)
        groups = [
            [
                rollout_of(dict(zip(weights, map(float, response), strict=True)))
                for response in group
            ]
            for group in drawn
        ]
        own = [a for g in groups for a in advantages_of(g, told)[0] if a is not None]
        batch = batch_moments(own)
        found = [advantages_of(group, told, batch)[0] for group in groups]
        assert np.allclose(np.array(found, dtype=float), wanted, rtol=0, atol=1e-6)
        assert np.abs(wanted).max() > 0.5
    groups[0][0].components["format"] = None  # excluded: no share of the moments, no advantage
    assert advantages_of(groups[0], told, batch)[0][0] is None
    assert batch_moments([]) == (0.0, 0.0)


def test_moca_gates_the_credit_of_descriptions() -> None:
    """The equations of arXiv:2605.14054, token by token, on 20 random groups."""
    protect, punish, lam = 0.8, 0.5, 0.7
    told = recipe(
        objective="moca", moca_protect=protect, moca_punish=punish, lambda_visual=lam, beta=0
    )
    text = "<description> red dots </description> x"
    start, end = text.index("red"), text.index("red") + len("red dots")
    changed = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        answered, seen = rng.integers(0, 2, (2, 6)).astype(float)
        group = []
        for i in range(6):
            parts = {"accuracy": float(answered[i]), "description_accuracy": float(seen[i])}
            rollout = rollout_of(parts)
            rollout.reward = total_reward(parts, "moca", 0.1, visual=lam)
            rollout.response = Completion("k", text, token_ids=tuple(map(ord, text)))
            rollout.description = "red dots" if seen[i] or i else None
            group.append(rollout)
        returns = answered + lam * seen
        centred = returns - returns.mean()
        gate = np.where(seen == 1, protect, -punish) * (answered == 0)
        rows = rows_of(group, told, Letters())
        assert len(rows) == 6
        for i, row in enumerate(rows):
            wanted = np.full(len(text), centred[i])
            if group[i].description:
                wanted[start:end] += gate[i] * abs(centred[i])
            assert np.allclose(per_token(row, told), wanted, rtol=0, atol=1e-6)
            changed += not np.allclose(wanted, centred[i])
    assert changed > 20


def test_moca_rewards_both_answers_and_nothing_else() -> None:
    """Rollouts as in `scripted`; the one that fails has no advantage and no share of the mean."""
    told = recipe(objective="moca", moca_protect=1.0, moca_punish=0.5, lambda_visual=0.4)
    group, _ = collected(told)
    assert [r.reward for r in group] == pytest.approx([1.4, 0.4, 1.0, 0.0, None], nan_ok=True)
    first, described = advantages_of(group, told)
    # The mean is 0.7. The second answer is wrong and its description read right: protected.
    assert first == pytest.approx([0.7, -0.3, 0.3, -0.7, None])
    assert described == pytest.approx([0.7, 0.0, 0.3, -1.05, None])
    rows = rows_of(group, told, Letters())
    assert [(len(r.terms), r.terms[0].weight) for r in rows] == [(1, 1.0)] * 4
    assert [r.terms[0].other is not None for r in rows] == [True, True, False, False]


def per_token(row: TrainRow, told: Recipe) -> Any:
    """The advantages that the update gives a row's tokens, which all count alike."""
    torch = pytest.importorskip("torch")
    updater = Updater(told, None, None, {})  # type: ignore[arg-type]
    totals = Totals(1, len(row.tokens), len(row.tokens), 1)
    like = torch.zeros(len(row.tokens), dtype=torch.float64)
    weights, advantages, _ = updater._shares([row], "answer", totals, like)
    assert weights.tolist() == pytest.approx([1 / len(row.tokens)] * len(row.tokens))
    return advantages.numpy()


def rollout_of(components: dict[str, float | None]) -> Rollout:
    return Rollout(SAMPLE, PROMPT, Completion("k"), components=components)


def test_overlong_responses_are_punished_as_in_dapo() -> None:
    """Eq 13: 0 up to L_max - L_cache, then linear, -1 at L_max; and TRL's function."""
    assert [overlong_penalty(n, 100, 20) for n in (0, 80, 85, 90, 100)] == pytest.approx(
        [0, 0, -0.25, -0.5, -1]
    )
    assert overlong_penalty(101, 100, 20) == -1
    trl = pytest.importorskip("trl.rewards", reason="trl is a development dependency")
    rng = np.random.default_rng(0)
    for _ in range(20):
        longest = int(rng.integers(2, 200))
        margin = int(rng.integers(1, longest + 1))
        theirs = trl.get_soft_overlong_punishment(longest, margin)
        for length in rng.integers(0, longest + 5, 20).tolist():
            wanted = theirs([[0] * length])[0]
            assert overlong_penalty(length, longest, margin) == pytest.approx(wanted, abs=1e-6)


def test_the_punishment_is_part_of_every_reward() -> None:
    """Responses have 3 tokens; the limit is 4 and the margin 2. One is truncated."""
    told = recipe(max_tokens=4, overlong_tokens=2)
    group, _ = collected(told)
    assert [r.components["overlong"] for r in group] == [-0.5, -0.5, -0.5, -1.0, None]
    assert [r.reward for r in group] == pytest.approx([1.5, 0.6, 0.4, -1.0, None], nan_ok=True)
    answers, _ = advantages_of(group, told)
    wanted = group_advantages([r.reward for r in group])
    assert answers == pytest.approx(wanted)
    told = recipe(objective="decoupled", max_tokens=4, overlong_tokens=2)
    answers, visual = advantages_of(group, told)
    plain = advantages_of(group, recipe(objective="decoupled"))
    assert visual == plain[1] and answers != plain[0]
    weights = {"accuracy": 1.0, "overlong": 0.5}
    told = recipe(
        objective="multi_advantage", component_weights=weights, overlong_tokens=2, max_tokens=4
    )
    assert advantages_of(group, told)[0] == pytest.approx(
        weighted_advantages(
            {name: [r.components[name] for r in group] for name in weights}, weights
        )
    )


def graded(*completions: Completion) -> dict[str, float | None]:
    with open_judge("string_match") as judge, grading_by(judge) as grading:
        for completion in completions:
            grading.submit(completion.key, SAMPLE, completion)
    return grading.verdicts


def test_what_earns_nothing_and_what_is_left_out() -> None:
    assert graded(
        Completion("right", FINE),
        Completion("wrong", FINE.replace("2", "3")),
        Completion("bare", "<think> 2 </think> the answer is 2"),
        Completion("cut", FINE, finish_reason="length"),
        Completion("failed", error="the image is broken", finish_reason="error"),
    ) == {"right": 1.0, "wrong": 0.0, "bare": 0.0, "cut": 0.0, "failed": None}


def test_a_gold_answer_that_cannot_be_read_is_left_out() -> None:
    with open_judge("string_match") as judge, grading_by(judge) as grading:
        grading.submit("k", replace(SAMPLE, answer="many"), Completion("k", FINE))
    assert grading.verdicts == {"k": None} and "gold_unreadable" in grading.reasons["k"]


def collected(told: Recipe) -> tuple[list[Rollout], Echo]:
    engine = Echo(scripted)
    with open_judge("string_match") as judge:
        found = collect(engine, [(0, SAMPLE, PROMPT), (1, SAMPLE, PROMPT)], told, judge, step=1)  # type: ignore[arg-type]
    first, second = found.groups
    assert [r.request.index for r in second] == [r.request.index for r in first] == list(range(5))
    return first, engine


def test_rollouts_of_both_passes_and_their_rewards() -> None:
    group, engine = collected(recipe())
    assert [r.reward for r in group] == pytest.approx([2.0, 1.1, 0.9, 0.0, None], nan_ok=True)
    assert [r.reading_request is not None for r in group] == [True, True, False, False, False]
    assert group[2].reasons["description_accuracy"] == "no description"
    readings = [r for r in engine.asked if r.key.endswith("read")]
    assert all(r.sampling.temperature == 0 and not r.images for r in readings)
    assert "red dots" in str(readings[0].messages) and "boxed{2}" not in str(readings[0].messages)
    seeds = {r.seed for r in engine.asked if not r.key.endswith("read")}
    assert len(seeds) == 10  # two prompts of five draws: no draw twice


def test_a_step_s_metrics_count_its_rollouts() -> None:
    group, _ = collected(recipe())
    metrics = StepMetrics()
    note_rollouts(metrics, [group[:2], group[2:]])
    told = metrics.combined(OneRank())  # type: ignore[arg-type]
    # The broken image is left out of everything but its own share.
    assert told["reward/total"] == pytest.approx((2.0 + 1.1 + 0.9 + 0.0) / 4)
    assert told["reward/accuracy"] == pytest.approx(2 / 4)
    assert told["excluded_share"] == pytest.approx(1 / 5)
    assert told["truncated_share/first"] == pytest.approx(1 / 4)
    assert told["truncated_share/second"] == 0
    assert (told["length/first"], told["length/second"], told["length/first_max"]) == (3, 3, 3)


def test_the_judge_knows_a_reading_from_an_answer() -> None:
    """Labels that people gave are of answers alone, as in an evaluation."""
    seen: dict[str, str] = {}
    with open_judge("string_match") as judge:
        real = judge.judge

        def watched(items: Any) -> Any:
            for judged in real(items):
                seen[judged.item.id] = judged.item.stage
                yield judged

        judge.judge = watched  # type: ignore[method-assign]
        collect(Echo(scripted), [(0, SAMPLE, PROMPT)], recipe(), judge, step=1)  # type: ignore[arg-type]
    assert seen["0/0"] == "answer" and seen["0/0 read"] == "reading"


def test_the_reader_draws_where_the_gradient_falls_on_it() -> None:
    _, engine = collected(recipe(objective="decoupled", temperature=0.9))
    assert {r.sampling.temperature for r in engine.asked if r.key.endswith("read")} == {0.9}
    _, engine = collected(recipe(objective="decoupled", credit="description"))
    assert {r.sampling.temperature for r in engine.asked if r.key.endswith("read")} == {0.0}


class Letters:
    """A tokenizer of one token a letter."""

    def decode(self, tokens: list[int], **_: Any) -> str:
        return "".join(map(chr, tokens))


def test_a_recipe_says_how_the_reader_reads_and_where_its_prompt_ends() -> None:
    _, engine = collected(recipe(reader="drawn", temperature=0.7, reader_prompt_tokens=50))
    readings = [r for r in engine.asked if r.key.endswith("read")]
    assert {(r.sampling.temperature, r.prompt_limit) for r in readings} == {(0.7, 50)}
    assert {r.prompt_limit for r in engine.asked if not r.key.endswith("read")} == {None}
    _, engine = collected(recipe(objective="decoupled", credit="description", reader="greedy"))
    assert {r.sampling.temperature for r in engine.asked if r.key.endswith("read")} == {0.0}


def test_the_second_pass_is_in_the_layout_of_the_first() -> None:
    asked = Sample("s", (ImagePlace(0), "\nHow many?\n"), "2", "number")
    for prompt, wanted in (("see_think_2025", "\nHow many?"), ("see_think_2026", "How many?")):
        engine = Echo(scripted)
        with open_judge("string_match") as judge:
            collect(engine, [(0, asked, PROMPT)], recipe(prompt=prompt), judge, step=1)  # type: ignore[arg-type]
        texts = {str(r.messages[0].content[0]) for r in engine.asked if r.key.endswith("read")}
        assert all(f"\nQuestion: {wanted}\nYou are provided" in text for text in texts) and texts


def test_thinking_that_a_template_opens_and_the_tags_of_a_format_reach_the_rewards() -> None:
    def answer(request: Request) -> Completion:
        return said(request, texts[request.key.endswith("read")])

    texts = ("t </think> <description> d </description> \\boxed{2}", "t </think> \\boxed{2}")
    told = recipe(samples_per_prompt=2, prompt="see_think_qwen3")
    for opened, wanted in (("<think>", 1.0), ("", 0.0)):
        engine = Echo(answer)
        with open_judge("string_match") as judge:
            prompts = [(0, SAMPLE, PROMPT)]
            found = collect(engine, prompts, told, judge, step=1, opened=opened)  # type: ignore[arg-type]
        for rollout in found.groups[0]:
            assert rollout.components["format"] == wanted
            assert rollout.components["description_format"] == wanted
        readings = [str(r.messages) for r in engine.asked if r.key.endswith("read")]
        assert all("<thinking> </thinking>" in text for text in readings) and len(readings) == 2


def test_whose_tokens_get_which_advantage() -> None:
    group, _ = collected(recipe(objective="decoupled"))
    rows = rows_of(group, recipe(objective="decoupled"), Letters())
    assert [(len(r.terms), r.terms[0].part) for r in rows] == [
        *((1, "answer"), (1, "visual")) * 2,
        *((1, "answer"),) * 2,  # without a description, cut off
    ]
    rows = rows_of(group, recipe(objective="decoupled", mask_truncated=True), Letters())
    assert len(rows) == 5
    answers, visuals = advantages_of(group, recipe(objective="decoupled"))
    assert visuals is not None and answers[4] is None and visuals[4] is None
    assert answers[0] is not None and answers[0] > 0 and visuals[3] is not None and visuals[3] < 0
    assert sum(a for a in visuals if a is not None) == pytest.approx(0)
    rows = rows_of(group, recipe(), Letters())
    assert [r.terms[0].weight for r in rows] == [1.0] * 4


def test_credit_for_the_description_falls_on_its_tokens() -> None:
    text = "ab <description> red dots </description> x"
    completion = Completion("k", text, token_ids=tuple(map(ord, text)))
    start, end = description_span(completion, "red dots", Letters())
    assert text[start:end] == "red dots"


def test_a_response_without_a_description_carries_its_visual_advantage_as_a_whole() -> None:
    """Else what the others carry would be positive on average."""
    told = recipe(objective="decoupled", credit="description")
    group, _ = collected(told)
    for rollout in group[:4]:  # of the last one there is nothing to learn: it failed
        text = rollout.response.text
        rollout.response = replace(rollout.response, token_ids=tuple(map(ord, text)), logprobs=())
    _, visual = advantages_of(group, told)
    rows = rows_of(group, told, Letters())
    assert visual is not None and len(rows) == 4
    carried = []
    for rollout, row, advantage in zip(group, rows, visual, strict=False):
        (term,) = (term for term in row.terms if term.part == "visual")
        assert term.advantage == advantage and term.weight == told.lambda_visual
        start, end = term.span
        whole = (0, len(rollout.response.text))
        assert rollout.description or term.span == whole
        assert not rollout.description or rollout.response.text[start:end] == "red dots"
        carried.append(term.advantage)
    assert [bool(r.description) for r in group[:4]] == [True, True, False, False]
    assert carried[2] < 0 and carried[3] < 0 and sum(carried) == pytest.approx(0)
    # With credit for the reader what is carried leans to the positive: the bias that is stated.
    printed = recipe(objective="decoupled")
    readers = [t for r in rows_of(group, printed, Letters()) for t in r.terms if t.part == "visual"]
    assert sum(t.advantage for t in readers) > 0
    masked = recipe(objective="decoupled", credit="description", mask_truncated=True)
    assert len(rows_of(group, masked, Letters())) == 3
