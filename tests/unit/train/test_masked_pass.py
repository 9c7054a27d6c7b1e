"""Losses of the pass with masked images, against formulas written out, and the masked images."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from vsr1_bench.errors import UsageError  # noqa: E402
from vsr1_bench.generation.images import blackened  # noqa: E402
from vsr1_bench.records import EncodedImage, Request, Sampling  # noqa: E402
from vsr1_bench.train.core.encoding import Batch, Term, TrainRow  # noqa: E402
from vsr1_bench.train.core.metrics import StepMetrics  # noqa: E402
from vsr1_bench.train.recipe import Recipe, load_recipe  # noqa: E402
from vsr1_bench.train.rl.updates import PARTS, Updater  # noqa: E402
from vsr1_bench.train.rl.vppo import emphasise, most_dependent, shaping  # noqa: E402

LENGTHS = (7, 1, 4, 6, 2)
ADVANTAGES = (1.7, -1.2, 0.0, -0.4, 0.9)
TOKENS = sum(LENGTHS)
LOW, HIGH, GAMMA, ENTROPY, BETA = 0.2, 0.3, 0.02, 0.05, 0.04
SEEN = Request("", (), Sampling(), images=(EncodedImage(b"x"),))
BATCHES = range(20)


def random_batch(seed: int) -> dict[str, Any]:
    """Log-probs of five responses, flat; the masked ones reach beyond the clamp of the KL."""
    rng = torch.Generator().manual_seed(seed)
    draw = lambda: torch.randn(TOKENS, generator=rng).double()  # noqa: E731
    now = -torch.rand(TOKENS, generator=rng).double() * 3
    names = ("old", "reference", "unseen")
    others = [now + spread * draw() for spread in (0.5, 0.8, 1.5)]
    return {"now": now} | dict(zip(names, others, strict=True))


def rows_of(batch: dict[str, Any], request: Request = SEEN) -> list[TrainRow]:
    stored = {n: torch.split(batch[n], LENGTHS) for n in ("old", "reference", "unseen")}
    return [
        TrainRow(
            request,
            (1,) * n,
            (0.0,) * n,
            terms=(Term("answer", 1.0, ADVANTAGES[i], (0, n)),),
            **{name: parts[i] for name, parts in stored.items()},
        )
        for i, n in enumerate(LENGTHS)
    ]


def our_loss(recipe: Recipe, rows: list[TrainRow], values: Any, *, paired: bool = False) -> Any:
    """The trainer's loss of a minibatch, its gradient by the log-probs, and its metrics.

    `values`: what a model would return for the tokens, and with `paired` for the masked ones, too.
    """
    table = torch.nn.Linear(1, 1)
    table.values = torch.nn.Parameter(values.clone())
    table.forward = lambda *_: (table.values, torch.zeros_like(table.values))
    engine: Any = SimpleNamespace(
        engine=table,
        ranks=SimpleNamespace(world=1, gather=lambda value: [value]),
        work=SimpleNamespace(of=lambda batch, **_: 0.0),
    )
    updater = Updater(recipe, engine, None, {})  # type: ignore[arg-type]
    totals = {part: updater._totals(rows, part) for part in PARTS}
    lengths = [len(row.tokens) for row in rows] * (1 + paired)
    empty = torch.zeros(sum(lengths), dtype=torch.long)
    metrics = StepMetrics()
    inputs = {"attention_mask": torch.ones(len(lengths), 1)}
    loss = updater._loss(rows, Batch(inputs, empty, empty, lengths), totals, metrics)
    (gradient,) = torch.autograd.grad(loss, table.values)
    return float(loss.detach()), gradient, metrics


def told(**changes: Any) -> Recipe:
    settings: dict[str, Any] = {
        "model": "tiny",
        "task": "demo",
        "objective": "answer_only",
        "prompt": "cot",
        "importance_cap": 0,
        "dual_clip": None,
        "beta": BETA,
        "clip_low": LOW,
        "clip_high": HIGH,
    }
    return Recipe.model_validate(settings | changes)


def k3(policy: Any, other: Any) -> Any:
    ratio = torch.exp(other - policy)
    return torch.clamp(ratio - torch.log(ratio) - 1, max=10.0)


def papo_by_hand(
    now: Any, unseen: Any, batch: dict[str, Any], how: str, eta1: float, eta2: float
) -> Any:
    """The objective of the paper (eq 2), negated, one token after another."""
    total, place = torch.zeros(()).double(), 0
    for advantage, length in zip(ADVANTAGES, LENGTHS, strict=True):
        for t in range(place, place + length):
            ratio = torch.exp(now[t] - batch["old"][t])
            gain = torch.minimum(ratio * advantage, ratio.clamp(1 - LOW, 1 + HIGH) * advantage)
            gain = gain - BETA * k3(now[t], batch["reference"][t])
            gain = gain + GAMMA * k3(now[t], unseen[t])
            gain = gain - eta1 * -now[t] - eta2 * -unseen[t]
            total = total - gain / (5 * length if how == "grpo" else TOKENS)
        place += length
    return total


@pytest.mark.parametrize("how", ["grpo", "dapo"])
@pytest.mark.parametrize("through_both", [False, True])
def test_papo_is_the_papers_objective(how: str, through_both: bool) -> None:
    """Value and gradient, with masked log-probs as constants and with their gradient."""
    eta2 = ENTROPY if through_both else 0.0
    recipe = told(
        masked_pass="papo",
        papo_gamma=GAMMA,
        papo_masked_entropy=eta2,
        entropy_penalty=ENTROPY,
        aggregation=how,
    )
    assert recipe.masked_gradient == through_both
    largest = 0.0
    for seed in BATCHES:
        batch = random_batch(seed)
        values = torch.cat([batch["now"], batch["unseen"]]) if through_both else batch["now"]
        ours, our_gradient, _ = our_loss(recipe, rows_of(batch), values, paired=through_both)
        both = values.clone().requires_grad_()
        now, unseen = both.chunk(2) if through_both else (both, batch["unseen"])
        wanted = papo_by_hand(now, unseen, batch, how, ENTROPY, eta2)
        (gradient,) = torch.autograd.grad(wanted, both)
        assert ours == pytest.approx(float(wanted.detach()), abs=1e-6)
        assert torch.allclose(our_gradient, gradient, atol=1e-6, rtol=0)
        if through_both:
            largest = max(largest, float(our_gradient[TOKENS:].abs().max()))
    assert (largest > 1e-3) == through_both


def test_a_step_against_the_loss_makes_the_response_depend_more_on_the_image() -> None:
    """The sign: the KL grows, the entropies fall."""
    batch = random_batch(0) | {"old": random_batch(0)["now"]}
    rows = [
        TrainRow(
            SEEN,
            (1,) * 3,
            (0.0,) * 3,
            terms=(Term("answer", 1.0, 0.0, (0, 3)),),
            old=batch["now"][:3],
            unseen=batch["now"][:3] - 0.5,
        )
    ]
    recipe = told(masked_pass="papo", papo_gamma=1.0, beta=0)
    _, gradient, metrics = our_loss(recipe, rows, batch["now"][:3])
    assert (gradient < 0).all()  # descent raises log p, away from the masked one
    assert metrics._means["visual_dependence"] == pytest.approx(
        (math.exp(-0.5) + 0.5 - 1, 1), abs=1e-9
    )
    recipe = told(entropy_penalty=1.0, beta=0)
    _, gradient, _ = our_loss(recipe, rows, batch["now"][:3])
    assert gradient.tolist() == pytest.approx([-1 / 3] * 3)


def test_measuring_leaves_the_loss_alone_and_skips_rows_without_a_share() -> None:
    batch = random_batch(1)
    plain, gradient, _ = our_loss(told(), rows_of(batch), batch["now"])
    rows = rows_of(batch)
    rows[1].terms = ()
    for measured in (rows_of(batch), rows):
        loss, own, metrics = our_loss(told(masked_pass="measure"), measured, batch["now"])
        total, count = metrics._means["visual_dependence"]
        assert count == sum(bool(row.terms) for row in measured)
        each = torch.split(k3(batch["old"], batch["unseen"]), LENGTHS)
        wanted = [float(e.mean()) for e, row in zip(each, measured, strict=True) if row.terms]
        assert total == pytest.approx(sum(wanted), abs=1e-6)
        if measured is not rows:
            assert loss == plain and torch.equal(own, gradient)


def test_a_prompt_without_images_has_no_term() -> None:
    """Its rows have no masked log-probs; the entropy penalty is that of every response."""
    batch = random_batch(2)
    recipe = told(masked_pass="papo", papo_gamma=GAMMA)
    rows = rows_of(batch, Request("", (), Sampling()))
    for row in rows:
        row.unseen = None
    loss, gradient, metrics = our_loss(recipe, rows, batch["now"])
    plain, own, _ = our_loss(told(), rows, batch["now"])
    assert loss == plain and torch.equal(gradient, own)
    assert "visual_dependence" not in metrics._means


def ranks(*others: list[float]) -> Any:
    """This rank beside others with these dependences."""
    return SimpleNamespace(gather=lambda own: [own, *others])


def vppo_by_hand(now: Any, batch: dict[str, Any], how: str) -> Any:
    """Filter and shaping as the paper and its code describe them, one token after another."""
    places = [sum(LENGTHS[:i]) for i in range(len(LENGTHS))]
    spans = [range(p, p + n) for p, n in zip(places, LENGTHS, strict=True)]
    each = k3(batch["old"], batch["unseen"]).tolist()
    scores = [sum(each[t] for t in span) / len(span) for span in spans]
    scaled = [(s - min(scores)) / (max(scores) - min(scores)) for s in scores]
    top = 0.9 + (1 - 0.9) / (sum(scaled) / len(scaled))
    total = torch.zeros(()).double()
    for span, advantage, n in zip(spans, ADVANTAGES, scaled, strict=True):
        kept = sorted(span, key=lambda t: -each[t])[: math.ceil(round(0.4 * len(span), 6))]
        shaped = advantage * (0.9 + n * (top - 0.9))
        for t in span:
            ratio = torch.exp(now[t] - batch["old"][t])
            gain = torch.minimum(ratio * shaped, ratio.clamp(1 - LOW, 1 + HIGH) * shaped)
            gain = gain * (t in kept) - BETA * k3(now[t], batch["reference"][t]) + ENTROPY * now[t]
            total = total - gain / (5 * len(span) if how == "grpo" else TOKENS)
    return total


@pytest.mark.parametrize("how", ["grpo", "dapo"])
def test_vppo_is_that_of_the_released_code(how: str) -> None:
    recipe = told(masked_pass="vppo", aggregation=how, entropy_penalty=ENTROPY)
    for seed in BATCHES:
        batch = random_batch(seed)
        rows = rows_of(batch)
        emphasise(rows, ranks(), share=recipe.vppo_tokens, floor=recipe.vppo_floor)
        ours, our_gradient, _ = our_loss(recipe, rows, batch["now"])
        now = batch["now"].clone().requires_grad_()
        wanted = vppo_by_hand(now, batch, how)
        (gradient,) = torch.autograd.grad(wanted, now)
        assert ours == pytest.approx(float(wanted.detach()), abs=1e-6)
        assert torch.allclose(our_gradient, gradient, atol=1e-6, rtol=0)
        plain, _, _ = our_loss(recipe, rows_of(batch), batch["now"])
        assert abs(plain - ours) > 1e-3


def test_factors_have_the_mean_1_over_all_ranks_and_rows_without_images_none() -> None:
    factors = [shaping([0.2, 0.4, 1.0], 0.9)(score) for score in (0.2, 0.4, 1.0)]
    assert factors == pytest.approx([0.9, 0.9 + 0.1 * 0.25 * 2.4, 0.9 + 0.1 * 2.4])
    assert sum(factors) == pytest.approx(3)
    assert [shaping(s, 0.9)(0.3) for s in ([], [0.3], [0.3, 0.3])] == [1.0] * 3
    kept = most_dependent(torch.tensor([0.0, 3.0, 1.0, 0.0, 2.0]), 0.4)
    assert kept.tolist() == [False, True, False, False, True]
    assert most_dependent(torch.tensor([0.5, 0.5]), 0.4).tolist() == [True, False]
    rows = rows_of(random_batch(3))
    alone = emphasise(rows, ranks(), share=1.0, floor=0.9)
    beside = [row.emphasis.clone() for row in rows]
    rows[0].unseen = rows[0].emphasis = None
    rows[1].terms, rows[1].emphasis = (), None
    assert emphasise(rows, ranks([50.0]), share=1.0, floor=0.9) < 1.0 < alone
    assert rows[0].emphasis is rows[1].emphasis is None
    assert all(
        float(row.emphasis[0]) < float(b[0]) for row, b in zip(rows[2:], beside[2:], strict=True)
    )


def test_masked_images_are_black_in_whole_patches_by_their_seed() -> None:
    image = Image.new("RGB", (14 * 40, 14 * 30 + 5), (200, 100, 50))
    once, again, other = (blackened([image], seed)[0] for seed in ("a", "a", "b"))
    assert once.tobytes() == again.tobytes() != other.tobytes()
    assert image.getcolors() == [(560 * 425, (200, 100, 50))]
    black = 0
    for top in range(0, 425, 14):
        for left in range(0, 560, 14):
            patch = once.crop((left, top, left + 14, min(top + 14, 425)))
            ((count, colour),) = patch.getcolors()
            assert colour in ((0, 0, 0), (200, 100, 50)) and count == patch.width * patch.height
            black += colour == (0, 0, 0)
    assert black / (40 * 31) == pytest.approx(0.6, abs=0.05)
    two = blackened([image, image], "a")
    assert two[0].tobytes() == once.tobytes() != two[1].tobytes()


def test_recipes_with_a_masked_pass() -> None:
    papo = load_recipe("tiny/papo")
    assert papo.objective == "answer_only" and papo.masked_pass == "papo"
    assert (papo.papo_gamma, papo.entropy_penalty, papo.beta) == (0.01, 0.03, 0.0)
    assert not papo.masked_gradient
    vppo = load_recipe("tiny/vppo")
    assert vppo.objective == "answer_only" and vppo.masked_pass == "vppo"
    assert (vppo.vppo_tokens, vppo.vppo_floor, vppo.entropy_penalty) == (0.4, 0.9, 0.06)
    with pytest.raises(UsageError, match="papo_masked_entropy goes with masked_pass papo"):
        load_recipe("tiny/answer_only", ["papo_masked_entropy=0.03"])
    with pytest.raises(UsageError, match="vppo filters its tokens"):
        load_recipe("tiny/vppo", ["aggregation=gspo"])
