"""Write the transcript of a batch that is killed in the middle of its submission, and collected.

    python scripts/batch_transcript.py [--to FILE.md]

The endpoint is the tests' server on this machine (tests/batchserver.py), which bills each request
of a batch that it accepts. It kills the first command after it has accepted the batch, and before
it replies.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from batchserver import BatchServer  # noqa: E402 - a module of the tests
from servers import chat  # noqa: E402

PRICES = {"currency": "USD", "m": {"input": 0.5, "output": 2.0, "batch": 0.5}}


def answer(key: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """The reply to every question."""
    return 200, chat("<description>a grid of dots</description>\\boxed{B}")


def run(server: BatchServer, folder: Path, *flags: str) -> str:
    """Run the command and return it with what it prints and its exit code."""
    words = ["--model", "m", "--base_url", server.url, "--tasks", "demo", "--limit", "20"]
    words += ["--price_file", "prices.json", "--batch", *flags]
    child = subprocess.Popen(
        [sys.executable, "-m", "vsr1_bench", *words], cwd=folder, text=True,
        env=os.environ | {"COLUMNS": "100", "OPENAI_API_KEY": "sk-of-the-tests-server"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    server.client = child.pid
    output = child.communicate(timeout=300)[0]
    lines = [line.rpartition("\r")[2] for line in output.rstrip().split("\n")]
    shown = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", "\n".join(lines)).replace(server.url, "$URL")
    ended = "killed" if child.returncode < 0 else f"exit code {child.returncode}"
    typed = " ".join(words).replace(server.url, "$URL")
    return f"$ vsr1-bench {typed}\n{shown}\n[{ended}]".replace("\n\n[", "\n[")


def main() -> None:
    """Run, kill, collect, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--to", type=Path, help="file to write (default: standard output)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, BatchServer(answer) as server:
        folder = Path(name)
        (folder / "prices.json").write_text(json.dumps(PRICES), "utf-8")
        parts = [run(server, folder, "--dry_run")]

        def kill(step: str) -> None:
            if step == "after:create":
                os.kill(server.client, signal.SIGKILL)

        server.on_step = kill
        parts.append(run(server, folder))
        server.on_step = lambda step: None
        parts.append(run(server, folder))
        server.finish()
        parts.append(f"(the endpoint finishes the batch)\n{run(server, folder)}")
        paid = sorted(server.ran.values())
        parts.append(
            f"(the endpoint's account: {len(server.jobs)} batch, {len(paid)} requests, each billed "
            f"{paid[0]} time{'s' * (paid != [1] * len(paid))})"
        )
    body = "\n\n".join(parts)
    text = (
        "# A batch, killed and collected\n\nWritten by `scripts/batch_transcript.py`.\n\n"
        f"<!-- not run: it needs a server that can be killed -->\n```text\n{body}\n```\n"
    )
    if options.to:
        options.to.write_text(text, "utf-8")
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
