"""Checkpoints: written completely or not at all; training resumes from them exactly.

    <output_dir>/checkpoints/step-000010/
      model/           the weights as a plain Hugging Face folder; what `train export` hands out
      deepspeed/       weights, optimizer and schedule, a part for each rank
      rank-0.pt        random-number states of a rank
      complete.json    step, data cursor, recipe, fingerprint of the rows, sizes of all files:
                       written last

A checkpoint is made under another name and renamed, so a folder `step-*` with its mark is whole.
"""

from __future__ import annotations

import json
import logging
import random
import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vsr1_bench.errors import BenchError, DiskFullError, StoreError, UsageError
from vsr1_bench.store.journal import FULL_DISK, os_failure, write_atomic

from .engine import TrainingEngine
from .ranks import Ranks

log = logging.getLogger(__name__)

MARK = "complete.json"
BYTES_A_WEIGHT = 16
"""fp32 weights, two moments, and the exported copy; for the check that there is room."""


@dataclass(slots=True)
class Progress:
    """The progress of a run, stored beside its weights."""

    step: int = 0
    cursor: int = 0
    """Rows taken from the order of the data."""
    best_step: int | None = None
    best_score: float | None = None


class Checkpoints:
    """The checkpoints of an output folder."""

    def __init__(
        self,
        folder: Path,
        ranks: Ranks,
        *,
        rows: str | None = None,
        accept_changed_data: bool = False,
    ) -> None:
        """Bind to a folder; what an earlier run left unfinished there is removed.

        Args:
            folder: Where they are.
            ranks: Who writes them.
            rows: Fingerprint of the rows that are trained on; None = rows that are made.
            accept_changed_data: Go on from a checkpoint that was made on other rows.
        """
        self.folder, self._ranks = folder, ranks
        self._rows, self._accept_changed_data = rows, accept_changed_data
        if ranks.first:
            for left in folder.glob(".step-*"):
                shutil.rmtree(left, ignore_errors=True)

    def complete(self) -> list[Path]:
        """Whole checkpoints, oldest first."""
        return whole_ones(self.folder)

    def save(self, engine: TrainingEngine, progress: Progress, keep_last: int, steps: int) -> Path:
        """Write a checkpoint of a run that is to make `steps` steps; all ranks call.

        Raises:
            DiskFullError, StoreError: one of the ranks cannot write its part; checkpoints so far
                are untouched.
        """
        name = f"step-{progress.step:06d}"
        work, final = self.folder / f".{name}.tmp", self.folder / name
        try:
            self._ranks.together(lambda: self._make_room(work, engine))
            self._ranks.together(lambda: self._write(work, engine))
            self._ranks.together(lambda: self._finish(work, final, engine, progress, steps))
            self._ranks.together(lambda: self._forget(keep_last, progress.best_step))
        except BenchError:
            shutil.rmtree(work, ignore_errors=True)
            raise
        return final

    def _make_room(self, work: Path, engine: TrainingEngine) -> None:
        if not self._ranks.first:
            return
        try:
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir(parents=True)
            free = shutil.disk_usage(work).free
        except OSError as error:
            raise os_failure(work, error) from error
        count = sum(getattr(p, "ds_numel", p.numel()) for p in engine.policy.parameters())
        if free < count * BYTES_A_WEIGHT:
            raise DiskFullError(
                f"{self.folder}: a checkpoint takes some {count * BYTES_A_WEIGHT / 1e9:.1f} GB and "
                f"{free / 1e9:.1f} GB are free; free some space"
            )

    def _write(self, work: Path, engine: TrainingEngine) -> None:
        """Write this rank's part; each act goes on to its end, because others act along."""
        failures: list[tuple[Path, Exception]] = []
        for act, path in (
            (engine.save_states, work),
            (engine.save_model, work / "model"),
            (save_random_state, work / f"rank-{self._ranks.rank}.pt"),
        ):
            try:
                act(path)
            except Exception as error:
                failures.append((path, error))
        if failures:
            raise not_written(*failures[0]) from failures[0][1]

    def _finish(
        self,
        work: Path,
        final: Path,
        engine: TrainingEngine,
        progress: Progress,
        steps: int,
    ) -> None:
        if not self._ranks.first:
            return
        mark = asdict(progress) | {
            "schema": 1,
            "steps": steps,
            "world_size": self._ranks.world,
            "deepspeed_stage": engine.stage,
            "recipe": engine.recipe.model_dump(mode="json"),
            "rows": self._rows,
            "files": {
                p.relative_to(work).as_posix(): p.stat().st_size
                for p in sorted(work.rglob("*"))
                if p.is_file()
            },
        }
        write_atomic(work / MARK, json.dumps(mark, indent=1) + "\n")
        try:
            shutil.rmtree(final, ignore_errors=True)
            work.rename(final)
        except OSError as error:
            raise os_failure(final, error) from error

    def _forget(self, keep_last: int, best_step: int | None) -> None:
        if not self._ranks.first:
            return
        best = f"step-{best_step:06d}" if best_step is not None else None
        for old in self.complete()[:-keep_last]:
            if old.name != best:
                # Without its mark first, so that a half-removed checkpoint is none.
                try:
                    (old / MARK).unlink(missing_ok=True)
                except OSError as error:
                    raise os_failure(old, error) from error
                shutil.rmtree(old, ignore_errors=True)

    def load(self, engine: TrainingEngine) -> Progress:
        """Continue from the newest whole checkpoint, if there is one; all ranks call.

        Raises:
            UsageError: it is of another recipe, of other rows, or of another number of ranks.
            StoreError: its files do not fit its mark.
        """
        whole = self.complete()
        if not whole:
            return Progress()
        path = whole[-1]
        mark = read_mark(path)
        changed = engine.recipe.changed(mark["recipe"])
        if changed:
            raise UsageError(
                f"{path} was trained with other settings ({'; '.join(changed)}); give the same, "
                "or another output_dir"
            )
        self._check_rows(path, mark)
        found = (mark["world_size"], mark["deepspeed_stage"])
        if found != (self._ranks.world, engine.stage):
            raise UsageError(
                f"{path} was written by {found[0]} ranks at ZeRO stage {found[1]}, this run has "
                f"{self._ranks.world} at stage {engine.stage}; start it as before, or export the "
                "weights and train on from them in another output_dir"
            )
        engine.engine.load_checkpoint(str(path), tag="deepspeed")
        load_random_state(path / f"rank-{self._ranks.rank}.pt")
        return Progress(**{name: mark[name] for name in asdict(Progress())})

    def _check_rows(self, path: Path, mark: dict[str, Any]) -> None:
        """See that the rows are those that a checkpoint was made on.

        Raises:
            UsageError: they are others, and nobody has said that they may be.
        """
        if "rows" not in mark:  # older than the fingerprint
            log.warning("%s does not say which rows it was trained on: not compared", path)
            return
        if mark["rows"] == self._rows:
            return
        said = (
            f"{path} was trained on other rows: their content or order has changed (fingerprint "
            f"{mark['rows']} -> {self._rows})"
        )
        if not self._accept_changed_data:
            raise UsageError(
                f"{said}; give the rows as they were, or another output_dir, or go on with these "
                "by --accept_changed_data"
            )
        if self._ranks.first:
            log.warning("%s; going on with these", said)


def not_written(path: Path, error: Exception) -> StoreError:
    """Say in one line what kept a part of a checkpoint from being written."""
    reason = f"{path}: not written ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
    behind: BaseException | None = error
    while behind:
        number = re.search(r"\(os error (\d+)\)", str(behind))  # as safetensors says it
        known = int(number[1]) if number else getattr(behind, "errno", None)
        # torch's writer says no more than this, in an error behind its own.
        if known in FULL_DISK or "iostream error" in str(behind):
            return DiskFullError(f"{reason}; is the disk full?")
        behind = behind.__cause__ or behind.__context__
    return StoreError(reason)


def whole_ones(folder: Path) -> list[Path]:
    """Whole checkpoints of a folder, oldest first."""
    found = (p for p in folder.glob("step-*") if re.fullmatch(r"step-\d+", p.name))
    return sorted((p for p in found if (p / MARK).is_file()), key=lambda p: int(p.name[5:]))


def steps_made(folder: Path) -> tuple[int, int | None]:
    """How many steps a training's newest whole checkpoint has, and how many it is to have.

    Args:
        folder: An output folder of `train`.

    Returns:
        Steps made (0 without a checkpoint), and the training's own goal; None if unknown
        (checkpoints from before it was).

    Raises:
        StoreError: the checkpoint is not whole.
    """
    whole = whole_ones(folder / "checkpoints")
    if not whole:
        return 0, None
    mark = read_mark(whole[-1])
    return mark["step"], mark.get("steps")


def read_mark(path: Path) -> dict[str, Any]:
    """Read a checkpoint's mark and check the files that it names.

    Raises:
        StoreError: no checkpoint, or one that is not whole.
    """
    try:
        mark: dict[str, Any] = json.loads((path / MARK).read_text("utf-8"))
        wrong = [
            name
            for name, size in mark["files"].items()
            if not (path / name).is_file() or (path / name).stat().st_size != size
        ]
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(
            f"{path}: no whole checkpoint (its {MARK} is missing or unreadable); give a folder "
            "<output_dir>/checkpoints/step-*"
        ) from error
    if wrong:
        raise StoreError(f"{path}: {len(wrong)} files are missing or cut off, first {wrong[0]}")
    return mark


def save_random_state(path: Path) -> None:
    """Write the states of every random-number generator of this process."""
    import numpy as np
    import torch

    numpy: Any = np.random.get_state()
    kind, keys, *rest = numpy
    states: dict[str, Any] = {"python": random.getstate(), "numpy": (kind, keys.tolist(), *rest)}
    states["torch"] = torch.get_rng_state()
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    torch.save(states, path)


def load_random_state(path: Path) -> None:
    """Set the generators as `save_random_state` found them."""
    import numpy as np
    import torch

    states = torch.load(path, weights_only=True)
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    torch.set_rng_state(states["torch"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])


def export(checkpoint: Path, out: Path, *, last: bool = False) -> Path:
    """Copy a checkpoint's weights out as a plain Hugging Face folder.

    Args:
        checkpoint: A folder `step-*`, or an output folder, whose best one (by validation, else the
            newest) is taken.
        out: The folder to make.
        last: The newest one of an output folder, whatever validation says.

    Returns:
        The checkpoint that was taken.

    Raises:
        StoreError: no whole checkpoint there, or the disk refuses.
        UsageError: `out` holds something already.
    """
    if (checkpoint / "checkpoints").is_dir():
        checkpoint = _chosen(checkpoint / "checkpoints", last=last)
    read_mark(checkpoint)
    if out.exists() and any(out.iterdir()):
        raise UsageError(f"{out} holds files already; give a new folder")
    work = out.with_name(f".{out.name}.tmp")
    try:
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(checkpoint / "model", work)
        if out.exists():
            out.rmdir()
        work.rename(out)
    except OSError as error:
        shutil.rmtree(work, ignore_errors=True)
        raise os_failure(out, error) from error
    return checkpoint


def _chosen(folder: Path, *, last: bool) -> Path:
    whole = whole_ones(folder)
    if not whole:
        raise StoreError(f"{folder}: holds no whole checkpoint")
    best = None if last else read_mark(whole[-1]).get("best_step")
    named = folder / f"step-{best:06d}" if best is not None else whole[-1]
    return named if named in whole else whole[-1]
