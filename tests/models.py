"""Requests on demo rows, for tests that run a model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from vsr1_bench.generation.base import Generator
from vsr1_bench.generation.models import ModelInfo, default_pixels, find_model
from vsr1_bench.pipeline.plan import RunOptions
from vsr1_bench.pipeline.run import generate
from vsr1_bench.pipeline.stream import TaskRun
from vsr1_bench.prompts.formats import build_messages, get_format
from vsr1_bench.records import Completion, EncodedImage, ImagePlace, Request, Sample, Sampling
from vsr1_bench.scoring.runs import judge_and_score
from vsr1_bench.tiny.scenes import make_row, to_sample


def tiny() -> ModelInfo:
    """The embedded model."""
    return find_model("tiny", backend="transformers")


def demo_sample(number: int, *, blind: bool = False) -> Sample:
    """A test row of the demo; blind = its question without the image."""
    row = make_row("test", number)
    sample = to_sample({**row, "image": EncodedImage(data=row["image"])})
    if not blind:
        return sample
    words = tuple(part for part in sample.question if not isinstance(part, ImagePlace))
    return replace(sample, question=words, images=())


def demo_requests(n: int, *, fmt: str = "see_think", **changes: object) -> list[Request]:
    """Requests on n rows, every fifth one without its image; changes are fields of `Sampling`."""
    least, most = default_pixels(tiny())
    plain = Sampling(max_tokens=160, min_pixels=least, max_pixels=most)
    sampling = replace(plain, **changes)  # type: ignore[arg-type]
    requests = []
    for number in range(n):
        sample = demo_sample(number, blind=number % 5 == 4)
        messages = build_messages(sample, get_format(fmt))
        requests.append(Request(f"k{number}", messages, sampling, sample.images, sample.id))
    return requests


def by_key(completions: list[Completion]) -> dict[str, Completion]:
    """Index completions."""
    return {completion.key: completion for completion in completions}


def seeing_run(folder: Path, generator: Generator, n: int, **more: object) -> list[TaskRun]:
    """The first n demo questions with their second pass and three blind runs."""
    options = RunOptions(
        model="tiny",
        tasks="demo",
        output_path=folder,
        backend="transformers",
        limit=n,
        progress=False,
        perception="self",
        blind=("drop", "noise", "swap"),
    )
    return generate(replace(options, **more), generator)  # type: ignore[arg-type]


def scored_run(runs: list[TaskRun]) -> dict[str, Any]:
    """Judge and score runs; the document of the one that sees."""
    first, *blind = runs
    for run in blind:
        judge_and_score(run.folder, None, progress=False)
    return judge_and_score(first.folder, None, progress=False)


def keys_when_one_is_submitted_late(generator: Generator) -> list[str]:
    """The order of two answers, the second asked for when the first is there."""
    first, second = demo_requests(2)
    generator.submit(first)
    seen = []
    for completion in generator.completions():
        seen.append(completion.key)
        if completion.key == "k0":
            generator.submit(second)
    return seen
