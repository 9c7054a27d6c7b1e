"""SIGTERM ends every command within seconds, whatever it is waiting for.

It first ends a command as Ctrl-C does: records synced, resume line printed. But the exception of
that is raised only when the main thread runs Python code again: one that waits inside a library (an
engine that starts) never gets it, and a library may swallow it. So a thread is notified, too, by
the interpreter's wake-up pipe, and ends what is left after `GRACE_SECONDS`. Every record
was flushed when it was acknowledged: nothing is lost by that.
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
    """Give this command longer, because it ends others in its turn."""
    global _grace
    _grace = seconds


@contextmanager
def ended_by_sigterm(last_words: Callable[[], str], code: int) -> Iterator[None]:
    """Let SIGTERM end what runs inside, with an exit code and last words on standard error.

    Args:
        last_words: What to say where the command did not end by itself.
        code: The exit code then.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's; who started this one takes care of them
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
        with suppress(ValueError):  # somebody's event loop has closed what was there before
            signal.set_wakeup_fd(before)
        os.close(writing)  # the watcher reads the end of it
        watch.join()
        os.close(reading)


def _forget_in_child() -> None:
    """In a forked child: its signals are not its parent's, though they share the pipe."""
    with suppress(ValueError):
        signal.set_wakeup_fd(-1)


os.register_at_fork(after_in_child=_forget_in_child)


def _watch(reading: int, done: threading.Event, last_words: Callable[[], str], code: int) -> None:
    """Wait for SIGTERM; then give the command its time, and end it."""
    while signal.SIGTERM not in (told := os.read(reading, 64)):
        if not told:
            return
    if done.wait(_grace):
        return
    # In a separate thread: where nobody reads standard error, writing to it waits for ever.
    speaking = threading.Thread(target=_speak, args=(last_words,), daemon=True)
    speaking.start()
    speaking.join(_SPEAKING_SECONDS)
    _end_children()
    os._exit(code)


def _speak(last_words: Callable[[], str]) -> None:
    """Say something past the stream's buffer, whose lock the main thread may hold."""
    with suppress(Exception):  # standard error may be gone
        os.write(2, f"\n{last_words()}\n".encode("utf-8", "backslashreplace"))


def _end_children() -> None:
    """End what an engine has started: nobody would read from its processes any more."""
    if "multiprocessing" in sys.modules:
        import multiprocessing

        for child in multiprocessing.active_children():
            with suppress(Exception):
                child.kill()
