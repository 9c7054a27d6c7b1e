"""The loss against TRL's, against hand-worked numbers and against finite differences."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from vsr1_bench.records import Request, Sampling  # noqa: E402
from vsr1_bench.train.core.encoding import Batch, Term, TrainRow  # noqa: E402
from vsr1_bench.train.core.metrics import StepMetrics  # noqa: E402
from vsr1_bench.train.recipe import Recipe  # noqa: E402
from vsr1_bench.train.rl.losses import (  # noqa: E402
    Totals,
    cispo_loss,
    importance_weights,
    kl_k3,
    masked_importance_weights,
    policy_loss,
    sequence_means,
    token_weight,
)
from vsr1_bench.train.rl.updates import PARTS, Updater  # noqa: E402

PROMPT = Request("", (), Sampling())
LOW, HIGH, LONGEST = 0.2, 0.3, 9
BATCHES = range(20)
AGGREGATIONS = ("grpo", "dr_grpo", "dapo", "bnpo", "gspo", "cispo")
MODES = ("token_truncate", "sequence_mask")


def random_batch(seed: int) -> dict[str, Any]:
    """Five responses of one to seven tokens, with ratios far outside both clips."""
    rng = torch.Generator().manual_seed(seed)
    lengths = torch.tensor([7.0, 1.0, 4.0, 6.0, 2.0])
    mask = (torch.arange(7)[None] < lengths[:, None]).double()
    now = -torch.rand(5, 7, generator=rng).double() * 3
    spread = torch.randn(5, 7, generator=rng).double()
    return {
        "lengths": lengths,
        "mask": mask,
        "now": now,
        "old": now + 0.7 * spread,
        "sampled": now + 0.7 * spread + 0.9 * torch.randn(5, 7, generator=rng).double(),
        # Within our clamp of the KL, which TRL has not.
        "reference": now + torch.randn(5, 7, generator=rng).double().clamp(-2, 2),
        "advantages": torch.tensor([1.7, -1.2, 0.0, -0.4, 0.9]).double(),
    }


def our_loss(
    batch: dict[str, Any],
    how: Any,
    *,
    beta: float,
    dual: float | None,
    cap: float,
    mode: Any = "token_truncate",
) -> tuple[float, Any]:
    """The loss that the trainer computes of the batch's rows, and its gradient `(5, 7)`."""
    recipe = Recipe(
        model="tiny",
        task="demo",
        objective="summed",
        aggregation=how,
        beta=beta,
        clip_low=1.0 if how == "cispo" else LOW,
        clip_high=HIGH,
        dual_clip=dual,
        importance_cap=cap,
        importance_mode=mode,
        max_tokens=LONGEST,
    )
    rows, kept = [], batch["mask"].bool()
    for i, length in enumerate(batch["lengths"].int().tolist()):
        term = Term("answer", 1.0, float(batch["advantages"][i]), (0, length))
        old, reference = batch["old"][i, :length], batch["reference"][i, :length]
        sampled = tuple(batch["sampled"][i, :length].tolist())
        rows.append(TrainRow(PROMPT, (1,) * length, sampled, None, (term,), old, reference))
    table = Table(batch["now"][kept].clone())
    updater = Updater(recipe, Engine(table), Lines(), {})  # type: ignore[arg-type]
    loss = loss_of(updater, rows, {part: updater._totals(rows, part) for part in PARTS})
    (gradient,) = torch.autograd.grad(loss, table.values)
    return float(loss.detach()), torch.zeros_like(batch["now"]).masked_scatter(kept, gradient)


def written_out(
    batch: dict[str, Any], how: str, *, beta: float, dual: float | None, cap: float, mode: str
) -> tuple[float, Any]:
    """The same from the papers' formulas, one token after another."""
    now = batch["now"].clone().requires_grad_()
    lengths = batch["lengths"].int().tolist()
    tokens, total = sum(lengths), torch.zeros(())
    for i, length in enumerate(lengths):
        a = float(batch["advantages"][i])
        logs = [now[i, t] - batch["old"][i, t] for t in range(length)]
        gaps = [float(batch["old"][i, t] - batch["sampled"][i, t]) for t in range(length)]
        product = math.exp(sum(gaps))
        divisor = {
            "grpo": 5 * length,
            "gspo": 5 * length,
            "dr_grpo": 5 * LONGEST,
        }.get(how, tokens)
        for t in range(length):
            ratio = torch.exp(sum(logs) / length if how == "gspo" else logs[t])
            if how == "cispo":
                gain = min(float(ratio.detach()), 1 + HIGH) * a * now[i, t]
            else:
                gain = torch.minimum(ratio * a, ratio.clamp(1 - LOW, 1 + HIGH) * a)
                if dual is not None and a < 0:
                    gain = torch.maximum(gain, torch.tensor(dual * a).double())
            weight = min(math.exp(gaps[t]), cap)
            if mode == "sequence_mask":
                weight = product if product <= cap else 0.0
            d = batch["reference"][i, t] - now[i, t]
            kl = torch.exp(d) - d - 1
            total = total + ((weight if cap else 1.0) * -gain + beta * kl) / divisor
    (gradient,) = torch.autograd.grad(total, now)
    return float(total.detach()), gradient


def trl_loss(
    batch: dict[str, Any], how: str, *, beta: float, dual: float | None, cap: float, mode: str
) -> tuple[float, Any]:
    """The loss of TRL's GRPOTrainer, run on a stand-in for the trainer."""
    trl = pytest.importorskip("trl", reason="trl is a development dependency")
    now, mask = batch["now"].clone().requires_grad_(), batch["mask"]
    same: Any = lambda value, reduction=None: value  # noqa: E731
    trainer = SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *_, **__: (now, torch.zeros_like(now), None),
        aux_loss_enabled=False,
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        importance_sampling_level="sequence" if how == "gspo" else "token",
        beta=beta,
        args=SimpleNamespace(use_bias_correction_kl=False, delta=dual, steps_per_generation=1),
        loss_type="grpo" if how == "gspo" else how,
        epsilon_low=LOW,
        epsilon_high=1 + HIGH if how == "cispo" else HIGH,  # there it is the bound itself
        use_vllm=bool(cap),
        vllm_importance_sampling_correction=bool(cap),
        model=SimpleNamespace(training=True),
        current_gradient_accumulation_steps=1,
        max_completion_length=LONGEST,
        accelerator=SimpleNamespace(num_processes=1, gather=same, reduce=same),
        _entropy_bonus_enabled=False,
        _metrics={"train": defaultdict(list)},
    )
    inputs = {
        "prompt_ids": torch.zeros(5, 1, dtype=torch.long),
        "prompt_mask": torch.ones(5, 1, dtype=torch.long),
        "completion_ids": torch.zeros(5, 7, dtype=torch.long),
        "completion_mask": mask,
        "advantages": batch["advantages"],
        "old_per_token_logps": batch["old"],
        "ref_per_token_logps": batch["reference"],
        "num_items_in_batch": mask.sum(),
    }
    if cap:
        # From its _generate_and_score_completions.
        gaps = (batch["old"] - batch["sampled"]) * mask
        if mode == "sequence_mask":
            ratio = torch.exp(gaps.sum(dim=-1, keepdim=True))
            inputs["importance_sampling_ratio"] = ratio.masked_fill(ratio > cap, value=0.0)
        else:
            inputs["importance_sampling_ratio"] = torch.exp(gaps).clamp(max=cap)
    loss = trl.GRPOTrainer._compute_loss(trainer, trainer.model, inputs)
    (gradient,) = torch.autograd.grad(loss, now)
    return float(loss.detach()), gradient


@pytest.mark.parametrize("how", AGGREGATIONS)
@pytest.mark.parametrize(
    ("beta", "dual", "cap", "mode"),
    [
        (0.0, None, 0.0, MODES[0]),
        (0.04, 3.0, 0.0, MODES[0]),
        (0.04, 3.0, 2.0, MODES[0]),
        (0.04, 3.0, 2.0, MODES[1]),
    ],
)
@pytest.mark.parametrize("other", [written_out, trl_loss])
def test_loss_and_gradient_are_those_of_the_papers_and_of_trl(
    other: Any, how: str, beta: float, dual: float | None, cap: float, mode: str
) -> None:
    largest = 0.0
    for seed in BATCHES:
        batch = random_batch(seed)
        settings: Any = {"beta": beta, "dual": dual, "cap": cap, "mode": mode}
        ours, our_gradient = our_loss(batch, how, **settings)
        theirs, their_gradient = other(batch, how, **settings)
        assert ours == pytest.approx(theirs, abs=1e-6)
        assert torch.allclose(our_gradient, their_gradient, atol=1e-6, rtol=0)
        largest = max(largest, float(our_gradient.abs().max()))
    assert largest > 1e-3


def test_new_losses_by_hand() -> None:
    """Two responses: ratios 2 and 1/2, and 4; with A = 1 and A = -1."""
    now = torch.tensor([2.0, 0.5, 4.0]).log().requires_grad_()
    zero, sequence = torch.zeros(3), torch.tensor([1, 1, 2])
    assert sequence_means(now, sequence).exp().tolist() == pytest.approx([1.0, 1.0, 4.0])
    advantages = torch.tensor([1.0, 1.0, -1.0])
    loss = cispo_loss(now, zero, advantages, low=0.2, high=0.3)
    weights = [1.3, 0.8, 1.3]
    assert torch.autograd.grad(loss.sum(), now)[0].tolist() == pytest.approx(
        [-weights[0], -weights[1], weights[2]]  # a gradient beyond the clip, too
    )
    # p/q of the first response is 3 x 0.5, that of the second 4: above the cap of 2.
    sampled = -torch.tensor([3.0, 0.5, 4.0]).log()
    masked = masked_importance_weights(zero, sampled, sequence, 2.0)
    assert masked.tolist() == pytest.approx([1.5, 1.5, 0.0]) and not masked.requires_grad


def test_statistics_follow_the_ratio_of_the_loss() -> None:
    """With `gspo` the ratio is that of the response; masked responses are counted."""
    batch = random_batch(0) | {"advantages": torch.ones(5).double()}
    for how, mode in (("gspo", MODES[1]), ("cispo", MODES[0]), ("dapo", MODES[0])):
        recipe = Recipe(
            model="tiny",
            task="demo",
            objective="summed",
            aggregation=how,  # type: ignore[arg-type]
            importance_mode=mode,  # type: ignore[arg-type]
        )
        updater = Updater(recipe, Engine(Table(torch.zeros(1))), Lines(), {})  # type: ignore[arg-type]
        now, old = batch["now"][0], batch["old"][0]
        sequence = torch.ones(7, dtype=torch.long)
        stats = updater._stats(now, old, batch["sampled"][0], -torch.ones(7), sequence)
        ratio = (now - old).mean().exp().expand(7) if how == "gspo" else (now - old).exp()
        assert torch.allclose(stats["ratio"], ratio)
        high = ratio > 1.3 if how == "cispo" else torch.zeros(7)
        assert stats["clip/high_share"].tolist() == high.float().tolist()
        assert ("clip/dual_share" in stats) == (how != "cispo")
        weights = torch.tensor([0.0, 1.0, 2.0])
        capped = [True, False, False] if mode == MODES[1] else [False, False, True]
        assert updater._capped(weights).tolist() == capped


def test_clipping_by_hand() -> None:
    """Ratios 2, 0.5, 4 and 1 with A = 1 and A = -1 (low 0.2, high 0.3, dual 3)."""
    ratio = torch.tensor([2.0, 0.5, 4.0, 1.0]).log()
    zero = torch.zeros(4)
    good = policy_loss(ratio, zero, torch.ones(4), low=0.2, high=0.3, dual=3.0)
    bad = policy_loss(ratio, zero, -torch.ones(4), low=0.2, high=0.3, dual=3.0)
    assert good.tolist() == pytest.approx([-1.3, -0.5, -1.3, -1.0])
    assert bad.tolist() == pytest.approx([2.0, 0.8, 3.0, 1.0])
    unbounded = policy_loss(ratio, zero, -torch.ones(4), low=0.2, high=0.3, dual=None)
    assert unbounded[2] == pytest.approx(4.0)


def test_no_gradient_beyond_a_clip() -> None:
    for ratio, advantage, flows in [(2.0, 1, False), (0.5, -1, False), (0.5, 1, True), (4, -1, 0)]:
        now = torch.tensor([math.log(ratio)], requires_grad=True)
        loss = policy_loss(
            now, torch.zeros(1), torch.tensor([float(advantage)]), low=0.2, high=0.3, dual=3.0
        )
        (gradient,) = torch.autograd.grad(loss.sum(), now)
        assert bool(gradient.abs() > 0) == bool(flows)


def test_k3_by_hand_never_negative_and_clamped() -> None:
    now, reference = torch.tensor([-1.0, -1.0, -9.0]), torch.tensor([-1.0, -2.0, -1.0])
    wanted = [0.0, math.exp(-1) + 1 - 1, 10.0]  # d = 0, -1, 8: e^8 - 9 is over the clamp
    assert kl_k3(now, reference).tolist() == pytest.approx(wanted)
    extreme = kl_k3(torch.tensor([-1e4, 0.0]), torch.tensor([0.0, -1e4]))
    assert torch.isfinite(extreme).all()


def test_importance_weights_are_capped_and_carry_no_gradient() -> None:
    old = torch.tensor([0.0, 5.0], requires_grad=True)
    weights = importance_weights(old, torch.tensor([0.5, 0.0]), 2.0)
    assert weights.tolist() == pytest.approx([math.exp(-0.5), 2.0]) and not weights.requires_grad


def test_token_weights_by_hand() -> None:
    totals = Totals(4, 20, 10, 2)
    found = {
        how: [token_weight(n, totals, how, 16) for n in (2, 8)]  # type: ignore[arg-type]
        for how in AGGREGATIONS
    }
    assert found["gspo"] == found["grpo"] and found["cispo"] == found["dapo"]
    assert found["grpo"] == pytest.approx([1 / 8, 1 / 32])
    assert found["dr_grpo"] == pytest.approx([1 / 64] * 2)
    assert found["dapo"] == pytest.approx([1 / 20] * 2)
    assert found["bnpo"] == pytest.approx([1 / 20] * 2)


class Table(torch.nn.Module):  # type: ignore[misc,name-defined]
    """Log-probs that are parameters: what a model would say, without one."""

    def __init__(self, values: Any) -> None:
        super().__init__()
        self.values = torch.nn.Parameter(values)

    def forward(self, *_: Any) -> Any:
        return self.values, torch.zeros_like(self.values)


class Engine:
    """As much of a TrainingEngine as a minibatch's loss needs."""

    def __init__(self, table: Table) -> None:
        self.engine = table
        self.ranks = SimpleNamespace(world=1, gather=lambda value: [value])
        self.work = SimpleNamespace(of=lambda batch, **_: 0.0)


class Lines:
    """As much of an Encoder as that needs: only the lengths count."""

    def collate(self, rows: list[TrainRow]) -> Batch:
        lengths = [len(row.tokens) for row in rows]
        empty = torch.zeros(sum(lengths), dtype=torch.long)
        return Batch({"attention_mask": empty + 1}, empty, empty, lengths)


def loss_of(updater: Updater, rows: list[TrainRow], totals: Any) -> Any:
    return updater._loss(rows, Lines().collate(rows), totals, StepMetrics())


def decoupled_by_hand(
    now: list[float], old: list[float], reference: list[float], *, beta: float
) -> float:
    """Paper v2, eqs 5 to 9, for two answers (3 and 1 tokens) and one reading (2 tokens)."""
    parts = {"a": (0.5, 2), "v": (0.3, 1)}
    spans = [("a", 0, 3, 1.5), ("a", 3, 4, -0.7), ("v", 4, 6, 0.9)]
    total = 0.0
    for part, start, end, advantage in spans:
        lam, count = parts[part]
        for t in range(start, end):
            ratio = math.exp(now[t] - old[t])
            surrogate = min(ratio * advantage, min(max(ratio, 0.8), 1.3) * advantage)
            d = reference[t] - now[t]
            kl = math.exp(d) - d - 1
            total -= lam / count / (end - start) * (surrogate - beta * kl)
    return total


def test_decoupled_gradient_is_that_of_the_papers_equations() -> None:
    rng = torch.Generator().manual_seed(3)
    now = -torch.rand(6, generator=rng).double()
    old = now + 0.1 * torch.randn(6, generator=rng).double()
    old[1] -= 1.0  # beyond the upper clip, with A > 0: no gradient but the KL's
    reference = now + 0.5 * torch.randn(6, generator=rng).double()
    recipe = Recipe(
        model="tiny",
        task="demo",
        objective="decoupled",
        aggregation="grpo",
        lambda_answer=0.5,
        lambda_visual=0.3,
        beta=0.04,
        dual_clip=None,
        importance_cap=0,
    )
    prompt = Request("", (), Sampling())
    cuts = [("answer", 0.5, 1.5, 0, 3), ("answer", 0.5, -0.7, 3, 4), ("visual", 0.3, 0.9, 4, 6)]
    rows = [
        TrainRow(
            prompt,
            (1,) * (end - start),
            (0.0,) * (end - start),
            None,
            (Term(part, lam, advantage, (0, end - start)),),  # type: ignore[arg-type]
            old[start:end],
            reference[start:end],
        )
        for part, lam, advantage, start, end in cuts
    ]
    table = Table(now.clone())
    updater = Updater(recipe, Engine(table), Lines(), {})  # type: ignore[arg-type]
    totals = {part: updater._totals(rows, part) for part in PARTS}
    loss = loss_of(updater, rows, totals)
    (gradient,) = torch.autograd.grad(loss, table.values)
    others = old.tolist(), reference.tolist()
    assert float(loss.detach()) == pytest.approx(
        decoupled_by_hand(now.tolist(), *others, beta=0.04), abs=1e-6
    )
    for t in range(6):
        up, down = now.tolist(), now.tolist()
        up[t] += 1e-5
        down[t] -= 1e-5
        slope = decoupled_by_hand(up, *others, beta=0.04)
        slope = (slope - decoupled_by_hand(down, *others, beta=0.04)) / 2e-5
        assert float(gradient[t]) == pytest.approx(slope, abs=1e-6)
    # However the minibatch is cut, the loss is the same.
    cut = []
    for micro, part in zip(([rows[0]], rows[1:]), (slice(0, 3), slice(3, 6)), strict=True):
        updater = Updater(recipe, Engine(Table(now[part].clone())), Lines(), {})  # type: ignore[arg-type]
        cut.append(float(loss_of(updater, micro, totals).detach()))
    assert sum(cut) == pytest.approx(float(loss.detach()), abs=1e-9)


def test_a_token_with_two_terms_has_the_kl_once() -> None:
    """Credit `description`: on a description both advantages, one pull to the reference."""
    now = torch.tensor([-0.5, -1.0, -0.2, -0.7]).double()
    reference = now + torch.tensor([0.4, -0.3, 0.2, 0.5]).double()
    recipe = Recipe(
        model="tiny",
        task="demo",
        objective="decoupled",
        credit="description",
        aggregation="dapo",
        beta=0.1,
        importance_cap=0,
    )
    terms = (Term("answer", 0.5, 1.0, (0, 4)), Term("visual", 0.5, -2.0, (1, 3)))
    row = TrainRow(Request("", (), Sampling()), (1,) * 4, (0.0,) * 4, None, terms, now, reference)
    updater = Updater(recipe, Engine(Table(now.clone())), Lines(), {})  # type: ignore[arg-type]
    totals = {part: updater._totals([row], part) for part in PARTS}
    loss = float(loss_of(updater, [row], totals).detach())
    kl = [math.exp(d) - d - 1 for d in (reference - now).tolist()]
    # 4 tokens of the answer's mean, 2 of the visual one's; ratios are 1.
    wanted = 0.5 / 4 * (-1.0 * 4 + 0.1 * sum(kl)) + 0.5 / 2 * 2.0 * 2
    assert loss == pytest.approx(wanted, abs=1e-9)
    # Where the answer has no weight, the visual part has the KL.
    alone = replace(row, terms=terms[1:])
    totals = {part: updater._totals([alone], part) for part in PARTS}
    updater = Updater(recipe, Engine(Table(now.clone())), Lines(), {})  # type: ignore[arg-type]
    loss = float(loss_of(updater, [alone], totals).detach())
    assert loss == pytest.approx(0.5 / 2 * (2.0 * 2 + 0.1 * sum(kl[1:3])), abs=1e-9)
