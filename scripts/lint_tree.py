"""Run a command over the code as one import package, as it is when installed.

    python scripts/lint_tree.py mypy -p vsr1_bench

setuptools maps `tasks`, `judges` and `train` into `vsr1_bench`, which static checkers do not see.
This builds `.lint/vsr1_bench` out of links to the real files, runs the command inside `.lint`, and
writes the mapped folders in its output as they are called in the repository. Without a command it
only builds the tree.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TREE = ROOT / ".lint"
MAPPED = ("tasks", "judges", "train")


def build() -> Path:
    """Rebuild the tree, so that removed files leave no link behind.

    Returns:
        The folder that holds the package; mypy's cache in it is kept.
    """
    package = TREE / "vsr1_bench"
    if package.exists():
        shutil.rmtree(package)
    package.mkdir(parents=True)
    folders = [ROOT / name for name in MAPPED if (ROOT / name).is_dir()]
    for path in [*(ROOT / "vsr1_bench").iterdir(), *folders]:
        if path.name != "__pycache__":
            (package / path.name).symlink_to(path)
    shutil.copy(ROOT / "pyproject.toml", TREE / "pyproject.toml")
    return TREE


def main(command: list[str]) -> int:
    """Build the tree and run `command` in it.

    Returns:
        The command's exit status.
    """
    tree = build()
    if not command:
        return 0
    done = subprocess.run(command, cwd=tree, stdout=subprocess.PIPE, text=True, check=False)
    mapped = rf"^vsr1_bench/(?=(?:{'|'.join(MAPPED)})/)"
    sys.stdout.write(re.sub(mapped, "", done.stdout, flags=re.MULTILINE))
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
