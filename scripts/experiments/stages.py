"""What every experiment does: train, export, evaluate; what is there already is not made again.

The tasks of the experiments are in `worlds/`, which is their `--include_path`.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from vsr1_bench._util.processes import run_command
from vsr1_bench.store.environment import INCLUDE_PATH_VARIABLE
from vsr1_bench.store.journal import read_journal, write_atomic

# Every model has a path of its own, for which vLLM would compile its kernels anew.
ROLLOUTS = {"backend": "vllm", "engine_args": {"max_model_len": 1024, "enforce_eager": True}}
"""Settings of a training whose rollouts vLLM draws."""
BY_VLLM = ("--backend", "vllm", "--model_args", "enforce_eager=true")
"""Flags of an evaluation by vLLM."""
HERE = Path(__file__).parent
RESULTS = HERE.parent.parent / "results" / "tiny"


def in_parallel(one: Callable[[str], None], names: Iterable[str], jobs: int) -> None:
    """Call `one` for every name, `jobs` at the same time on a core each; stop at a failure."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ[INCLUDE_PATH_VARIABLE] = str(HERE / "worlds")
    with ThreadPoolExecutor(jobs) as pool:
        try:
            for done in as_completed([pool.submit(one, name) for name in names]):
                done.result()
        except BaseException:  # nor begin what is still waiting
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def train(output: Path, name: str, trainer: str, recipe: str, **settings: Any) -> None:
    """Train and export; a stopped training resumes, an exported one is skipped."""
    model, trained = output / "models" / name, output / "training" / name
    if model.is_dir():
        return
    given = {**settings, "output_dir": str(trained)}
    words = [f"{key}={toml(value)}" for key, value in given.items()]
    command("train", trainer, recipe, *words)
    command("train", "export", str(trained), str(model))


def toml(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(each)}" for key, each in value.items()) + "}"
    return json.dumps(value)


def evaluate(output: Path, name: str, task: str, *flags: str) -> Path:
    """Run a model on the test rows of a task; only what is missing is generated."""
    runs = output / "runs" / name
    command("run", "--model", str(output / "models" / name), "--tasks", task,
            "--output_path", str(runs), *flags)  # fmt: skip
    return runs


def command(*arguments: str) -> None:
    """Run a command of vsr1-bench; stop on a failure."""
    if code := run_command(arguments):
        raise SystemExit(f"vsr1-bench {' '.join(arguments)}: exit code {code}")


def tokens_drawn(output: Path, name: str) -> int:
    """Tokens that a training's rollouts drew, in both passes."""
    steps = {s["step"]: s for s in read_journal(output / "training" / name / "metrics.jsonl")}
    return int(sum(step.get("tokens", 0) for step in steps.values()))


def mark(flag: bool | None) -> str:
    """A verdict as one character; `-` = does not count."""
    return "-" if flag is None else str(int(flag))


def run_or_report(
    name: str,
    run_all: Callable[[Path, int], None],
    collect: Callable[[Path], dict[str, Any]],
    report: Callable[[Path], str],
    argv: Sequence[str] | None = None,
) -> int:
    """The command line of an experiment: `run` makes what is missing, both print the summary.

    Args:
        name: Of the experiment, its folder of outputs and its folder of results.
        run_all: Runs everything into a folder, so many at the same time.
        collect: Reads from that folder what the tables rest on.
        report: Writes the summary into the folder of results, and returns it.
        argv: The words; None = the process's.
    """
    parser = argparse.ArgumentParser(prog=f"{name}.py")
    parser.add_argument("action", choices=("run", "report"))
    parser.add_argument("--jobs", type=int, default=2, help="runs at the same time, one core each")
    parser.add_argument("--output", type=Path, default=Path("outputs") / name)
    parser.add_argument("--results", type=Path, default=RESULTS / name)
    options = parser.parse_args(argv)
    if options.action == "run":
        run_all(options.output, options.jobs)
        stored = json.dumps(collect(options.output), indent=0)
        write_atomic(options.results / "verdicts.json", stored + "\n")
    print(report(options.results), end="")
    return 0
