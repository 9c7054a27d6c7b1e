"""Measure the second pass: one run with it, against its two parts one after the other.

Three ways on one running engine, with interleaved rounds and medians: (a) a run without the second
pass; (b) only the requests of the second pass, prepared in advance and not stored; (c) one run with
`--perception`. The engine must not be idle between the passes: (c) may take at most 1.1 times
(a) + (b).

    python scripts/bench_perception.py --n 500 --rounds 5
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from bench_generate import ours, plugin, reset, tiny_engine
from bench_rounds import Way, interleave, show

from vsr1_bench.generation.base import Generator
from vsr1_bench.records import Completion, Request

BOUND = 1.1
MAX_TOKENS = 256


class Recording(Generator):
    """Keeps the requests of the second pass, for way (b)."""

    def __init__(self, inner: Generator) -> None:
        self.inner, self.capacity = inner, inner.capacity
        self.readings: list[Request] = []

    def submit(self, request: Request) -> None:
        """Pass the request on."""
        if request.stage == "reading":
            self.readings.append(request)
        self.inner.submit(request)

    def completions(self) -> Iterator[Completion]:
        """Pass completions back."""
        return self.inner.completions()

    def close(self) -> None:
        """Leave the engine up."""


def read(generator: Generator, requests: list[Request]) -> int:
    """The second pass by itself; returns the tokens drawn."""
    return sum(c.usage.completion_tokens or 0 for c in generator.generate(requests))


def main() -> int:
    """Measure and print; return 1 if the bound is broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tiny_engine() as (engine, llm), tempfile.TemporaryDirectory() as home:
        plugins = plugin(Path(home), options.n, made=True)
        recording = Recording(engine)
        ours(recording, plugins, Path(home), MAX_TOKENS, "self")
        readings = recording.readings
        ways: dict[str, Way] = {
            "(a) generate alone": partial(ours, engine, plugins, most_tokens=MAX_TOKENS),
            "(b) the same text-only requests alone": lambda _: read(engine, readings),
            "(c) generate + perception, one run": partial(
                ours, engine, plugins, most_tokens=MAX_TOKENS, perception="self"
            ),
        }
        times = interleave(ways, options.rounds, lambda: reset(llm))
    print(
        f"\n{options.n} image requests and the {len(readings)} readings of their descriptions, "
        f"median of {options.rounds} interleaved rounds:\n"
    )
    show(times, tokens=lambda one: one.result)
    alone, text, both = (one.seconds for one in times)
    ratio = both / (alone + text)
    print(f"\n(c) / ((a) + (b)) = {ratio:.3f}, at most {BOUND} wanted")
    return int(ratio > BOUND)


if __name__ == "__main__":
    sys.exit(main())
