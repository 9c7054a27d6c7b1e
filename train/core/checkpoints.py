"""Checkpoints: written completely or not at all; training resumes from them exactly.

    <output_dir>/checkpoints/step-000010/
      model/           the weights as a plain Hugging Face folder, which `train export` copies
      adapter/         instead of `model/` with LoRA: the adapter, as peft reads it
      deepspeed/       weights, optimizer and schedule, one part per rank
      rank-0.pt        random-number states of a rank
      complete.json    step, data cursor, recipe, fingerprint of the rows, sizes of all files;
                       written last

A checkpoint is written under another name and then renamed. A folder `step-*` with a
`complete.json` is therefore complete.
"""

from __future__ import annotations

import json
import logging
import random
import re
import shutil
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vsr1_bench.errors import BenchError, DiskFullError, StoreError, UsageError
from vsr1_bench.generation.adapters import find_adapter, require_peft, write_merged
from vsr1_bench.generation.models import ModelInfo, find_model
from vsr1_bench.store.journal import FULL_DISK, os_failure, write_atomic

from .engine import TrainingEngine
from .ranks import Ranks

log = logging.getLogger(__name__)

MARK = "complete.json"
MODEL, ADAPTER = "model", "adapter"
BYTES_PER_WEIGHT = 16
"""fp32 weights, two moments and the exported copy, for the check of free space."""
FULL = re.compile(rf"(os error |Errno )({'|'.join(map(str, FULL_DISK))})\b|iostream error")
"""A full disk in the words of safetensors, of Python and of torch, which knows no more."""


@dataclass(slots=True)
class Progress:
    """The progress of a run, stored with its weights."""

    step: int = 0
    cursor: int = 0
    """Rows taken so far."""
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
        """Bind to a folder, and remove unfinished checkpoints of earlier runs there.

        Args:
            folder: Where the checkpoints are.
            ranks: The ranks that write them.
            rows: Fingerprint of the training rows; None = generated rows.
            accept_changed_data: Resume although the rows have changed since the checkpoint.
        """
        self.folder, self._ranks = folder, ranks
        self._rows, self._accept_changed_data = rows, accept_changed_data
        if ranks.first:
            for unfinished in folder.glob(".step-*"):
                shutil.rmtree(unfinished, ignore_errors=True)

    def complete(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        return complete_checkpoints(self.folder)

    def save(self, engine: TrainingEngine, progress: Progress, keep_last: int, steps: int) -> Path:
        """Write a checkpoint of a run of `steps` steps in all; all ranks call.

        Raises:
            DiskFullError, StoreError: a rank cannot write its part; earlier checkpoints are
                unchanged.
        """
        name = f"step-{progress.step:06d}"
        work, final = self.folder / f".{name}.tmp", self.folder / name
        try:
            self._on_first_rank(lambda: self._make_room(work, engine))
            self._ranks.on_all_ranks(lambda: self._write(work, engine))
            self._on_first_rank(lambda: self._finish(work, final, engine, progress, steps))
            self._on_first_rank(lambda: self._remove_old(keep_last, progress.best_step))
        except BenchError:
            shutil.rmtree(work, ignore_errors=True)
            raise
        return final

    def _on_first_rank(self, act: Callable[[], None]) -> None:
        """Do something on the first rank; if it fails, all ranks end."""

        def guarded() -> None:
            try:
                if self._ranks.first:
                    act()
            except OSError as error:
                raise os_failure(Path(error.filename or self.folder), error) from error

        self._ranks.on_all_ranks(guarded)

    def _make_room(self, work: Path, engine: TrainingEngine) -> None:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        free = shutil.disk_usage(work).free
        adapters = engine.recipe.lora_rank is not None
        count = sum(
            getattr(p, "ds_numel", p.numel())
            for p in engine.policy.parameters()
            if p.requires_grad or not adapters
        )
        if free < count * BYTES_PER_WEIGHT:
            raise DiskFullError(
                f"{self.folder}: a checkpoint takes about {count * BYTES_PER_WEIGHT / 1e9:.1f} GB, "
                f"and {free / 1e9:.1f} GB are free; free some space"
            )

    def _write(self, work: Path, engine: TrainingEngine) -> None:
        """Write this rank's part. After a failure the rest is written too, for its collectives."""
        failures: list[StoreError] = []
        for write, path in (
            (engine.save_states, work),
            (engine.save_model, work / engine.saved),
            (save_random_state, work / f"rank-{self._ranks.rank}.pt"),
        ):
            try:
                write(path)
            except Exception as error:
                failures.append(not_written(path, error))
        if failures:
            raise failures[0]

    def _finish(
        self, work: Path, final: Path, engine: TrainingEngine, progress: Progress, steps: int
    ) -> None:
        mark = asdict(progress) | {
            "schema": 1,
            "steps": steps,
            "world_size": self._ranks.world,
            "deepspeed_stage": engine.stage,
            "recipe": engine.recipe.model_dump(mode="json"),
            "rows": self._rows,
            "model": engine.model_info.fingerprint,
            "files": {
                p.relative_to(work).as_posix(): p.stat().st_size
                for p in sorted(work.rglob("*"))
                if p.is_file()
            },
        }
        write_atomic(work / MARK, json.dumps(mark, indent=1) + "\n")
        shutil.rmtree(final, ignore_errors=True)
        work.rename(final)

    def _remove_old(self, keep_last: int, best_step: int | None) -> None:
        best = f"step-{best_step:06d}" if best_step is not None else None
        for old in self.complete()[:-keep_last]:
            if old.name != best:
                # Its mark first, so that a half-removed checkpoint does not count.
                (old / MARK).unlink(missing_ok=True)
                shutil.rmtree(old, ignore_errors=True)

    def load(self, engine: TrainingEngine) -> Progress:
        """Load the newest complete checkpoint, if there is one; all ranks call.

        Raises:
            UsageError: it is of another recipe, of other rows, or of another number of ranks.
            StoreError: files that its mark lists are missing, truncated, or of another model.
        """
        paths = self.complete()
        if not paths:
            return Progress()
        path = paths[-1]
        mark = read_mark(path)
        changed = engine.recipe.changed(mark["recipe"])
        if changed:
            raise UsageError(
                f"{path} was trained with other settings ({'; '.join(changed)}); give the same "
                "settings, or another output_dir"
            )
        self._check_rows(path, mark)
        if (path / ADAPTER).is_dir():
            check_base(path, mark, engine.model_info)
        world, stage = mark["world_size"], mark["deepspeed_stage"]
        if (world, stage) != (self._ranks.world, engine.stage):
            raise UsageError(
                f"{path} was written by {world} ranks at ZeRO stage {stage}, this run has "
                f"{self._ranks.world} at stage {engine.stage}; start it as before, or export the "
                "weights and continue from them in another output_dir"
            )
        self._ranks.on_all_ranks(lambda: self._read(path, engine))
        return Progress(**{name: mark[name] for name in asdict(Progress())})

    def _read(self, path: Path, engine: TrainingEngine) -> None:
        """Read this rank's part."""
        try:
            engine.load_states(path)
            load_random_state(path / f"rank-{self._ranks.rank}.pt")
        except Exception as error:  # the libraries raise many kinds, all about these files
            raise StoreError(
                f"{path} cannot be loaded: {' '.join(str(error).split())[:300]}; continue from an "
                "earlier checkpoint by removing this one, or give another output_dir"
            ) from error

    def _check_rows(self, path: Path, mark: dict[str, Any]) -> None:
        """Compare the rows with those of a checkpoint.

        Raises:
            UsageError: they differ, and `accept_changed_data` is not set.
        """
        if "rows" not in mark:  # older than the fingerprint
            log.warning("%s does not say which rows it was trained on: not compared", path)
            return
        if mark["rows"] == self._rows:
            return
        change = (
            f"{path} was trained on other rows: their content or order has changed (fingerprint "
            f"{mark['rows']} -> {self._rows})"
        )
        if not self._accept_changed_data:
            raise UsageError(
                f"{change}; restore the rows, give another output_dir, or continue with these "
                "rows by --accept_changed_data"
            )
        if self._ranks.first:
            log.warning("%s; continuing with these", change)


def not_written(path: Path, error: Exception) -> StoreError:
    """The error of a part of a checkpoint that could not be written, in one line."""
    reason = f"{path}: not written ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
    # The messages of the whole chain, without source lines.
    full = FULL.search("".join(traceback.format_exception(error, limit=0)))
    failure = DiskFullError(f"{reason}; is the disk full?") if full else StoreError(reason)
    failure.__cause__ = error
    return failure


def complete_checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints of a folder, oldest first."""
    paths = (p for p in folder.glob("step-*") if re.fullmatch(r"step-\d+", p.name))
    return sorted((p for p in paths if (p / MARK).is_file()), key=lambda p: int(p.name[5:]))


def steps_made(folder: Path) -> tuple[int, int | None]:
    """The steps of a training's newest complete checkpoint, and of the training in all.

    Args:
        folder: An output folder of `train`.

    Returns:
        Steps made (0 without a checkpoint), and steps in all; None if unknown, in checkpoints of
        earlier versions.

    Raises:
        StoreError: files of the checkpoint are missing or truncated.
    """
    paths = complete_checkpoints(folder / "checkpoints")
    if not paths:
        return 0, None
    mark = read_mark(paths[-1])
    return mark["step"], mark.get("steps")


def read_mark(path: Path) -> dict[str, Any]:
    """Read a checkpoint's mark and check the files that it lists.

    Raises:
        StoreError: there is no checkpoint, or it is not complete.
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
            f"{path}: no complete checkpoint ({MARK} is missing or unreadable); give a folder "
            "<output_dir>/checkpoints/step-*"
        ) from error
    if wrong:
        raise StoreError(f"{path}: {len(wrong)} files are missing or truncated, first {wrong[0]}")
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
    """Restore the states that `save_random_state` wrote."""
    import numpy as np
    import torch

    states = torch.load(path, weights_only=True)
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    torch.set_rng_state(states["torch"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])


def check_base(path: Path, mark: dict[str, Any], base: ModelInfo) -> None:
    """Compare the model that a checkpoint's adapter belongs to with one that is there now.

    Raises:
        UsageError: its content differs.
    """
    if mark["model"] != base.fingerprint:
        raise UsageError(
            f"{path} is an adapter of other weights than {base.id} has now (fingerprint "
            f"{mark['model']} -> {base.fingerprint}); restore them, or export it by --adapter"
        )


def export(checkpoint: Path, out: Path, *, last: bool = False, adapter: bool = False) -> Path:
    """Write a checkpoint's weights as a plain Hugging Face folder; an adapter is merged.

    Args:
        checkpoint: A folder `step-*`, or an output folder, of which the best checkpoint (by
            validation, otherwise the newest) is written.
        out: The folder to make.
        last: Of an output folder, take the newest checkpoint instead.
        adapter: Copy the adapter of a training with LoRA instead of merging it.

    Returns:
        The checkpoint that was written.

    Raises:
        StoreError: there is no complete checkpoint, or `out` cannot be written.
        UsageError: `out` is not empty, `adapter` without LoRA, or the base model has changed.
        ModelError: the base model is not there.
    """
    if (checkpoint / "checkpoints").is_dir():
        checkpoint = _best(checkpoint / "checkpoints", last=last)
    mark = read_mark(checkpoint)
    if out.exists() and any(out.iterdir()):
        raise UsageError(f"{out} is not empty; give a new folder")
    has_adapter = (checkpoint / ADAPTER).is_dir()
    if adapter and not has_adapter:
        raise UsageError(f"{checkpoint} was trained without lora_rank: drop --adapter")
    work = out.with_name(f".{out.name}.tmp")
    try:
        shutil.rmtree(work, ignore_errors=True)
        if has_adapter and not adapter:
            _merge(checkpoint, mark, work)
        else:
            shutil.copytree(checkpoint / (ADAPTER if adapter else MODEL), work)
        if out.exists():
            out.rmdir()
        work.rename(out)
    except OSError as error:
        raise os_failure(out, error) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return checkpoint


def _merge(checkpoint: Path, mark: dict[str, Any], folder: Path) -> None:
    """Write a base model with the adapter of a checkpoint, in the precision of the training.

    Raises:
        UsageError, ModelError, OSError: see `export`.
    """
    recipe = mark["recipe"]
    require_peft("an export of merged weights")
    base = find_model(recipe["model"], backend="transformers", offline=recipe["offline"])
    check_base(checkpoint, mark, base)
    write_merged(base, find_adapter(str(checkpoint / ADAPTER)), recipe["dtype"], folder)


def _best(folder: Path, *, last: bool) -> Path:
    paths = complete_checkpoints(folder)
    if not paths:
        raise StoreError(f"{folder}: holds no complete checkpoint")
    best = None if last else read_mark(paths[-1]).get("best_step")
    return next((path for path in paths if path.name == f"step-{best or 0:06d}"), paths[-1])
