"""The commands that made a run's responses: `commands` in its run.json.

A later command reuses what an earlier one has stored, and says so. What run.json has at its top
(command, versions, backend) is of the last command, which may have made nothing.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from vsr1_bench.errors import StoreError
from vsr1_bench.store.run_folder import RunFolder, utc_now
from vsr1_bench.store.spec import RunSpec
from vsr1_bench.store.writer import RunWriter

_TOLD = ("command", "backend", "versions", "git")
_SHOWN = 3
_KEPT = 100
"""Commands; one that is killed again and again must not make run.json grow for ever."""
_ANSWERS = ("generations", "captions", "perceptions")


@dataclass(frozen=True, slots=True)
class Maker:
    """A command that has stored responses of a run."""

    command: str
    started: str
    """ISO 8601, UTC."""
    made: int | None
    """Responses; None if it was killed, or ran before this was counted."""


def makers(run: RunFolder) -> list[Maker]:
    """The commands that may have made what is stored, oldest first.

    Raises:
        StoreError: run.json cannot be read.
    """
    if not (run.path / "run.json").exists():
        return []
    meta = run.meta()
    listed = meta.get("commands")
    if not isinstance(listed, list):  # of a version that kept the last command only
        listed = [{"command": meta.get("command"), "started": meta.get("updated"), "made": None}]
    return [
        Maker(str(one["command"]), str(one.get("started") or ""), one.get("made"))
        for one in listed
        if isinstance(one, dict) and one.get("command") and one.get("made") != 0
    ]


class Provenance:
    """The entry of the present command in a run's run.json."""

    def __init__(self, run: RunFolder, spec: RunSpec, samples: int, facts: dict[str, Any]) -> None:
        """Write run.json, with this command as one that has made nothing yet.

        Raises:
            StoreError: the folder holds another run, or cannot be written.
        """
        self.before = makers(run)
        self._run, self._spec, self._samples, self._facts = run, spec, samples, facts
        self._entry = {name: facts[name] for name in _TOLD if name in facts}
        self._entry["started"] = utc_now()
        known = run.meta().get("commands", []) if self.before else []
        earlier = [one for one in known if isinstance(one, dict) and one.get("made") != 0]
        if self.before and not earlier:  # the last command of an older version
            earlier = [{"command": m.command, "started": m.started} for m in self.before]
        self._commands = [*earlier[-_KEPT:], self._entry]
        self._write()

    def _write(self) -> None:
        told = self._facts | {"commands": self._commands}
        self._run.write_meta(self._spec, self._samples, told)

    def end(self, writer: RunWriter, stored: int) -> None:
        """Note how many responses this command has made; `stored` = how many were there before."""
        self._entry["made"] = writer.safe - stored
        with suppress(StoreError):  # a full disk: the responses themselves are what counts
            self._write()


def precision_of(run: RunFolder) -> str:
    """At what precision a run was made, in words; `–` where no model has answered.

    Raises:
        StoreError: run.json cannot be read.
    """
    spec = run.spec()
    loaded = spec.model.precision is not None or not spec.model.verified
    if loaded or run.meta().get("backend") != "scripted":
        return spec.model.precision_label
    return "–"


def reuse_line(name: str, reused: int, total: int, before: list[Maker]) -> str:
    """Say how many responses a command has taken from the store, and who made them."""
    told = [f"{maker.command} ({maker.started[:16].replace('T', ' ')} UTC)" for maker in before]
    more = f" and {len(told) - _SHOWN} earlier ones" if len(told) > _SHOWN else ""
    by = "; ".join(told[-_SHOWN:]) or "an unknown command"
    return f"from the store: {name}: {reused} of {total} responses, made by: {by}{more}"


def discard_if_empty(run: RunFolder, part: str) -> None:
    """Remove the folder of a start that failed: one in which nothing has been answered.

    Args:
        run: The run; the shard's lock is held.
        part: What this shard's files have in their names (`store.shard_part`).
    """
    answers = [run.path / f"{kind}{part}.jsonl" for kind in _ANSWERS]
    if any(path.exists() and path.stat().st_size for path in answers):
        return
    mine = [*answers, run.path / f"samples{part}.jsonl", run.path / f".lock{part}"]
    meta, readers = run.path / "run.json", run.path / "readers"
    with suppress(OSError):  # what cannot be removed stays; it is empty
        if not {*run.path.iterdir()} - {*mine, meta, readers}:  # nor does another shard work here
            for path in (*readers.glob("*.json"), meta):
                path.unlink(missing_ok=True)
            if readers.is_dir():
                readers.rmdir()
        for path in mine:
            path.unlink(missing_ok=True)
        run.path.rmdir()
        run.path.parent.rmdir()
