"""Show that the check of the weight sync stops no healthy training, and finds planted faults.

    python scripts/simulate_sync_check.py [--runs 100] [--steps 200] [--backend vllm]

The first table simulates healthy runs. Differences between engine and trainer in bfloat16 have a
heavy tail: the largest of 3,916 tokens is about half a nat (0.48 to 0.66 in TRL issue 6789, with a
model of 0.5B). Each line draws such differences, scaled so that the median of that largest value is
0.57 or a multiple of it, and counts the runs that `Mismatch.within` would stop, beside those that a
bound of 0.5 on the largest difference would. Each token has a scale of its own, drawn once per run,
because a run has one probe.

The second table trains the embedded model in bfloat16: a healthy run, and one per fault. The engine
is vLLM, or transformers with another attention than the trainer's, so that rounding differs. An
update is a step of AdamW along a policy gradient with random advantages.

Exit status 1 if a healthy run is stopped or a fault is not found.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsr1_bench.train.core.ranks import TrainError
from vsr1_bench.train.rl.sync_check import (
    BOUNDS,
    QUANTILE_FACTOR,
    Mismatch,
    SyncCheck,
)

Floats = NDArray[np.float64]
Law = Callable[[np.random.Generator, int], Floats]
BOUND = BOUNDS["bfloat16"]
LARGEST, SEEN = 0.57, 3916
LR = 7e-5
"""The learning rate of the tiny recipes."""
LIMIT = 0.5
"""The bound on the largest difference that earlier versions had."""

EVEN = "equal"
LAWS: dict[str, Law] = {
    EVEN: lambda rng, n: np.ones(n),
    "Student, 4 degrees of freedom": lambda rng, n: np.sqrt(4 / rng.chisquare(4, n)),
    "Student, 2 degrees of freedom": lambda rng, n: np.sqrt(2 / rng.chisquare(2, n)),
    "log-normal, sigma 1": lambda rng, n: rng.lognormal(0, 1, n),
    "one token in 50 is 10 times as noisy": lambda rng, n: np.where(rng.random(n) < 0.02, 10, 1.0),
}
"""The scale of a token's normal differences."""


def gaps(rng: np.random.Generator, scales: Floats, checks: int) -> Floats:
    """|Δ log-prob| of checks, `(checks, tokens)`."""
    return np.abs(rng.standard_normal((checks, len(scales))) * scales)


def simulated(runs: int, steps: int, seed: int) -> Iterator[tuple[str, int]]:
    """A table row of each situation, and the number of stopped runs."""
    for name, law in LAWS.items():
        rng = np.random.default_rng([seed, *name.encode()])
        largest = [gaps(rng, law(rng, SEEN), 1).max() for _ in range(200)]
        # With equal scales, half a nat is no rare value, but seen in every answer.
        for factor in (1.0,) if name == EVEN else (1.0, 2.0):
            unit = factor * LARGEST / median(largest)
            for tokens in (24, 128, 256):
                old = new = 0
                means: list[float] = []
                tails: list[float] = []
                for _ in range(runs):
                    drawn = gaps(rng, unit * law(rng, tokens), steps)
                    told = [Mismatch.of(row) for row in drawn.tolist()]
                    old += any(one.largest > LIMIT for one in told)
                    new += not all(one.within(BOUND) for one in told)
                    means.append(max(one.mean for one in told))
                    tails.append(max(one.quantile for one in told))
                cells = (name, f"{factor:g}", tokens, f"{max(means):.3f}", f"{max(tails):.3f}")
                share = (f"{100 * count / runs:.1f} %" for count in (old, new))
                yield f"| {' | '.join(map(str, (*cells, *share)))} |", new


def no_sync(step: int, rank: int, name: str, old: Any, new: Any) -> Any:
    """Nothing arrives."""
    return old


def one_layer(step: int, rank: int, name: str, old: Any, new: Any) -> Any:
    """One of the four layers keeps the first weights."""
    return old if ".layers.1." in name else new


def half_the_ranks(step: int, rank: int, name: str, old: Any, new: Any) -> Any:
    """Nothing arrives at the second of two ranks."""
    return old if rank else new


def transposed(step: int, rank: int, name: str, old: Any, new: Any) -> Any:
    """A square weight arrives transposed, from the third step on."""
    wrong = step > 2 and name.endswith("layers.0.self_attn.o_proj.weight")
    return new.T.contiguous() if wrong else new


FAULTS: dict[str, tuple[int, Callable[..., Any] | None]] = {
    "none": (1, None),
    "no sync": (1, no_sync),
    "one stale layer": (1, one_layer),
    "half the ranks stale": (2, half_the_ranks),
    "transposed weight": (1, transposed),
}
"""Ranks, and what the engine gets for a parameter."""


class PlainTrainer:
    """What the check uses of a `TrainingEngine`, in plain PyTorch: bfloat16 copies of fp32 weights.

    An update is a policy gradient with random advantages: it moves the weights as training does.
    """

    def __init__(self, generator: Any, ranks: Any, seed: int) -> None:
        import torch
        from transformers import AutoModelForImageTextToText

        from vsr1_bench.tiny import weights_path
        from vsr1_bench.train.core.logprobs import Scorer

        load = AutoModelForImageTextToText.from_pretrained
        self.whole = Scorer(load(weights_path(), dtype=torch.float32).eval())
        self.scorer = Scorer(load(weights_path(), dtype=torch.bfloat16).eval())
        self.optimizer = torch.optim.AdamW(self.whole.parameters(), lr=LR)
        self.recipe, self.ranks = argparse.Namespace(dtype="bfloat16"), ranks
        self._rng = torch.Generator().manual_seed(seed)

    def weights(self) -> Iterator[tuple[str, Any]]:
        """The names and tensors of the bfloat16 copy."""
        for name, parameter in self.scorer.policy.named_parameters(remove_duplicate=False):
            yield name, parameter.data

    def score(self, batch: Any, *, probe: bool) -> Any:
        """Log-probs of a batch's tokens, `(N,)`."""
        import torch

        from vsr1_bench.train.core.logprobs import score_batch

        with torch.no_grad():
            return score_batch(self.scorer, batch, temperature=1.0, bans=not probe)[0]

    def update(self, batches: Sequence[Any]) -> None:
        """One step of AdamW."""
        import torch

        from vsr1_bench.train.core.logprobs import score_batch

        for batch in batches:
            logprobs, _ = score_batch(self.whole, batch, temperature=1.0, bans=False)
            advantages = torch.randn(len(batch.lengths), generator=self._rng)
            (-(advantages[batch.rows] * logprobs).mean()).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        with torch.no_grad():
            pairs = zip(self.scorer.parameters(), self.whole.parameters(), strict=True)
            for copy, whole in pairs:
                copy.copy_(whole)


def train(fault: str, folder: Path, backend: str, steps: int, seed: int) -> None:
    """Train the embedded model with a fault in this process; write where it stopped."""
    import torch.distributed as dist

    from vsr1_bench.generation.models import default_pixels, find_model
    from vsr1_bench.generation.open import open_syncable
    from vsr1_bench.prompts.formats import build_messages, get_format
    from vsr1_bench.records import EncodedImage, Request, Sampling
    from vsr1_bench.tiny.scenes import make_row, to_sample
    from vsr1_bench.train.core.encoding import Encoder, TrainRow
    from vsr1_bench.train.core.ranks import Ranks

    world, change = FAULTS[fault]
    if world > 1:
        dist.init_process_group("gloo")
    else:
        store = dist.HashStore()  # type: ignore[attr-defined]  # exported, though not by name
        dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    ranks = Ranks(dist.get_rank(), world)
    model = find_model("tiny", backend=backend)
    least, most = default_pixels(model)
    sampling = Sampling(1.0, max_tokens=64, seed=seed, min_pixels=least, max_pixels=most)
    prompts = []
    for number in range(4):
        row = make_row("train", number)
        sample = to_sample({**row, "image": EncodedImage(data=row["image"])})
        messages = build_messages(sample, get_format("see_think"))
        request = Request(f"{number}", messages, sampling, sample.images, sample.id)
        prompts.append((sample, request))
    # With transformers, another attention than the trainer's, so that rounding differs.
    other = {"max_model_len": 512} if backend == "vllm" else {"attn_implementation": "eager"}
    told: dict[str, Any] = {"error": None, "metrics": []}
    with open_syncable(backend, model, {"dtype": "bfloat16"} | other, banned=()) as generator:
        encoder = Encoder(generator.renderer)
        check = SyncCheck(generator, encoder, prompts, ranks)
        answers = list(generator.generate([request for _, request in prompts[:2]]))
        requests = {request.key: request for _, request in prompts}
        rows = [TrainRow(requests[a.key], a.token_ids or (), ()) for a in answers]
        trainer: Any = PlainTrainer(generator, ranks, seed)
        check.bind(trainer)
        first = {name: value.clone() for name, value in trainer.weights()}
        try:
            for step in range(steps + 1):
                if step:
                    trainer.update([encoder.collate(rows)])
                sent = check.watch(trainer.weights())
                generator.sync(
                    (n, value if change is None else change(step, ranks.rank, n, first[n], value))
                    for n, value in sent
                )
                told["metrics"].append(check.check(step))
        except TrainError as error:
            told["error"] = str(error)
        finally:
            told |= {"step": step, "groups": len(check.layers)}
            if ranks.first:
                (folder / "told.json").write_text(json.dumps(told))


def run(fault: str, folder: Path, backend: str, steps: int) -> dict[str, Any]:
    """Train in processes of their own; several ranks with rollouts by transformers."""
    ranks, _ = FAULTS[fault]
    launch = [sys.executable]
    if ranks > 1:
        launch += ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}"]
        backend = "transformers"
    options = ["--child", str(folder), "--fault", fault, "--backend", backend]
    subprocess.run([*launch, __file__, *options, "--steps", str(steps)], check=True)
    told: dict[str, Any] = json.loads((folder / "told.json").read_text())
    return told


def trained(fault: str, told: dict[str, Any]) -> str:
    """A table row."""
    proofs = {
        name: [step[f"proof/{name}"] for step in told["metrics"]]
        for name in ("mismatch_mean", "mismatch_q95", "mismatch_max", "distance")
    }
    ends = (f"{max(values):.3f}" if values else "" for values in proofs.values())
    where = "not stopped" if told["error"] is None else f"stopped at step {told['step']}"
    cells = (fault, told["groups"], len(told["metrics"]), *ends, where)
    return f"| {' | '.join(map(str, cells))} |"


def main() -> int:
    """Simulate, train and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=100, help="simulated runs per line; 0 = none")
    parser.add_argument("--steps", type=int, default=200, help="steps of a healthy run; 0 = none")
    parser.add_argument("--fault_steps", type=int, default=20, help="steps to find a fault in")
    parser.add_argument("--fault", choices=list(FAULTS), help="train with this one only")
    parser.add_argument("--backend", choices=("vllm", "transformers"), default="vllm")
    parser.add_argument("--seed", type=int, default=20260101)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        train(options.fault, options.child, options.backend, options.steps, options.seed)
        return 0
    wrong = 0
    print(f"bounds: mean {BOUND} nats, 95 % quantile {QUANTILE_FACTOR * BOUND:g} nats\n")
    if options.runs:
        print(f"{options.runs} simulated runs of 200 steps per line, seed {options.seed}\n")
        print(
            "| scale of a token | factor | tokens | largest mean | largest quantile "
            f"| stopped by a bound of {LIMIT} on the maximum | stopped now |\n"
            "|---|---|---|---|---|---|---|"
        )
        for row, stopped in simulated(options.runs, 200, options.seed):
            wrong += stopped
            print(row, flush=True)
        print()
    if options.steps:
        print(f"the embedded model in bfloat16, rollouts by {options.backend}\n")
        print(
            "| fault | groups compared by bits | steps | largest mean | largest quantile "
            "| maximum | largest move of a step | result |\n|---|---|---|---|---|---|---|---|"
        )
        for fault in [options.fault] if options.fault else FAULTS:
            steps = options.steps if fault == "none" else options.fault_steps
            with tempfile.TemporaryDirectory() as folder:
                told = run(fault, Path(folder), options.backend, steps)
            wrong += (told["error"] is None) != (fault == "none")
            print(trained(fault, told), flush=True)
            if told["error"] is not None:
                print(f"{fault}: {told['error']}", file=sys.stderr)
    print(f"\n{wrong} healthy runs stopped or faults not found")
    return int(wrong > 0)


if __name__ == "__main__":
    raise SystemExit(main())
