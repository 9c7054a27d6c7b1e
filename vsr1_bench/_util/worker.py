"""A worker: a fresh interpreter behind two pipes, which can be killed at any time.

Not a fork and not a pickle: safe beside threads and CUDA, and it needs no
`if __name__ == "__main__"` in the caller's script.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from importlib import import_module
from typing import IO

from vsr1_bench._util.closing import Closing
from vsr1_bench._util.processes import OWN_PYTHON, die_with_parent

# The worker finds modules where this process does.
_BOOT = (
    "import json, sys; path, *call = json.loads(sys.argv[1]); sys.path[:] = path; "
    "from vsr1_bench._util.worker import enter; enter(*call)"
)


class Worker(Closing):
    """Runs `function(parent, *arguments)` in a new process, whose standard streams are its pipes.

    The worker dies with the thread that started it, if that is the main thread. It is the leader
    of a session: Ctrl-C does not reach it, and `close` kills what it has started as well.
    """

    def __init__(self, function: str, *arguments: object, buffer: int = -1) -> None:
        """Start the process.

        Args:
            function: `package.module:name`.
            arguments: JSON values.
            buffer: Size of the pipes' buffers, as in `subprocess.Popen`; 0 = none.
        """
        # PDEATHSIG fires when the starting THREAD ends: only the main thread may leash a child.
        leash = threading.current_thread() is threading.main_thread()
        call = json.dumps([sys.path, function, os.getpid(), leash, arguments])
        self.process = subprocess.Popen(
            [*OWN_PYTHON, "-c", _BOOT, call],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=buffer,
            start_new_session=True,
        )

    @property
    def stdin(self) -> IO[bytes]:
        """What the worker reads."""
        assert self.process.stdin is not None
        return self.process.stdin

    @property
    def stdout(self) -> IO[bytes]:
        """What the worker writes."""
        assert self.process.stdout is not None
        return self.process.stdout

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process.poll() is None

    def close(self) -> None:
        """Kill the process with all that it started, and collect it."""
        if self.alive:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):  # before it made its session, or gone
                self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            with suppress(BrokenPipeError):  # unsent bytes in its buffer
                stream.close()


def enter(function: str, parent: int, leash: bool, arguments: list[object]) -> None:
    """The worker's first call: leash it, then run the function."""
    if leash:
        die_with_parent(parent)
    module, _, name = function.partition(":")
    getattr(import_module(module), name)(parent, *arguments)
