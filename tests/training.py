"""A trainer of the embedded model in this process, and rows to train it on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from vsr1_bench.judge import Judged, JudgeRunner, Verdicts
from vsr1_bench.records import Verdict
from vsr1_bench.tiny.scenes import make_row
from vsr1_bench.train.recipe import Recipe, load_recipe
from vsr1_bench.train.sft_recipe import SftRecipe, load_sft_recipe

SMALL: dict[str, Any] = {
    "backend": "transformers",
    "engine_args": {"batch_size": 64},
    "prompts_per_step": 2,
    "minibatch_prompts": 2,
    "samples_per_prompt": 4,
    "max_tokens": 80,
    "max_steps": 2,
    "save_every": 1000,
}

EAGER: dict[str, Any] = {"max_model_len": 512, "enforce_eager": True}
"""Arguments of a vLLM that starts quickly: it compiles nothing."""


def small_recipe(folder: Path, **changes: Any) -> Recipe:
    """`tiny/decoupled` with tiny batches and transformers rollouts."""
    base = load_recipe("tiny/decoupled").model_dump()
    return Recipe.model_validate(base | SMALL | {"output_dir": folder} | changes)


SMALL_SFT: dict[str, Any] = {
    "model": "tiny",
    "batch_size": 4,
    "group_batches": 2,
    "schedule_steps": 4,
    "warmup_steps": 1,
    "save_every": 1000,
    "lr": 1e-3,
}


def small_sft(folder: Path, **changes: Any) -> SftRecipe:
    """`tiny/cold_start` with tiny batches, from the embedded model."""
    base = load_sft_recipe("tiny/cold_start").model_dump()
    return SftRecipe.model_validate(base | SMALL_SFT | {"output_dir": folder} | changes)


def settings(**changes: Any) -> list[str]:
    """The same as `key=value` for a command line."""
    told = SMALL | changes
    tables = {k: v for k, v in told.items() if isinstance(v, dict)}
    plain = [f"{k}={v}" for k, v in told.items() if k not in tables]
    inline = [
        f"{k}={{{', '.join(f'{a} = {json.dumps(b)}' for a, b in v.items())}}}"
        for k, v in tables.items()
    ]
    return plain + inline


@contextmanager
def trainer(recipe: Recipe) -> Iterator[Any]:
    """A Trainer, closed at the end."""
    from vsr1_bench.train.grpo import Trainer

    with ExitStack() as stack:
        yield Trainer(recipe, stack)


def weights(of: Any) -> dict[str, Any]:
    """A copy of a trainer's weights."""
    return {name: value.clone() for name, value in of.engine.weights()}


def metrics(folder: Path) -> list[dict[str, float]]:
    """What a run has logged."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def counting_rows(folder: Path, n: int = 8, *, gold: str | None = None) -> Path:
    """Write n count questions as problem / answer / images, each fourth one without an image."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for place in range(n):
        row = make_row("train", 4 * place)
        (folder / f"{place}.png").write_bytes(row["image"])
        shown = place % 4 != 3
        lines.append(
            {
                "problem": ("<image>" if shown else "") + row["question"],
                "answer": gold or row["answer"],
                "images": [f"{place}.png"] if shown else [],
            }
        )
    file = folder / "train.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


class Fixed(JudgeRunner):
    """A judge that turns another's verdicts round, or always says the same."""

    name = identity = "fixed"

    def __init__(self, inner: JudgeRunner | None) -> None:
        self.inner = inner

    def judge(self, items: Any) -> Verdicts:
        if self.inner is None:
            yield from (Judged(item, Verdict("correct")) for item in items)
            return
        for judged in self.inner.judge(items):
            right = judged.verdict.outcome == "correct"
            yield Judged(judged.item, Verdict("incorrect" if right else "correct"))

    def estimate(self, items: Any) -> Any:
        raise NotImplementedError

    def close(self) -> None:
        pass
