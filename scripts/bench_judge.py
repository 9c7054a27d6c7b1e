"""Measure what an LLM judge costs over a bare client: time and memory, in the same run.

The same prompts go to the same local server, which answers after a fixed latency, by (a) a bare
`AsyncOpenAI` loop under a semaphore that stores nothing, and (b) `judge_run`, which reads samples
and generations from the store, writes prompts, reads replies and stores every verdict. Rounds are
interleaved and their medians compared. Then a long run shows that memory stays flat.

    python scripts/bench_judge.py --calls 1000 --latency 0.1 --concurrency 64
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import resource
import tempfile
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import openai
from bench_rounds import Way, interleave, resident_mib, show

from vsr1_bench.judge import JudgeOptions
from vsr1_bench.judging.runs import judge_run
from vsr1_bench.pipeline.plan import RunOptions
from vsr1_bench.pipeline.run import generate
from vsr1_bench.store.run_folder import RunFolder, find_runs

REPLY = '{"verdict": "incorrect"}'
PLUGIN = """
from vsr1_bench.records import Sample
from vsr1_bench.task import Procedural, Task


def to_sample(row):
    return Sample(f"s{{row['n']}}", (f"Case {{row['n']}}: how many?",), "7", "number")


TASK = Task("bench_judge", 1, Procedural(lambda n: {{"n": n}}, {n}, "bench-{n}"), to_sample,
            "number", "Apache-2.0", "numbers for scripts/bench_judge.py")
"""


def serve(port: Connection, latency: float) -> None:
    """Answer every chat call after `latency` seconds; in a separate process, on one event loop.

    Written by hand: with one thread per call the server would be what is measured.
    """
    usage = {"prompt_tokens": 200, "completion_tokens": 8, "total_tokens": 208}
    choice = {"index": 0, "finish_reason": "stop"} | {
        "message": {"role": "assistant", "content": REPLY}
    }
    about = {"id": "c", "object": "chat.completion", "created": 1, "model": "m"}
    body = json.dumps(about | {"choices": [choice], "usage": usage}).encode()
    head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    reply = (head % len(body)).encode() + body

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = int(head.partition("content-length:")[2].partition("\r\n")[0] or 0)
                await reader.readexactly(length)
                await asyncio.sleep(latency)
                writer.write(reply)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def main() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=1024)
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


def bare(url: str, prompts: list[str], concurrency: int) -> None:
    """Ask all prompts by a bare client loop."""

    async def loop() -> None:
        client = openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0)
        slots = asyncio.Semaphore(concurrency)

        async def call(prompt: str) -> Any:
            async with slots:
                return await client.chat.completions.create(
                    model="m",
                    messages=[{"role": "user", "content": prompt}],
                    temperature=0.0,
                    max_tokens=2048,
                )

        await asyncio.gather(*(call(prompt) for prompt in prompts))
        await client.close()

    asyncio.run(loop())


def ours(url: str, run: RunFolder, plugins: str, concurrency: int, seed: int) -> None:
    """Judge the run again: each seed is another judge."""
    options = JudgeOptions(
        model="m", base_url=url, concurrency=concurrency, args={"seed": seed, "max_retries": 2}
    )
    journal = judge_run(run, "openai", (plugins,), options=options, progress=False)
    assert all(j.verdict.outcome == "incorrect" for j in run.judgments(journal).values())


def make_run(folder: Path, n: int) -> tuple[RunFolder, str]:
    """A stored run of n different wrong answers."""
    plugins = folder / f"plugins-{n}"
    plugins.mkdir()
    (plugins / "numbers.py").write_text(PLUGIN.format(n=n))
    script = folder / f"script-{n}.jsonl"
    lines = ({"id": f"s{i}", "response": f"\\boxed{{{i + 100}}}"} for i in range(n))
    script.write_text("".join(json.dumps(line) + "\n" for line in lines))
    generate(
        RunOptions(
            model="bench",
            tasks="bench_judge",
            backend="scripted",
            model_args={"script": str(script)},
            output_path=folder / f"runs-{n}",
            include_path=(str(plugins),),
            progress=False,
        )
    )
    (run,) = find_runs(folder / f"runs-{n}")
    return run, str(plugins)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--latency", type=float, default=0.1, help="seconds an answer takes")
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--long", type=int, default=10_000, help="calls of the memory run, 0 = none"
    )
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    server = context.Process(target=serve, args=(there, options.latency), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{here.recv()}/v1"
    try:
        with tempfile.TemporaryDirectory() as name:
            run, plugins = make_run(Path(name), options.calls)
            prompts = [f"Case {n}: how many? " + "word " * 150 for n in range(options.calls)]
            seeds = count()
            ways: dict[str, Way] = {
                "bare": lambda _: bare(url, prompts, options.concurrency),
                "ours": lambda _: ours(url, run, plugins, options.concurrency, next(seeds)),
            }
            times = interleave(ways, options.rounds)
            show(times)
            ideal = options.calls * options.latency / options.concurrency
            ratio = times[1].seconds / times[0].seconds
            print(f"ideal {ideal:.2f} s; ratio ours / bare: {ratio:.3f} (wanted: at most 1.1)")
            if options.long:
                before = resident_mib()
                long_run, plugins = make_run(Path(name), options.long)
                stored = resident_mib()
                ours(url, long_run, plugins, 256, 0)
                print(
                    f"memory, MiB: {before:.0f} before, {stored:.0f} with a run of {options.long} "
                    f"made, {resident_mib():.0f} after judging it; peak of all "
                    f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f}"
                )
    finally:
        server.terminate()
        server.join()


if __name__ == "__main__":
    main()
