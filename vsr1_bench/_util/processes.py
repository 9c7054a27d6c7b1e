"""Commands of this tool in separate processes, which end when their parent does."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1
OWN_PYTHON = (sys.executable, "-P")
"""This interpreter. Without `-P`, `-m` looks for modules in the working folder first, and a
`datasets.py` there would be executed."""


def run_command(arguments: Sequence[str]) -> int:
    """Run `vsr1-bench ARGUMENTS` with this interpreter; its output goes to standard error.

    So standard output has only the parent's document.

    Returns:
        Its exit code.

    Raises:
        KeyboardInterrupt: the parent was interrupted; the child has ended by then.
    """
    parent = os.getpid()
    process = subprocess.Popen(
        [*OWN_PYTHON, "-m", "vsr1_bench", *arguments],
        stdout=sys.stderr.fileno() if sys.stderr else subprocess.DEVNULL,
        preexec_fn=lambda: die_with_parent(parent),
    )
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.terminate()  # ends like Ctrl-C: records synced
        process.wait()
        raise


def die_with_parent(parent: int) -> None:
    """Make the kernel end this process when its parent dies, even by SIGKILL (Linux only)."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the call
        os._exit(1)
