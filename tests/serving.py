"""A real server for tests: `vsr1-bench serve` in a process of its own."""

from __future__ import annotations

import os
import queue
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from cli import start

START = 480  # seconds; a crowded machine takes long to import vLLM


@contextmanager
def served(model: object, model_args: str) -> Iterator[str]:
    """Serve a model on a free port, and yield the line that says how to use it."""
    process = start(
        *("serve", "--model", model, "--port", 0, "--model_args", model_args),
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    lines: queue.Queue[str] = queue.Queue()
    errors: list[str] = []
    assert process.stdout is not None and process.stderr is not None
    out, err = process.stdout, process.stderr
    threading.Thread(target=lambda: [lines.put(line) for line in out], daemon=True).start()
    threading.Thread(target=lambda: [errors.append(line) for line in err], daemon=True).start()
    try:
        while not (line := lines.get(timeout=START)).startswith("ready"):
            pass
        yield line
    except queue.Empty:
        pytest.fail("the server was not ready: " + "".join(errors[-20:]))
    finally:
        os.kill(process.pid, signal.SIGTERM)
        process.wait(60)
        with pytest.raises(ProcessLookupError):  # the engine's processes are gone, too
            os.killpg(process.pid, 0)


def base_url(announced: str) -> str:
    """The endpoint that the line names."""
    return announced.split("--base_url ")[1].split()[0]
