"""Run rule judges: in this process if they are harmless, otherwise in a worker that can be killed.

An item's time limit counts the worker's CPU time and its sleep. A worker that is stopped (SIGSTOP,
a suspended job) or waits for a processor uses none of it.
"""

from __future__ import annotations

import json
import os
import selectors
import time
from collections.abc import Generator, Iterable, Sequence
from dataclasses import asdict
from typing import IO, Any

import msgspec

from vsr1_bench._util.closing import Closing
from vsr1_bench._util.worker import Worker
from vsr1_bench.errors import JudgeError
from vsr1_bench.judge import Item, RuleJudge, check_verdict
from vsr1_bench.judging.worker_child import HEADER, grade_in_process
from vsr1_bench.records import Verdict

START_SECONDS = 180.0
"""Time limit to start an interpreter and import what a judge needs, on a busy machine."""
_SLICE = 0.2
"""Seconds between two checks of a worker. If more have passed, this process was paused."""


class _TimeoutError(Exception):
    """The worker did not reply in time."""


class _CrashError(Exception):
    """The worker ended, or wrote an invalid frame."""


def grade_all(
    judge: RuleJudge, items: Iterable[Item], include_path: Sequence[str] = ()
) -> Generator[tuple[Item, Verdict], None, None]:
    """Grade items one after another, in order.

    An item that hangs, crashes the grader or makes it raise is `unscored` with the reason
    `grader_timeout`, `grader_crash` or `grader_error: …`; other items are not affected.

    Args:
        judge: The judge; the worker looks a bounded one up by name.
        items: The items; read one at a time.
        include_path: Folders of plug-ins, where the worker finds the judge.

    Raises:
        JudgeError: the worker cannot start.
    """
    with Grader(judge, include_path) as grader:
        for item in items:
            yield item, grader.grade(item)


class Grader(Closing):
    """Grades items one at a time; for use in one thread. Close it, or use it in a `with` block."""

    def __init__(self, judge: RuleJudge, include_path: Sequence[str] = ()) -> None:
        self._judge = judge
        self._include_path = [os.path.abspath(path) for path in include_path]
        self._worker: _Worker | None = None

    def grade(self, item: Item) -> Verdict:
        """Grade one item.

        Raises:
            JudgeError: the worker cannot start, or the judge's verdict is not valid.
        """
        verdict = self._graded(item)
        check_verdict(self._judge.name, item.sample_id or item.id, verdict)
        return verdict

    def _graded(self, item: Item) -> Verdict:
        if not self._judge.bounded:
            return grade_in_process(self._judge, item)
        if self._worker is None:
            self._worker = _Worker(self._judge.name, self._include_path)
        try:
            reply = self._worker.ask(asdict(item), self._judge.seconds)
            verdict = msgspec.convert(reply["verdict"], Verdict)
        except _TimeoutError:
            self.close()
            return Verdict("unscored", reason="grader_timeout")
        except (_CrashError, KeyError, TypeError, msgspec.ValidationError):
            self.close()
            return Verdict("unscored", reason="grader_crash")
        except BaseException:  # after Ctrl-C the next reply would belong to this item
            self.close()
            raise
        if reply.get("last"):
            self.close()
        return verdict

    def close(self) -> None:
        """End the worker, if there is one; a later `grade` starts a new one."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.close()


class _Worker(Worker):
    """A worker that grades; it is killed if it takes too long."""

    def __init__(self, judge_name: str, include_path: list[str]) -> None:
        super().__init__(
            "vsr1_bench.judging.worker_child:serve", judge_name, include_path, buffer=0
        )
        self._judge_name = judge_name
        for stream in (self.stdin, self.stdout):
            os.set_blocking(stream.fileno(), False)
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        """Wait until the judge has been imported or warmed up.

        Raises:
            JudgeError: it failed, took too long or ended.
        """
        judge_name = self._judge_name
        try:
            reply = self._reply(_Clock(self.process.pid, START_SECONDS))
            if "failed" in reply:
                raise JudgeError(f"judge {judge_name!r} cannot start: {reply['failed']}")
        except _TimeoutError:
            self.close()
            raise JudgeError(
                f"judge {judge_name!r} is not ready after {START_SECONDS:.0f} s: its file hangs at "
                "import or in warm_up"
            ) from None
        except _CrashError:
            code = self.process.poll()
            self.close()
            raise JudgeError(
                f"judge {judge_name!r} cannot start: its worker ended with status {code}"
            ) from None
        except BaseException:
            self.close()
            raise

    def ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Send a request and wait for its reply.

        Raises:
            _TimeoutError: there was no complete reply within `seconds` of the worker's time.
            _CrashError: the process ended.
            JudgeError: its late `warm_up` failed.
        """
        clock = _Clock(self.process.pid, seconds)
        body = json.dumps(request).encode()
        unsent = memoryview(HEADER.pack(len(body)) + body)
        try:
            while unsent:
                self._wait(self.stdin, selectors.EVENT_WRITE, clock)
                unsent = unsent[os.write(self.stdin.fileno(), unsent) :]
        except OSError as error:
            raise _CrashError from error
        reply = self._reply(clock)
        if "warming" in reply:  # the item's first use of a library that loads slowly
            self._wait_until_ready()
            reply = self._reply(_Clock(self.process.pid, seconds))
        return reply

    def _reply(self, clock: _Clock) -> dict[str, Any]:
        (length,) = HEADER.unpack(self._read(HEADER.size, clock))
        try:
            reply = json.loads(self._read(length, clock))
        except (ValueError, RecursionError) as error:
            raise _CrashError from error
        if not isinstance(reply, dict):
            raise _CrashError
        return reply

    def _read(self, size: int, clock: _Clock) -> bytes:
        content = bytearray()
        while len(content) < size:
            self._wait(self.stdout, selectors.EVENT_READ, clock)
            chunk = os.read(self.stdout.fileno(), min(size - len(content), 1 << 16))
            if not chunk:
                raise _CrashError
            content += chunk
        return bytes(content)

    @staticmethod
    def _wait(stream: IO[bytes], event: int, clock: _Clock) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(stream, event)
            while not selector.select(_SLICE):
                clock.look()


class _Clock:
    """The time that a process has used: its CPU time and the time that it slept."""

    def __init__(self, pid: int, seconds: float) -> None:
        self._pid, self._left = pid, seconds
        self._at, self._cpu = time.monotonic(), _state(pid)[1]

    def look(self) -> None:
        """Charge the time used since the last check.

        Raises:
            _TimeoutError: no time is left.
        """
        now = time.monotonic()
        state, cpu = _state(self._pid)
        computed = cpu - self._cpu
        # If much more than a slice has passed, this process was paused, not the worker.
        slept = min(now - self._at, 2 * _SLICE) if state == "S" else 0.0
        self._left -= max(computed, slept)
        self._at, self._cpu = now, cpu
        if self._left <= 0:
            raise _TimeoutError


def _state(pid: int) -> tuple[str, float]:
    """The state of a process, and the CPU time that it has used.

    Returns:
        `S` if it sleeps, another letter if it runs, waits for a processor or is stopped. Without
        /proc every wait counts as sleep.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return "S", 0.0
    ticks = int(fields[11]) + int(fields[12])
    state = fields[0].decode()
    return ("S" if state in "SD" else state), ticks / os.sysconf("SC_CLK_TCK")
