"""The commands that made a run's responses: `commands` in its run.json.

A later command reuses what an earlier one has stored, and reports it. The top level of run.json
(command, versions, backend) is of the last command, which may have generated nothing.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from vsr1_bench.errors import StoreError
from vsr1_bench.store.run_folder import RunFolder, utc_now
from vsr1_bench.store.spec import RunSpec
from vsr1_bench.store.writer import RunWriter

_RECORDED = ("command", "backend", "versions", "git")
_SHOWN = 3
_KEPT = 100
"""Most commands kept; one that is killed again and again must not make run.json grow forever."""
_ANSWERS = ("generations", "captions", "perceptions")


@dataclass(frozen=True, slots=True)
class Maker:
    """A command that has stored responses of a run."""

    command: str
    started: str
    """ISO 8601, UTC."""
    made: int | None
    """Number of responses; None if the command was killed, or its version did not count them."""


def makers(run: RunFolder) -> list[Maker]:
    """The commands that may have made what is stored, oldest first.

    Raises:
        StoreError: run.json cannot be read.
    """
    if not (run.path / "run.json").exists():
        return []
    meta = run.meta()
    listed = meta.get("commands")
    if not isinstance(listed, list):  # an older version kept only the last command
        listed = [{"command": meta.get("command"), "started": meta.get("updated"), "made": None}]
    return [
        Maker(str(one["command"]), str(one.get("started") or ""), one.get("made"))
        for one in listed
        if isinstance(one, dict) and one.get("command") and one.get("made") != 0
    ]


class Provenance:
    """The present command's entry in a run's run.json."""

    def __init__(self, run: RunFolder, spec: RunSpec, samples: int, facts: dict[str, Any]) -> None:
        """Write run.json with this command, which has generated nothing yet.

        Raises:
            StoreError: the folder holds another run, or cannot be written.
        """
        self.before = makers(run)
        self._run, self._spec, self._samples, self._facts = run, spec, samples, facts
        self._entry = {name: facts[name] for name in _RECORDED if name in facts}
        self._entry["started"] = utc_now()
        known = run.meta().get("commands", []) if self.before else []
        earlier = [one for one in known if isinstance(one, dict) and one.get("made") != 0]
        if self.before and not earlier:  # written by an older version
            earlier = [{"command": m.command, "started": m.started} for m in self.before]
        self._commands = [*earlier[-_KEPT:], self._entry]
        self._write()

    def _write(self) -> None:
        facts = self._facts | {"commands": self._commands}
        self._run.write_meta(self._spec, self._samples, facts)

    def end(self, writer: RunWriter, stored: int) -> None:
        """Record how many responses this command has made; `stored` = how many there were."""
        self._entry["made"] = writer.safe - stored
        with suppress(StoreError):  # a full disk: the responses themselves are safe
            self._write()


def precision_of(run: RunFolder) -> str:
    """The precision at which a run was made, in words; `–` if no model answered.

    Raises:
        StoreError: run.json cannot be read.
    """
    spec = run.spec()
    loaded = spec.model.precision is not None or not spec.model.verified
    if loaded or run.meta().get("backend") != "scripted":
        return spec.model.precision_label
    return "–"


def reuse_line(name: str, reused: int, total: int, before: list[Maker]) -> str:
    """The line that reports how many stored responses a command reuses, and who made them."""
    made_by = [f"{maker.command} ({maker.started[:16].replace('T', ' ')} UTC)" for maker in before]
    more = f" and {len(made_by) - _SHOWN} earlier ones" if len(made_by) > _SHOWN else ""
    by = "; ".join(made_by[-_SHOWN:]) or "an unknown command"
    return f"from the store: {name}: {reused} of {total} responses, made by: {by}{more}"


def discard_if_empty(run: RunFolder, part: str) -> None:
    """Remove the folder of a failed start, in which there is no response yet.

    Args:
        run: The run; the shard's lock is held.
        part: The shard's part of file names (`run_folder.shard_part`).
    """
    answers = [run.path / f"{kind}{part}.jsonl" for kind in _ANSWERS]
    if any(path.exists() and path.stat().st_size for path in answers):
        return
    if any(run.path.glob(".batches*")):  # of requests that are under way
        return
    mine = [*answers, run.path / f"samples{part}.jsonl", run.path / f".lock{part}"]
    meta, readers = run.path / "run.json", run.path / "readers"
    with suppress(OSError):  # an empty folder that cannot be removed stays
        if not {*run.path.iterdir()} - {*mine, meta, readers}:  # no other shard has files here
            for path in (*readers.glob("*.json"), meta):
                path.unlink(missing_ok=True)
            if readers.is_dir():
                readers.rmdir()
        for path in mine:
            path.unlink(missing_ok=True)
        run.path.rmdir()
        run.path.parent.rmdir()
