"""Check what a release would ship: build it, compare it with the tracked files, install and run it.

Usage: python scripts/release_check.py --uv UV [--python 3.12 …]

The wheel is built from the sdist, as a user of the sdist would build it. It is installed with its
dependencies into an empty environment for each Python on this machine. The remaining manual steps
are printed at the end.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
MAPPED = ("tasks", "judges", "train")
PYTHONS = ("3.11", "3.12", "3.13")
LINE = {"id": "1", "response": "The answer is (B).", "answer": "B", "answer_type": "choice"}


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command and return its output; its failure ends the check."""
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(words)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def tracked() -> list[Path]:
    """Files of the repository that git tracks, relative to its root."""
    names = run("git", "ls-files", "-z", cwd=ROOT).split("\0")
    return [Path(name) for name in names if name and (ROOT / name).is_file()]


def build(folder: Path) -> Path:
    """Build the sdist from a copy of the tracked files, and the wheel from the sdist."""
    copy = folder / "checkout"
    for path in tracked():
        (copy / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, copy / path)
    make = (sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist")
    run(*make, "--sdist", cwd=copy)
    (sdist,) = (folder / "dist").glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    run(*make, "--wheel", cwd=unpacked)
    (wheel,) = (folder / "dist").glob("*.whl")
    print(f"built {sdist.name} and {wheel.name} ({wheel.stat().st_size:,} bytes)")
    return wheel


def check_contents(wheel: Path) -> None:
    """Compare the wheel with the tracked files of the code folders."""
    wanted = {
        path.as_posix() if path.parts[0] == "vsr1_bench" else f"vsr1_bench/{path.as_posix()}"
        for path in tracked()
        if path.parts[0] in ("vsr1_bench", *MAPPED)
    }
    with zipfile.ZipFile(wheel) as archive:
        names = {n for n in archive.namelist() if ".dist-info/" not in n}
    if wanted != names:
        sys.exit(
            f"in the wheel, but not tracked: {sorted(names - wanted)}\n"
            f"tracked, but not in the wheel: {sorted(wanted - names)}"
        )
    print(f"the wheel has exactly the {len(names)} tracked files of the code folders")


def check_version(wheel: Path) -> str:
    """Compare the version in the wheel's name with CITATION.cff, and return it."""
    version = wheel.name.split("-")[1]
    cited = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text("utf-8"), re.MULTILINE)
    if cited is None or cited.group(1) != version:
        sys.exit(f"CITATION.cff: wanted the line `version: {version}`")
    return version


def check_install(wheel: Path, python: str, uv: str, folder: Path) -> bool:
    """Install the wheel for this Python and run commands that need no model.

    Returns:
        False if this Python is not on this machine.
    """
    program = shutil.which(f"python{python}")
    if not program or subprocess.run([program, "-V"], capture_output=True, check=False).returncode:
        print(f"Python {python}: not on this machine, skipped")
        return False
    home = folder / f"env-{python}"
    run(uv, "venv", "--quiet", "--no-python-downloads", "--python", program, home, cwd=folder)
    bin_ = home / "bin"
    run(uv, "pip", "install", "--quiet", "--python", bin_ / "python", wheel, cwd=folder)
    bench = bin_ / "vsr1-bench"
    run(bench, "--version", cwd=folder)
    tasks = run(bench, "ls", "tasks", cwd=folder)
    run(bench, "validate", "demo", "--limit", "5", cwd=folder)
    (folder / "in.jsonl").write_text(json.dumps(LINE) + "\n", "utf-8")
    out = folder / f"out-{python}.jsonl"
    run(bench, "grade", "in.jsonl", "--judge", "string_match", "--output", out, cwd=folder)
    if json.loads(out.read_text("utf-8"))["verdict"] != "correct":
        sys.exit(f"Python {python}: `grade` did not call a correct answer correct")
    print(f"Python {python}: installed; ls ({len(tasks.splitlines())} lines), validate, grade run")
    return True


def remaining(version: str) -> list[str]:
    """The steps that this script cannot do."""
    steps = [
        "run `.ci/run` on a clean checkout",
        "run `pytest -m gpu` on a machine with a GPU, or say in the notes that this was not done",
        f"tag v{version} and upload the files that `python -m build` makes from the tag",
    ]
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    if f"## [{version}]" not in changes:
        steps.insert(0, f"CHANGELOG.md: rename [Unreleased] to [{version}], with the date")
    if run("git", "status", "--porcelain", cwd=ROOT):
        steps.insert(0, "commit: the working tree has changes")
    return steps


def main() -> None:
    """Check the release; exit with 1 and the reason at the first failure."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--uv", default="uv", help="the program uv (default: the one on the path)")
    parser.add_argument("--python", action="append", metavar="X.Y", help="only these Pythons")
    options = parser.parse_args()
    uv = shutil.which(options.uv)
    if uv is None:
        sys.exit(f"--uv {options.uv}: no such program")
    uv = str(Path(uv).absolute())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wheel = build(folder)
        check_contents(wheel)
        version = check_version(wheel)
        pythons = options.python or PYTHONS
        if not any([check_install(wheel, p, uv, folder) for p in pythons]):
            sys.exit(f"none of Python {', '.join(pythons)} is on this machine")
    print(
        "\nleft to do before the release:", *(f"- {step}" for step in remaining(version)), sep="\n"
    )


if __name__ == "__main__":
    main()
