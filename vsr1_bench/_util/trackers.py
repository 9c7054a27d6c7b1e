"""Experiment trackers beside the stored files: wandb and trackio, for training and evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, redirect_stdout
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vsr1_bench._util.terminal import acting_stderr
from vsr1_bench.errors import UsageError

TRACKERS = ("wandb", "trackio")
PROJECT = "vsr1-bench"


def check_trackers(names: Iterable[str], flag: str, kept: str) -> None:
    """Refuse trackers that are not installed.

    Args:
        names: Packages.
        flag: The flag or key that named them, for the message.
        kept: Where the numbers are in any case, for the message.

    Raises:
        UsageError: names the first one, and how to install it.
    """
    for name in names:
        spec = find_spec(name)
        if spec is None or spec.origin is None:  # no origin: a folder `wandb` of earlier runs
            raise UsageError(
                f"{flag}: {name} is not installed; pip install {name}, or remove it from the list "
                f"({kept})"
            )


def open_tracker(
    name: str, run: str, config: Mapping[str, Any], folder: Path, stack: ExitStack
) -> Callable[..., object]:
    """Start a run of a tracker, or continue it; the stack ends it.

    Args:
        name: One of `TRACKERS`.
        run: What identifies the run: the same one continues.
        config: Its settings.
        folder: Where wandb writes its files.
        stack: Ends the run.

    Returns:
        A function that takes a record of numbers, and optionally `step=`.
    """
    tracker: Any = import_module(name)
    own = {"id": run, "dir": str(folder)} if name == "wandb" else {"name": run}
    with redirect_stdout(acting_stderr()):  # standard output is for results
        started = tracker.init(project=PROJECT, resume="allow", config=dict(config), **own)

    def end() -> None:
        with redirect_stdout(acting_stderr()):
            tracker.finish()

    stack.callback(end)
    log: Callable[..., object] = started.log
    return log
