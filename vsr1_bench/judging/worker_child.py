"""The child side of the grading worker: grades one item at a time until it is killed.

It looks the judge up by name, so only JSON is exchanged. A frame is a length of four bytes
(big-endian) and that many bytes of JSON.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, BinaryIO

from vsr1_bench.judge import Item, RuleJudge, warm_late
from vsr1_bench.records import Verdict

MEMORY_BYTES = 4 * 1024**3
HEADER = struct.Struct(">I")


def grade_in_process(judge: RuleJudge, item: Item) -> Verdict:
    """Grade an item here; an exception of the judge becomes its verdict."""
    try:
        verdict = judge.grade(item)
        if not isinstance(verdict, Verdict):
            raise TypeError(f"grade returned {type(verdict).__name__}, not a Verdict")
    # A plug-in may raise anything, even SystemExit, and must not end the grading of other items.
    except (Exception, SystemExit) as error:
        return Verdict("unscored", reason=describe(error))
    return verdict


def describe(error: BaseException) -> str:
    """The reason of an exception, in one short line."""
    try:
        message = " ".join(str(error).split())
    except Exception:  # str() of a strange exception is code of the plug-in, too
        message = ""
    return f"grader_error: {type(error).__name__}: {message[:200]}".rstrip(": ")


def serve(parent: int, name: str, include_path: Sequence[str]) -> None:
    """Answer requests on standard input until it ends.

    Args:
        parent: Process id of the parent.
        name: The judge.
        include_path: Folders of plug-ins.
    """
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    requests, replies = _private_pipes()
    _limit_memory()
    try:
        from vsr1_bench.registry import get_judge

        judge = get_judge(name, tuple(include_path))
        if judge.warm_up is not None and not judge.late_warm_up:
            judge.warm_up()
    except BaseException as error:
        _send(replies, {"failed": f"{type(error).__name__}: {error}"})
        raise SystemExit(1) from None
    if judge.warm_up is not None and judge.late_warm_up:
        warm_late(partial(_warm_up, judge, replies))
    _send(replies, {"ready": True})
    while (request := _receive(requests)) is not None:
        choices = request["choices"]
        item = Item(**{**request, "choices": tuple(choices) if choices is not None else None})
        _set_alarm(judge.seconds + 5)
        verdict = grade_in_process(judge, item)
        _set_alarm(0)
        # After a MemoryError the heap may stay full, so the next item gets a new process.
        last = (verdict.reason or "").startswith("grader_error: MemoryError")
        try:
            _send(replies, {"verdict": asdict(verdict), "last": last})
        except (TypeError, ValueError, RecursionError) as error:  # values that are not JSON
            verdict = Verdict("unscored", reason=describe(error))
            _send(replies, {"verdict": asdict(verdict), "last": last})
        if last:
            return


def _warm_up(judge: RuleJudge, replies: BinaryIO) -> None:
    """Warm a judge up while an item waits; the parent stops the item's clock meanwhile."""
    assert judge.warm_up is not None
    _set_alarm(0)
    _send(replies, {"warming": True})
    try:
        judge.warm_up()
    except BaseException as error:
        _send(replies, {"failed": f"{type(error).__name__}: {error}"})
        os._exit(1)  # an exception would become the item's verdict
    _send(replies, {"ready": True})
    _set_alarm(judge.seconds + 5)


def _set_alarm(seconds: float) -> None:
    """Let the system end a hanging grader if the parent has ended or hangs; 0 = not any more.

    The default action of SIGPROF needs no interpreter, so it works in the middle of a long
    multiplication. It counts CPU time, so a pause of the worker does not count.
    """
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, seconds)


def _watch(parent: int) -> None:
    """End this process when its parent has ended, even while a judge sleeps."""
    while os.getppid() == parent:
        time.sleep(2)
    os._exit(1)


def _private_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Move the protocol away from file descriptors 0 and 1.

    A judge that prints then writes to standard error, and one that reads gets the end of file.
    """
    requests, replies = os.dup(0), os.dup(1)  # not inherited by processes that the judge starts
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)
    os.close(null)
    return os.fdopen(requests, "rb"), os.fdopen(replies, "wb")


def _limit_memory() -> None:
    import resource

    for kind, wanted in ((resource.RLIMIT_AS, MEMORY_BYTES), (resource.RLIMIT_CORE, 0)):
        _, hard = resource.getrlimit(kind)
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(kind, (limit, limit))


def _receive(stream: BinaryIO) -> dict[str, Any] | None:
    header = stream.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    body = stream.read(HEADER.unpack(header)[0])
    return dict(json.loads(body))


def _send(stream: BinaryIO, message: dict[str, Any]) -> None:
    body = json.dumps(message).encode()  # ASCII: lone surrogates travel as escapes
    stream.write(HEADER.pack(len(body)) + body)
    stream.flush()
