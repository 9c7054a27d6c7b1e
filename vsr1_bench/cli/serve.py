"""`vsr1-bench serve`: check and start vLLM's server with settings that fit `run`."""

from __future__ import annotations

import argparse

from vsr1_bench._util.flag_values import key_values
from vsr1_bench._util.paths import user_text
from vsr1_bench.cli import common


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "--model", "-m", type=user_text, required=True, help="tiny, a folder, or a hub id"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument(
        "--port", type=int, default=8000, help="port to listen on; 0 picks a free one"
    )
    parser.add_argument("--revision", help="revision of the model on the hub")
    parser.add_argument(
        "--model_args", "-a", default="", help="arguments of backend vllm: dtype=bfloat16,…"
    )
    common.add_trust_remote_code(parser)
    parser.add_argument("--dry_run", action="store_true", help="print the command; start nothing")


def execute(options: argparse.Namespace) -> int:
    """Check, start, announce, and wait."""
    import shlex

    from vsr1_bench.cli.terminating import allow
    from vsr1_bench.tools.serve import STOP_SECONDS, free_port, serve, server_command

    port = free_port(options.host, options.port)
    settings = key_values(options.model_args, "--model_args")
    command, flags = server_command(
        options.model,
        options.host,
        port,
        settings,
        revision=options.revision,
        trust_remote_code=options.trust_remote_code,
        starting=not options.dry_run,
    )
    if options.dry_run:
        print(shlex.join(command))
        return 0
    allow(2 * STOP_SECONDS + 5)  # this command ends the server before itself
    url = f"http://{options.host}:{port}"
    return serve(command, url, f"ready; use: vsr1-bench {flags} --tasks demo")
