"""Measure the overhead of the generation path over the bare engine, and its memory.

The same prompts and images go through (a) vLLM's own `LLM.generate`, with prompts tokenized and
images decoded in advance, and (b) `vsr1_bench.pipeline.run.generate`, which makes rows, decodes
images, writes prompts and stores every response. Both use one running engine; rounds are
interleaved and their medians compared. Then a long stream shows how much memory a large run takes.

    python scripts/bench_generate.py --n 500 --rounds 5 --stream 20000
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from bench_rounds import Way, interleave, resident_mib, show
from tabulate import tabulate

from vsr1_bench.generation.base import Generator
from vsr1_bench.generation.models import default_pixels, find_model
from vsr1_bench.generation.vllm import VllmArgs, VllmGenerator, engine_settings, prepare_environment
from vsr1_bench.pipeline.plan import RunOptions
from vsr1_bench.pipeline.run import generate
from vsr1_bench.prompts.formats import build_messages, get_format
from vsr1_bench.records import Completion, EncodedImage, Request, Sampling
from vsr1_bench.registry import load_registry
from vsr1_bench.tiny.scenes import make_row, to_sample

MAX_TOKENS = 64
BOUND = 1.05
"""Largest ratio of our way to the bare engine."""
PLUGIN = '''
"""Demo scenes, as many as a benchmark wants."""
from vsr1_bench.task import Procedural, Task
from vsr1_bench.tiny.scenes import make_row, to_sample

ROWS = [make_row("test", n) for n in range({made})]
TASK = Task(
    "bench_scenes",
    1,
    Procedural(lambda n: ROWS[n] if ROWS else make_row("test", n), {n}, "bench", ("image",)),
    to_sample, None, "Apache-2.0", "demo scenes for scripts/bench_generate.py",
)
'''


def requests(n: int, most_tokens: int) -> list[Request]:
    """The requests that the pipeline makes of the first n demo rows."""
    least, most = default_pixels(find_model("tiny", backend="vllm"))
    sampling = Sampling(max_tokens=most_tokens, min_pixels=least, max_pixels=most)
    made = []
    for number in range(n):
        row = make_row("test", number)
        sample = to_sample({**row, "image": EncodedImage(data=row["image"])})
        messages = build_messages(sample, get_format("see_think"))
        made.append(Request(str(number), messages, sampling, sample.images, sample.id))
    return made


def bare(prepared: list[dict[str, object]], llm: object, most_tokens: int) -> int:
    """One blocking `LLM.generate`; returns the tokens drawn."""
    from vllm import SamplingParams

    params = SamplingParams(temperature=0.0, max_tokens=most_tokens)
    outputs = llm.generate(prepared, params, use_tqdm=False)  # type: ignore[attr-defined]
    return sum(len(output.outputs[0].token_ids) for output in outputs)


def plugin(folder: Path, n: int, *, made: bool) -> Path:
    """Write a task of n scenes, which are generated at import (`made`) or when they are needed."""
    path = folder / f"plugins-{n}"
    path.mkdir(exist_ok=True)
    text = PLUGIN.replace("{n}", str(n)).replace("{made}", str(n if made else 0))
    (path / "scenes.py").write_text(text)
    load_registry((str(path),))
    return path


def ours(
    generator: Generator,
    plugins: Path,
    folder: Path,
    most_tokens: int,
    perception: str | None = None,
) -> int:
    """One run through the pipeline into a fresh folder; returns the tokens drawn."""
    options = RunOptions(
        model="tiny",
        tasks="bench_scenes",
        output_path=folder / "runs",
        backend="vllm",
        gen_kwargs={"max_tokens": most_tokens},
        include_path=(str(plugins),),
        progress=False,
        perception=perception,
    )
    (run,) = generate(options, generator)
    stored = [*run.folder.generations().values(), *run.folder.perceptions().values()]
    return sum(record.usage.completion_tokens or 0 for record in stored)


def reset(llm: object) -> None:
    """Forget prompts and images, so that each round does the same work."""
    engine = llm.llm_engine  # type: ignore[attr-defined]
    engine.reset_prefix_cache()
    engine.reset_mm_cache()
    engine.engine_core.reset_encoder_cache()


def compare(
    generator: VllmGenerator, llm: object, n: int, rounds: int, plugins: Path, most_tokens: int
) -> None:
    """Print the table of both ways; for both the rows are generated in advance."""
    prompts = [generator.renderer.render(request) for request in requests(n, most_tokens)]
    encode = generator.renderer.tokenizer.encode
    prepared: list[dict[str, object]] = [
        {
            "prompt_token_ids": encode(prompt.text, add_special_tokens=False),
            "multi_modal_data": {"image": prompt.images[0]},
        }
        for prompt in prompts
    ]
    ways: dict[str, Way] = {
        "bare LLM.generate": lambda _: bare(prepared, llm, most_tokens),
        "vsr1-bench, all stored": lambda folder: ours(generator, plugins, folder, most_tokens),
    }
    times = interleave(ways, rounds, lambda: reset(llm))
    print(f"\n{n} image requests of {most_tokens} tokens, median of {rounds} interleaved rounds:\n")
    show(times, **{"tokens/s": lambda one: f"{one.result / one.seconds:.0f}"})
    bare_way, stored = times
    wall, used = (
        statistics.median(ours / theirs for ours, theirs in zip(*pair, strict=True))
        for pair in ((stored.wall, bare_way.wall), (stored.cpu, bare_way.cpu))
    )
    held = "held" if wall <= BOUND else "exceeded"
    print(
        f"median ratio of a round: {wall:.2f} wall, {used:.2f} CPU; bound on wall {BOUND}: {held}"
    )


def stream(generator: VllmGenerator, n: int, home: Path) -> None:
    """Print resident memory along one long run."""
    watched = _Watched(generator, every=n // 10)
    with tempfile.TemporaryDirectory() as folder:
        ours(watched, plugin(home, n, made=False), Path(folder), MAX_TOKENS)
    print(f"\nMemory along one run of {n} image samples (8 tokens each):\n")
    print(tabulate(watched.seen, ["samples", "seconds", "resident MiB"], tablefmt="pipe"))


class _Watched(Generator):
    """Shortens answers, because the stream is about memory, and records the memory in use."""

    def __init__(self, inner: VllmGenerator, every: int) -> None:
        self.inner, self.capacity, self.every = inner, inner.capacity, every
        self.start = time.perf_counter()
        self.finished = 0
        self.seen: list[list[object]] = []

    def submit(self, request: Request) -> None:
        self.inner.submit(replace(request, sampling=replace(request.sampling, max_tokens=8)))

    def completions(self) -> Iterator[Completion]:
        for completion in self.inner.completions():
            yield completion
            self.finished += 1
            if self.finished % self.every == 0:
                took = f"{time.perf_counter() - self.start:.0f}"
                self.seen.append([self.finished, took, f"{resident_mib():.0f}"])

    def close(self) -> None:
        """Leave the engine up."""


@contextmanager
def tiny_engine() -> Iterator[tuple[VllmGenerator, object]]:
    """The embedded model in vLLM: our generator, and vLLM's own `LLM` around the same engine."""
    args = VllmArgs(dtype="float32", in_process=True)
    prepare_environment(args)
    from vllm import LLM

    model = find_model("tiny", backend="vllm")
    llm = LLM(**engine_settings(model, args, sees=True, trust_remote_code=False))
    with VllmGenerator(model, args, engine=llm.llm_engine) as generator:
        yield generator, llm


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=500)
    parser.add_argument("--max_tokens", type=int, default=MAX_TOKENS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--stream", type=int, default=20_000, help="0 skips the long run")
    options = parser.parse_args()
    with (
        tiny_engine() as (generator, llm),
        tempfile.TemporaryDirectory() as home,
    ):
        plugins = plugin(Path(home), options.n, made=True)
        compare(generator, llm, options.n, options.rounds, plugins, options.max_tokens)
        if options.stream:
            stream(generator, options.stream, Path(home))


if __name__ == "__main__":
    main()
