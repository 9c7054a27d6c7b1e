"""Measure time and memory of `score`, `table` and `compare` on two large runs.

    python scripts/bench_tables.py [--samples 100000]

Two runs of the same samples are written into a temporary folder, in the store's own format:
answers of some 1,200 characters, clusters of one to five questions, sixteen subjects. Each command
then runs as a separate process, as a user would start it: after a first call on small runs, so
that the libraries are compiled, as they are where pip has installed them. The bound is 10 s and
1.5 GB each.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from vsr1_bench.judging.runs import text_hash
from vsr1_bench.records import Generation, Judgment, Sample, Usage, Verdict
from vsr1_bench.store.lines import record_of_sample
from vsr1_bench.store.run_folder import RunFolder, utc_now
from vsr1_bench.store.spec import DataSpec, ModelSpec, PromptSpec, RunSpec, SamplingSpec, TaskSpec

SECONDS, BYTES = 10.0, 1.5e9
TASK = """
from vsr1_bench.records import Sample
from vsr1_bench.task import Metric, Procedural, Task

LARGE = Task(
    name="large",
    version=1,
    source=Procedural(lambda n: {"n": n}, 10**6, "large-1"),
    to_sample=lambda row: Sample(str(row["n"]), ("?",), "A", "choice"),
    answer_type="choice",
    license="Apache-2.0",
    description="many rows, for timing",
    metrics=(
        Metric("accuracy"),
        Metric("by_figure", "all_correct_by", ("figure",)),
        Metric("by_subject", "mean_by", ("subject",)),
    ),
    cluster="figure",
)
"""


def write_run(root: Path, model: str, samples: int, right: float) -> None:
    """Write one judged run, line by line, without the run's machinery."""
    rng = random.Random(model)
    spec = RunSpec(
        model=ModelSpec(id=model, fingerprint=model),
        sampling=SamplingSpec(
            temperature=0, top_p=1, top_k=-1, min_p=0, repetition_penalty=1, max_tokens=4096,
            stop=(), seed=0, n=1, min_pixels=1, max_pixels=2,
        ),
        prompt=PromptSpec(format="cot", hash="0", chat_template_hash=None, system=None),
        task=TaskSpec(name="large", version=1),
        data=DataSpec(id="large", config=None, split="test", revision=None, fingerprint="0"),
    )  # fmt: skip
    run = RunFolder.of(root, spec)
    run.write_meta(spec, samples, {"command": "", "limit": None, "versions": {}})
    judgments = run.judgment_path("string_match", "0" * 8)
    judgments.parent.mkdir()
    words = "the figure shows that angle is larger than side because of which it follows".split()
    figure, left = 0, 0
    now = utc_now()
    with (
        (run.path / "samples.jsonl").open("w") as asked,
        (run.path / "generations.jsonl").open("w") as made,
        judgments.open("w") as judged,
    ):
        for n in range(samples):
            if not left:
                # The same figures in both runs: a separate generator.
                figure, left = figure + 1, 1 + figure * 7919 % 5
            left -= 1
            groups = {"figure": f"f{figure}", "subject": f"s{n % 16}"}
            text = " ".join(rng.choices(words, k=220)) + " \\boxed{A}"
            key = f"{n:032x}"
            sample = Sample(
                f"q{n}",
                ("What does the figure show, all things considered?",),
                "A",
                "choice",
                choices=("one", "two", "three", "four"),
                groups=groups,
            )
            generation = Generation(key, f"q{n}", 0, text, "stop", Usage(500, 300), created=now)
            good = rng.random() < right + 0.2 * (figure % 3 - 1)
            judgment = Judgment(
                key=key,
                sample_id=f"q{n}",
                index=0,
                verdict=Verdict("correct" if good else "incorrect", extracted="A"),
                created=now,
                text_hash=text_hash(text),
            )
            print(json.dumps(record_of_sample(sample, n)), file=asked)
            print(json.dumps(asdict(generation)), file=made)
            print(json.dumps(asdict(judgment)), file=judged)


def measure(arguments: list[str], bytecode: Path) -> tuple[float, float, float]:
    """Run a command of vsr1-bench; return its seconds, those of CPU, and the most bytes it held."""
    env = {**os.environ, "PYTHONPYCACHEPREFIX": str(bytecode)}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    since = time.monotonic()
    child = subprocess.Popen(
        [sys.executable, "-m", "vsr1_bench", *arguments, "--verbosity", "ERROR"],
        stdout=subprocess.DEVNULL,
        env=env,
    )
    _, status, used = os.wait4(child.pid, 0)
    seconds = time.monotonic() - since
    if status:
        raise SystemExit(f"vsr1-bench {' '.join(arguments)}: exit status {status}")
    cpu = used.ru_utime + used.ru_stime
    return seconds, cpu, used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main() -> int:
    """Print the table; exit with 1 where a bound is broken."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=100_000)
    samples = parser.parse_args().samples
    broken = False
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        (root / "plugins").mkdir()
        (root / "plugins" / "large.py").write_text(TASK, "utf-8")
        runs, small = root / "runs", root / "small"
        for model, right in (("first", 0.55), ("second", 0.56)):
            write_run(runs, model, samples, right)
            write_run(small, model, 100, right)
        size = sum(path.stat().st_size for path in runs.rglob("*") if path.is_file())
        plugins = ["--include_path", str(root / "plugins")]
        print(f"{samples:,} samples x 2 runs, {size / 1e6:,.0f} MB of journals\n")
        print("| command | seconds | of CPU | memory, MB |\n|---|---|---|---|")
        for name in ("score", "table", "compare"):
            for folder in (small, runs):
                sides = [str(folder / "first"), str(folder / "second")]
                flags = ["--intervals"] if name == "table" else []
                seconds, cpu, held = measure([name, *sides, *flags, *plugins], root / "bytecode")
            broken |= seconds > SECONDS or held > BYTES
            print(f"| {name} | {seconds:.1f} | {cpu:.1f} | {held / 1e6:,.0f} |", flush=True)
    return int(broken)


if __name__ == "__main__":
    raise SystemExit(main())
