"""Measure the second pass: one run with it against its two parts, one after the other.

Three ways on one engine that is up, rounds interleaved, medians compared: (a) a run without the
second pass; (b) the requests of its second pass, made beforehand, straight through the engine and
stored nowhere; (c) one run with `--perception`. The engine must not idle between the passes, and
nothing may wait for anything: (c) is to take at most 1.1 times (a) + (b).

    python scripts/bench_perception.py --n 500 --rounds 5
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench_generate import plugin, reset, tiny_engine
from tabulate import tabulate

from vsr1_bench.generation.base import Generator
from vsr1_bench.pipeline.plan import RunOptions
from vsr1_bench.pipeline.run import generate
from vsr1_bench.records import Completion, Request

BOUND = 1.1
MAX_TOKENS = 256


class Recording(Generator):
    """Remembers what is read, for the way that does nothing else."""

    def __init__(self, inner: Generator) -> None:
        self.inner, self.capacity = inner, inner.capacity
        self.readings: list[Request] = []

    def submit(self, request: Request) -> None:
        """Hand on."""
        if request.stage == "reading":
            self.readings.append(request)
        self.inner.submit(request)

    def completions(self) -> Iterator[Completion]:
        """Hand back."""
        return self.inner.completions()

    def close(self) -> None:
        """Leave the engine up."""


def run(generator: Generator, plugins: Path, folder: Path, perception: str | None) -> int:
    """One run through the pipeline into a fresh folder; returns the tokens drawn."""
    options = RunOptions(
        model="tiny",
        tasks="bench_scenes",
        output_path=folder / "runs",
        backend="vllm",
        gen_kwargs={"max_tokens": MAX_TOKENS},
        include_path=(str(plugins),),
        progress=False,
        perception=perception,
    )
    (found,) = generate(options, generator)
    stored = [*found.folder.generations().values(), *found.folder.perceptions().values()]
    return sum(made.usage.completion_tokens or 0 for made in stored)


def read(generator: Generator, requests: list[Request]) -> int:
    """The second pass by itself; returns the tokens drawn."""
    return sum(c.usage.completion_tokens or 0 for c in generator.generate(requests))


def measure(
    ways: dict[str, Callable[[Path], int]], llm: object, rounds: int
) -> dict[str, tuple[list[float], int]]:
    """Time each way, interleaved, after a round that warms up: (seconds, tokens drawn)."""
    found: dict[str, tuple[list[float], int]] = {name: ([], 0) for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            reset(llm)
            with tempfile.TemporaryDirectory() as folder:
                start = time.perf_counter()
                tokens = way(Path(folder))
                took = time.perf_counter() - start
            found[name] = (found[name][0] + [took] * bool(number), tokens)
    return found


def main() -> int:
    """Measure and print; 1 where the bound does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tiny_engine() as (engine, llm), tempfile.TemporaryDirectory() as home:
        plugins = plugin(Path(home), options.n, made=True)
        recording = Recording(engine)
        run(recording, plugins, Path(home), "self")
        readings = recording.readings
        ways: dict[str, Callable[[Path], int]] = {
            "(a) generate alone": lambda folder: run(engine, plugins, folder, None),
            "(b) the same text-only requests alone": lambda _: read(engine, readings),
            "(c) generate + perception, one run": lambda folder: run(
                engine, plugins, folder, "self"
            ),
        }
        found = measure(ways, llm, options.rounds)
    medians = {name: statistics.median(took) for name, (took, _) in found.items()}
    alone, text, both = medians.values()
    rows = [
        [name, f"{medians[name]:.2f}", f"{min(took):.2f} to {max(took):.2f}", tokens]
        for name, (took, tokens) in found.items()
    ]
    print(
        f"\n{options.n} image requests and the {len(readings)} readings of their descriptions, "
        f"median of {options.rounds} interleaved rounds:\n"
    )
    print(tabulate(rows, ["way", "seconds", "range", "tokens"], tablefmt="pipe"))
    ratio = both / (alone + text)
    print(f"\n(c) / ((a) + (b)) = {ratio:.3f}, to be at most {BOUND}")
    return int(ratio > BOUND)


if __name__ == "__main__":
    sys.exit(main())
