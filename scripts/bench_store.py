"""Measure time and memory of `run` (resumed), `score`, `table` and `compare` as stores grow.

    python scripts/bench_store.py [--samples 10000 100000 1000000] [--characters 4096]

Two runs of the same samples are written into a temporary folder in the store's own format, with
answers of `--characters` each; a hundred answers of the first run are missing. Each command then
runs as a separate process, as a user would start it: first with the journals as a killed run leaves
them ("no index"), then with the indexes that it has made. The last resume runs without the memo of
keys, as after a change of the code. `BOUNDS` says what is allowed; exit status 1 if a command takes
more. A million samples of 4,096 characters need 10 GB of disk.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from itertools import product
from math import inf
from pathlib import Path

import msgspec

from vsr1_bench.judging.runs import text_hash
from vsr1_bench.pipeline.key_memo import KeyMemo, asking_digest
from vsr1_bench.pipeline.plan import RunOptions, plan
from vsr1_bench.prompts.formats import build_messages, get_format
from vsr1_bench.records import Generation, Judgment, Usage, Verdict
from vsr1_bench.store.lines import record_of_sample
from vsr1_bench.store.run_folder import utc_now
from vsr1_bench.store.spec import request_key

BOUNDS = {
    100_000: dict.fromkeys(("score", "table", "compare"), (15.0, 1.5e9)),
    1_000_000: {"resume": (15.0, 500e6), "score": (30.0, 1e9), "compare": (60.0, 1e9)},
}
"""Samples -> command -> most seconds and bytes."""
MISSING = 100
TASK = """
from vsr1_bench.records import Sample
from vsr1_bench.task import Metric, Procedural, Task


def to_sample(row):
    n = row["n"]
    groups = {{"figure": f"f{{n // 3}}", "subject": f"s{{n % 16}}"}}
    return Sample(f"q{{n}}", (f"What does figure {{n}} show?",), "A", "choice",
                  choices=("one", "two", "three", "four"), groups=groups)


LARGE = Task(
    name="large",
    version=1,
    source=Procedural(lambda n: {{"n": n}}, {n}, "large-{n}"),
    to_sample=to_sample,
    answer_type="choice",
    license="Apache-2.0",
    description="many rows, for scripts/bench_store.py",
    metrics=(
        Metric("accuracy"),
        Metric("by_figure", "all_correct_by", ("figure",)),
        Metric("by_subject", "mean_by", ("subject",)),
    ),
    cluster="figure",
)
"""


def options_of(folder: Path, model: str) -> RunOptions:
    """The options of `vsr1-bench run`, for both the run that is written and the command."""
    return RunOptions(
        model=model,
        tasks="large",
        backend="scripted",
        model_args={"script": str(folder / f"{model}.jsonl")},
        output_path=folder / "runs",
        include_path=(str(folder / "plugins"),),
        progress=False,
    )


def write_run(folder: Path, model: str, right: float, characters: int, missing: int) -> None:
    """Write one judged run, line by line, without the run's machinery."""
    rng = random.Random(model)
    (folder / f"{model}.jsonl").write_text('{"id": "*", "response": "\\\\boxed{A}"}\n')
    (run,), _, _ = plan(options_of(folder, model))
    run.folder.write_meta(run.spec, run.samples, {"command": "", "limit": None, "versions": {}})
    judgments = run.folder.judgment_path("string_match", "0" * 8)
    judgments.parent.mkdir()
    words = "the figure shows that angle is larger than side because of which it follows".split()
    pieces = [" ".join(rng.choices(words, k=60))[:256].ljust(256) for _ in range(256)]
    digest, fmt, now = run.spec.digest(), get_format(run.spec.prompt.format), utc_now()
    encode, path = msgspec.json.Encoder().encode, run.folder.path
    asking = asking_digest(digest, run.data)
    assert asking is not None
    with (
        KeyMemo(path / ".keys", asking, 1) as memo,
        (path / "samples.jsonl").open("wb") as samples,
        (path / "generations.jsonl").open("wb") as generations,
        judgments.open("wb") as verdicts,
    ):
        for place, sample in run.data.placed_samples():
            samples.write(encode(record_of_sample(sample, place)) + b"\n")
            if place >= run.samples - missing:
                continue
            key = request_key(digest, sample.id, build_messages(sample, fmt), (), 0)
            memo.note(place, [key])
            text = "".join(rng.choices(pieces, k=characters // 256)) + "\\boxed{A}"
            generation = Generation(key, sample.id, 0, text, "stop", Usage(500, 900), created=now)
            outcome = "correct" if rng.random() < right + 0.2 * (place % 3 - 1) else "incorrect"
            verdict = Verdict(outcome, extracted="A" if outcome == "correct" else "B")
            judgment = Judgment(key, sample.id, 0, verdict, now, text_hash(text))
            generations.write(encode(generation) + b"\n")
            verdicts.write(encode(judgment) + b"\n")


def commands(folder: Path) -> dict[str, list[str]]:
    """The commands, by what they measure."""
    runs, plugins = folder / "runs", ["--include_path", str(folder / "plugins")]
    both = [str(runs / "first"), str(runs / "second")]
    resume = ["run", "--model", "first", "--tasks", "large", "--backend", "scripted"]
    resume += ["--model_args", f"script={folder / 'first.jsonl'}", "--output_path", str(runs)]
    return {
        "resume": [*resume, "--predict_only", *plugins],
        "score": ["score", both[0], *plugins],
        "table": ["table", *both, "--intervals", *plugins],
        "compare": ["compare", *both, *plugins],
    }


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


def drop(runs: Path, pattern: str) -> None:
    """Delete what is beside the journals and can be rebuilt."""
    for path in runs.rglob(pattern):
        path.unlink()


def measure_size(samples: int, characters: int, root: Path) -> bool:
    """Write runs of a size, print what the commands take; return whether a bound is broken."""
    (root / "plugins").mkdir(parents=True)
    (root / "plugins" / "large.py").write_text(TASK.format(n=samples), "utf-8")
    bytecode, runs = root.parent / "bytecode", root / "runs"
    for model, right, missing in (("first", 0.55, MISSING), ("second", 0.56, 0)):
        write_run(root, model, right, characters, missing)
    words = commands(root)
    measure(["score", str(runs / "second"), *words["score"][2:]], bytecode)  # `table` needs both
    broken = False
    for name, state in [*product(words, ("no index", "index")), ("resume", "no memo")]:
        if state == "no index":
            drop(runs, ".*.index")
        elif state == "no memo":
            drop(runs, ".keys")
        took, cpu, most = measure(words[name], bytecode)
        seconds, held = BOUNDS.get(samples, {}).get(name, (inf, inf))
        over = state != "no memo" and (took > seconds or most > held)
        cells = [f"{samples:,}", name, state, f"{took:.1f}", f"{cpu:.1f}", f"{most / 1e6:,.0f}"]
        print(f"| {' | '.join(cells)} |{' over' if over else ''}", flush=True)
        broken |= over
    return broken


def main() -> int:
    """Print the table; exit with 1 if a bound is broken."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--samples", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], metavar="N"
    )
    parser.add_argument("--characters", type=int, default=4096, help="of each answer")
    options = parser.parse_args()
    broken = False
    print("| samples | command | beside the journals | seconds | of CPU | memory, MB |")
    print("|---|---|---|---|---|---|")
    for samples in options.samples:
        with tempfile.TemporaryDirectory(prefix="bench_store-") as temporary:
            broken |= measure_size(samples, options.characters, Path(temporary) / "runs-of")
    return int(broken)


if __name__ == "__main__":
    raise SystemExit(main())
