"""The built viewer is what its sources make: by hash everywhere, rebuilt where npm is there."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest
from tree import ROOT

WEB = ROOT / "vsr1_bench" / "report" / "web"
BUILT = ("viewer.js", "viewer.css")
STALE = "run `npm ci && npm run build` in vsr1_bench/report/web and commit dist/"


def sources() -> list[str]:
    """What the viewer is built from, as `build.mjs` lists it."""
    found = [
        path.relative_to(WEB).as_posix()
        for path in (WEB / "src").rglob("*")
        if path.suffix in (".ts", ".css")
    ]
    return sorted(
        [*found, "build.mjs", "package.json", "package-lock.json", "tsconfig.json"],
        key=lambda name: name.encode("utf-16-be"),  # as JavaScript sorts
    )


def test_the_built_viewer_records_the_hashes_of_its_sources_and_of_itself() -> None:
    digest = hashlib.sha256()
    for name in sources():
        content = (WEB / name).read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    record = [f"{digest.hexdigest()} sources"]
    for name in BUILT:
        built = (WEB / "dist" / name).read_bytes()
        record.append(f"{hashlib.sha256(built).hexdigest()} {name}")
    assert (WEB / "dist" / "SOURCE").read_text().splitlines() == record, STALE


def test_a_new_build_writes_the_same_bytes(tmp_path: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip("no npm on this machine")
    copy = tmp_path / "web"
    shutil.copytree(WEB, copy, ignore=shutil.ignore_patterns("node_modules", "dist"))
    install = ["npm", "ci", "--no-audit", "--no-fund", "--prefer-offline"]
    done = subprocess.run(install, cwd=copy, capture_output=True, text=True, timeout=300)
    if done.returncode and any(sign in done.stderr for sign in ("ENOTFOUND", "ECONN", "EAI_AGAIN")):
        pytest.skip("npm reaches no registry here")
    assert done.returncode == 0, done.stderr
    for command in (["npm", "run", "check"], ["npm", "run", "build"]):
        done = subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
    for name in (*BUILT, "SOURCE"):
        assert (copy / "dist" / name).read_bytes() == (WEB / "dist" / name).read_bytes(), STALE


def test_the_lock_names_no_registry() -> None:
    lock = (WEB / "package-lock.json").read_text("utf-8")
    assert '"integrity"' in lock and '"resolved"' not in lock
