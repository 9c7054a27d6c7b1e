"""Write the transcript of a fresh clone to its first table: each command, its seconds, its output.

    python scripts/first_table.py [--warm] [--then_setup] [--to FILE.md]

The clone is of this repository's HEAD, in a temporary folder that is removed. Downloads are
counted: the caches of uv and pip are empty, unless `--warm`. `--then_setup` also runs `make setup`
and the demo again, which shows that the small environment becomes a full one.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = re.compile(r" [+~-] |(Downloading| Downloaded) |WARNING: Location ")
"""A line of uv for one package, or of pip about a folder of this machine; not shown."""
MOST_LINES = 40
"""Of one command's output; the lines before are counted."""


def size_of(folder: Path) -> int:
    """Bytes of a folder's files, each once however many names it has."""
    seen, total = set(), 0
    for parent, _, names in os.walk(folder):
        for name in names:
            stat = os.lstat(Path(parent, name))
            if stat.st_ino not in seen:
                seen.add(stat.st_ino)
                total += stat.st_size
    return total


def gigabytes(count: int) -> str:
    """Bytes as text."""
    return f"{count / 1e9:.1f} GB"


def run(command: str, where: Path, environment: dict[str, str]) -> tuple[str, float]:
    """Run a shell command and return what it prints, both streams in their order, and its seconds.

    Raises:
        SystemExit: it failed.
    """
    start = time.monotonic()
    done = subprocess.run(
        command, shell=True, cwd=where, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    seconds = time.monotonic() - start
    text = done.stdout.decode("utf-8", "replace")
    if done.returncode:
        sys.exit(f"`{command}` exited with {done.returncode} after {seconds:.0f} s:\n{text}")
    # A bar rewrites its line: what it showed last is what stays.
    printed = "\n".join(line.rpartition("\r")[2] for line in text.split("\n"))
    printed = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", printed).replace(str(where), ".")
    return "\n".join(line for line in printed.split("\n") if not PACKAGE.match(line)), seconds


def main() -> None:
    """Clone, run, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--warm", action="store_true", help="use the caches of uv and pip")
    parser.add_argument("--then_setup", action="store_true", help="go on to the full environment")
    parser.add_argument("--to", type=Path, help="file to write (default: standard output)")
    options = parser.parse_args()
    commands = ["make demo"]
    if options.then_setup:
        commands += ["make setup", "make demo", ".venv/bin/vsr1-bench doctor --deep"]
    with tempfile.TemporaryDirectory() as name:
        clone = Path(name) / "vsr1-bench"
        environment = {k: v for k, v in os.environ.items() if not k.startswith("VIRTUAL_ENV")}
        environment |= {"COLUMNS": "100"}
        if not options.warm:
            environment |= {
                "UV_CACHE_DIR": str(Path(name) / "uv"), "PIP_NO_CACHE_DIR": "1",
            }  # fmt: skip
        _, cloning = run(f"git clone --quiet '{ROOT}' '{clone}'", Path(name), environment)
        caches = "with the caches of uv and pip" if options.warm else "with empty caches"
        lines = [
            "# From a fresh clone to the first table",
            "",
            f"Printed by `python scripts/first_table.py{' --warm' * options.warm}"
            f"{' --then_setup' * options.then_setup}`, {caches}, on {os.cpu_count()} CPUs "
            f"({platform.machine()}, Python {platform.python_version()}).",
            "",
            "| Step | Seconds | The folder then |",
            "|---|---|---|",
            f"| `git clone` | {cloning:.1f} | {gigabytes(size_of(clone))} |",
        ]
        printed: list[str] = []
        for command in commands:
            output, seconds = run(command, clone, environment)
            lines.append(f"| `{command}` | {seconds:.0f} | {gigabytes(size_of(clone))} |")
            shown = output.rstrip().split("\n")
            left = len(shown) - MOST_LINES
            more = [f"… {left} lines", *shown[-MOST_LINES:]] if left > 0 else shown
            reason = "<!-- not run: it installs everything -->"
            printed += ["", reason, "```text", f"$ {command}", *more, "```"]
    load = f"Load of the machine over the last 5 minutes: {os.getloadavg()[1]:.1f}."
    text = "\n".join([*lines, "", load, *printed]) + "\n"
    if options.to:
        options.to.write_text(text, "utf-8")
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
