"""What is shipped is what is tracked: sdist, the wheel built from it, and how it imports."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from tree import MAPPED, ROOT, repository_files

SDIST_TOP = {"pyproject.toml", "setup.py", "README.md", "LICENSE", "CHANGELOG.md"}


def shipped(path: Path) -> str | None:
    """Where a repository file stands inside the wheel: the four code folders, data files too."""
    if path.parts[0] in MAPPED:
        return f"vsr1_bench/{path.as_posix()}"
    return path.as_posix() if path.parts[0] == "vsr1_bench" else None


def run(
    *command: str | Path, cwd: Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=None if env is None else dict(env),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def build(kind: str, source: Path, out: Path) -> Path:
    """The one distribution of this kind that `source` gives."""
    run(sys.executable, "-m", "build", "--no-isolation", f"--{kind}", "--outdir", out, cwd=source)
    (made,) = out.iterdir()
    return made


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution, made from a copy so that the checkout stays as it is."""
    copy = tmp_path_factory.mktemp("checkout")
    for path in repository_files():
        (copy / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, copy / path)
    return build("sdist", copy, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as a user of the sdist builds it, out of reach of the checkout."""
    source = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(source, filter="data")
    (unpacked,) = source.iterdir()
    return build("wheel", unpacked, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An otherwise empty folder holding what the wheel installs.

    Installing a pure-Python wheel is unpacking it (no installer is needed in the test environment);
    the console script, which an installer would write, is looked up in the metadata instead.
    """
    target = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


def test_wheel_holds_exactly_what_is_tracked(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    info = {name for name in names if name.split("/")[0].endswith(".dist-info")}
    expected = {place for path in repository_files() if (place := shipped(path))}
    assert names - info - expected == set(), "in the wheel, but not tracked"
    assert expected - names == set(), "tracked, but not in the wheel"
    assert {name.split("/")[0] for name in names - info} == {"vsr1_bench"}
    assert any(name.endswith("licenses/LICENSE") for name in info)


def test_wheel_holds_the_embedded_model(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        weights = [i for i in archive.infolist() if i.filename.endswith(".safetensors")]
    assert weights
    assert all(0 < found.file_size < 20_000_000 for found in weights)


def test_sdist_can_be_built_again(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= SDIST_TOP
    assert {p.as_posix() for p in repository_files() if shipped(p)} <= names


def python(installed: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # -P keeps the working directory off the path; PYTHONPATH comes before any editable install.
    env = {**os.environ, "PYTHONPATH": str(installed)}
    return subprocess.run(
        [sys.executable, "-P", *arguments], cwd=cwd, env=env, capture_output=True, text=True
    )


def test_installed_wheel_runs_from_anywhere(installed: Path, tmp_path: Path) -> None:
    where = python(
        installed,
        tmp_path,
        "-c",
        "import vsr1_bench, vsr1_bench.tasks as t, vsr1_bench.judges as j, vsr1_bench.train as r\n"
        "print(vsr1_bench.__file__, t.__file__, j.__file__, r.__file__, sep='\\n')",
    )
    assert where.returncode == 0, where.stderr
    assert all(line.startswith(str(installed)) for line in where.stdout.split())

    version = python(installed, tmp_path, "-m", "vsr1_bench", "--version")
    assert version.returncode == 0, version.stderr
    (info,) = installed.glob("*.dist-info")
    assert info.name.split("-")[1].removesuffix(".dist") in version.stdout

    tasks = python(installed, tmp_path, "-m", "vsr1_bench", "ls", "tasks")
    assert tasks.returncode == 0, tasks.stderr
    here = subprocess.run(
        [sys.executable, "-m", "vsr1_bench", "ls", "tasks"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert tasks.stdout == here.stdout and "visnumbench" in tasks.stdout


def test_console_script_leads_to_the_command(installed: Path, tmp_path: Path) -> None:
    program = (
        "from importlib.metadata import distribution\n"
        "scripts = distribution('vsr1-bench').entry_points.select(group='console_scripts')\n"
        "(script,) = scripts\n"
        "print(script.name, callable(script.load()))"
    )
    found = python(installed, tmp_path, "-c", program)
    assert found.returncode == 0, found.stderr
    assert found.stdout.split() == ["vsr1-bench", "True"]


@pytest.mark.parametrize("folder", MAPPED)
def test_no_bare_package_is_installed(installed: Path, tmp_path: Path, folder: str) -> None:
    bare = python(installed, tmp_path, "-c", f"import {folder}")
    assert bare.returncode != 0
    assert "ModuleNotFoundError" in bare.stderr


def test_the_constraints_for_gpus_resolve(tmp_path: Path) -> None:
    """`pip install '.[vllm,train,inspect]' --constraint constraints-gpu.txt` finds versions."""
    uv = shutil.which("uv") or str(ROOT / ".tool" / "bin" / "uv")
    if not Path(uv).is_file():
        pytest.skip("no uv: make setup installs it into .tool")
    command = [uv, "pip", "compile", "--quiet", "--python-version", "3.11", "--no-header"]
    command += ["--extra", "vllm", "--extra", "train", "--extra", "inspect", "--no-annotate"]
    command += ["--constraint", "constraints-gpu.txt", "pyproject.toml"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if "error sending request" in done.stderr or "Request failed" in done.stderr:
        pytest.skip(f"no package registry can be reached: {done.stderr.splitlines()[0]}")
    assert done.returncode == 0, done.stderr
    pinned = (ROOT / "constraints-gpu.txt").read_text("utf-8").split()
    assert {line for line in done.stdout.split() if "==" in line} <= set(pinned)
