"""SIGTERM ends every command within seconds, whatever it is waiting for.

First it ends a command like Ctrl-C: records are synced and the resume line is printed. But that
exception is raised only when the main thread runs Python code again. A thread that waits inside a
library (a starting engine) never gets it, and a library may swallow it. So a second thread is
notified by the interpreter's wake-up pipe, and kills the process after `GRACE_SECONDS`. Nothing is
lost: every record was flushed when it was acknowledged.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

GRACE_SECONDS = 5.0
"""How long a command has to end by itself."""
_SPEAKING_SECONDS = 1.0
_grace = GRACE_SECONDS


def allow(seconds: float) -> None:
    """Give this command more time, because it must end other processes first."""
    global _grace
    _grace = seconds


@contextmanager
def ended_by_sigterm(last_words: Callable[[], str], code: int) -> Iterator[None]:
    """Let SIGTERM end what runs inside the block.

    Args:
        last_words: What to print if the command does not end by itself.
        code: The exit code in that case.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread gets signals; the caller takes care of them
        return
    # A terminated job (Slurm, Kubernetes) ends like Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    done = threading.Event()
    watch = threading.Thread(
        target=_watch, args=(reading, done, last_words, code), name="sigterm", daemon=True
    )
    watch.start()
    try:
        yield
    finally:
        done.set()
        with suppress(ValueError):  # an event loop has closed the earlier descriptor
            signal.set_wakeup_fd(before)
        os.close(writing)  # the watcher reads the end of the pipe
        watch.join()
        os.close(reading)


def _forget_in_child() -> None:
    """In a forked child: keep its signals out of the pipe that it shares with its parent."""
    with suppress(ValueError):
        signal.set_wakeup_fd(-1)


os.register_at_fork(after_in_child=_forget_in_child)


def _watch(reading: int, done: threading.Event, last_words: Callable[[], str], code: int) -> None:
    """Wait for SIGTERM, give the command its time, then end it."""
    while signal.SIGTERM not in (signals := os.read(reading, 64)):
        if not signals:
            return
    if done.wait(_grace):
        return
    # In a separate thread: if nobody reads standard error, writing to it blocks for ever.
    speaking = threading.Thread(target=_speak, args=(last_words,), daemon=True)
    speaking.start()
    speaking.join(_SPEAKING_SECONDS)
    _end_children()
    os._exit(code)


def _speak(last_words: Callable[[], str]) -> None:
    """Print past the stream's buffer, whose lock the main thread may hold."""
    with suppress(Exception):  # standard error may be gone
        os.write(2, f"\n{last_words()}\n".encode("utf-8", "backslashreplace"))


def _end_children() -> None:
    """Kill the processes of an engine, which would otherwise survive."""
    if "multiprocessing" in sys.modules:
        import multiprocessing

        for child in multiprocessing.active_children():
            with suppress(Exception):
                child.kill()
