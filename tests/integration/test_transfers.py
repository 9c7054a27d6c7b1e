"""Bundles over real HTTP and through a stand-in of the hub, with everything that breaks."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from bundles import Bundle, files_below, made_run, mirror
from cli import command, error_line
from hub import Fault, Hub, commit_of
from webfiles import FileServer, Trouble

from vsr1_bench.errors import ExchangeError, TransferError, UsageError
from vsr1_bench.publish import http
from vsr1_bench.publish.pack import PackOptions
from vsr1_bench.publish.publishing import publish
from vsr1_bench.publish.unpack import download

QUIET = PackOptions(progress=False)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle")
    publish([made_run(folder)], str(folder / "web/bundle"), QUIET)
    return Bundle(folder / "web/bundle")


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    waits: list[float] = []
    monkeypatch.setattr(http.time, "sleep", waits.append)
    yield


def bring(server: FileServer, to: Path) -> list[str]:
    found = download(f"{server.url}/bundle", to, progress=False)
    assert [run.path for run in found.new]
    return files_below(to)


def test_a_web_server(bundle: Bundle, tmp_path: Path) -> None:
    with FileServer(bundle.folder.parent) as server:
        whole = bring(server, tmp_path / "a")
        assert any(name.endswith("run.json") for name in whole)
        found = download(f"{server.url}/bundle/manifest.json?sig=x", tmp_path / "b", progress=False)
        assert found.origin == f"{server.url}/bundle/"
    meta = json.loads(next((tmp_path / "b").rglob("run.json")).read_text())
    assert meta["origin"]["source"] == f"{server.url}/bundle/"


def test_a_cut_connection_is_taken_up_where_it_broke(bundle: Bundle, tmp_path: Path) -> None:
    def plan(path: str, n: int) -> Trouble | None:
        return Trouble(cut=100) if "generations" in path and n < 3 else None

    with FileServer(bundle.folder.parent, plan) as server:
        bring(server, tmp_path / "runs")
        ranges = [asked for path, asked in server.asked if "generations" in path]
    assert ranges == [None, "bytes=100-", "bytes=200-", "bytes=300-"]


def test_a_later_call_goes_on_from_there(bundle: Bundle, tmp_path: Path) -> None:
    sick = True

    def plan(path: str, n: int) -> Trouble | None:
        return Trouble(cut=100 if n == 0 else 0) if "generations" in path and sick else None

    with FileServer(bundle.folder.parent, plan) as server:
        with pytest.raises(TransferError, match="100 bytes are kept") as broken:
            bring(server, tmp_path / "runs")
        assert broken.value.exit_code == 75
        sick = False
        before = len(server.asked)
        bring(server, tmp_path / "runs")
        later = server.asked[before:]
    assert next(asked for path, asked in later if "generations" in path) == "bytes=100-"
    # What had come whole was not asked for again: the manifest, the broken file, what follows it.
    fetched = [path.rpartition("/")[2] for path, _ in later]
    assert not any("string_match" in name for name in fetched)


def test_a_server_without_ranges(bundle: Bundle, tmp_path: Path) -> None:
    def plan(path: str, n: int) -> Trouble | None:
        return Trouble(cut=100 if n == 0 else None, ranges=False)

    with FileServer(bundle.folder.parent, plan) as server:
        bring(server, tmp_path / "runs")


def test_a_piece_of_another_file_is_no_beginning(bundle: Bundle, tmp_path: Path) -> None:
    part = next(f for f in bundle.manifest["files"] if "generations" in f["path"])
    staged = tmp_path / "runs/.download" / f"{part['sha256']}.part"
    staged.parent.mkdir(parents=True)
    staged.write_bytes(b"?" * 50)
    with FileServer(bundle.folder.parent) as server:
        bring(server, tmp_path / "runs")
        ranges = [asked for path, asked in server.asked if "generations" in path]
    assert ranges == ["bytes=50-", None]


@pytest.mark.parametrize("longer", [False, True])
def test_wrong_bytes_are_deleted_and_named(bundle: Bundle, tmp_path: Path, longer: bool) -> None:
    part = next(f for f in bundle.manifest["files"] if "generations" in f["path"])
    wrong = b"?" * (part["size"] + longer)

    def plan(path: str, n: int) -> Trouble | None:
        return Trouble(data=wrong) if "generations" in path else None

    said = "longer than the" if longer else r"generations\.jsonl\.zst has sha256 .*; deleted"
    with (
        FileServer(bundle.folder.parent, plan) as server,
        pytest.raises(ExchangeError, match=said),
    ):
        bring(server, tmp_path / "runs")
    assert not [name for name in files_below(tmp_path) if part["sha256"] in name and not longer]
    assert not list(tmp_path.rglob("run.json"))


def test_an_endless_answer_is_cut_off(bundle: Bundle, tmp_path: Path) -> None:
    def plan(path: str, n: int) -> Trouble | None:
        return Trouble(endless=True)

    with (
        FileServer(bundle.folder.parent, plan) as server,
        pytest.raises(ExchangeError, match="longer"),
    ):
        bring(server, tmp_path / "runs")


def test_a_busy_server_is_asked_again_when_it_says(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(http.time, "sleep", waits.append)

    def plan(path: str, n: int) -> Trouble | None:
        return Trouble(503, (("Retry-After", "7"),)) if "samples" in path and n < 2 else None

    with FileServer(bundle.folder.parent, plan) as server:
        bring(server, tmp_path / "runs")
    assert waits == [7.0, 7.0]


def test_what_is_not_there(bundle: Bundle, tmp_path: Path) -> None:
    with FileServer(bundle.folder.parent) as server, pytest.raises(ExchangeError, match="HTTP 404"):
        download(f"{server.url}/nowhere", tmp_path / "runs", progress=False)
    with pytest.raises(TransferError, match="refused"):
        download("http://127.0.0.1:9/x", tmp_path / "runs", progress=False)
    with pytest.raises(ExchangeError, match=r"has no manifest\.json"):
        download(str(tmp_path / "empty"), tmp_path / "runs", progress=False)


def test_a_password_goes_to_the_server_and_nowhere_else(
    bundle: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with FileServer(tmp_path) as other:

        def plan(path: str, n: int) -> Trouble | None:
            return Trouble(302, (("Location", f"{other.url}/elsewhere"),))

        with FileServer(bundle.folder.parent, plan) as server:
            address = server.url.replace("http://", "http://ann:pa55word@")
            with caplog.at_level(logging.DEBUG), pytest.raises(ExchangeError) as failed:
                download(f"{address}/bundle", tmp_path / "runs", progress=False)
            assert server.authorized[0] and server.authorized[0].startswith("Basic ")
        assert other.authorized == [None]
    assert "pa55" not in str(failed.value) + caplog.text


def test_the_warning_of_a_bare_connection_shows_no_password(
    bundle: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(http, "_loopback", lambda host: False)
    with FileServer(bundle.folder.parent) as server:
        address = server.url.replace("http://", "http://ann:pa55word@")
        assert download(f"{address}/bundle", tmp_path / "runs", progress=False).new
    assert "is not encrypted" in caplog.text and "pa55" not in caplog.text


@pytest.mark.parametrize("scheme", ["ftp", "file", "data"])
def test_a_redirect_out_of_the_web_is_refused(bundle: Bundle, tmp_path: Path, scheme: str) -> None:
    def plan(path: str, n: int) -> Trouble | None:
        return Trouble(302, (("Location", f"{scheme}://127.0.0.1/etc/hostname"),))

    with (
        FileServer(bundle.folder.parent, plan) as server,
        pytest.raises(
            ExchangeError, match=rf"redirects from http to {scheme}; refused|not allowed"
        ),
    ):
        bring(server, tmp_path / "runs")


def test_a_retry_after_that_is_not_a_number(bundle: Bundle, tmp_path: Path) -> None:
    def plan(path: str, n: int) -> Trouble | None:
        odd = Trouble(503, (("Retry-After", "\xb2"),))
        return odd if "samples" in path and n == 0 else None

    with FileServer(bundle.folder.parent, plan) as server:
        bring(server, tmp_path / "runs")


def test_a_length_that_is_not_a_number(bundle: Bundle, tmp_path: Path) -> None:
    def plan(path: str, n: int) -> Trouble | None:
        return Trouble(0, (("Content-Length", "long"), ("Connection", "close")))

    with (
        FileServer(bundle.folder.parent, plan) as server,
        pytest.raises(TransferError, match="Content-Length"),
    ):
        bring(server, tmp_path / "runs")


def test_a_server_that_is_never_of_one_mind_is_given_up(bundle: Bundle, tmp_path: Path) -> None:
    """It breaks off, and then says that there is nothing more to be had, again and again."""
    asked = 0

    def plan(path: str, n: int) -> Trouble | None:
        nonlocal asked
        if "samples" not in path:
            return None
        asked += 1
        assert asked < 100
        return Trouble(cut=50) if n % 2 == 0 else Trouble(416)

    with (
        FileServer(bundle.folder.parent, plan) as server,
        pytest.raises(ExchangeError, match="HTTP 416"),
    ):
        bring(server, tmp_path / "runs")
    assert asked == 4


def test_https_is_read_only(bundle: Bundle, tmp_path: Path) -> None:
    run = made_run(tmp_path)
    with pytest.raises(UsageError, match="can be read, not written"):
        publish([run], "https://host.example/x", QUIET)


# The hub, in processes of their own.


class Client:
    """The command line in a process that takes the stand-in for the hub."""

    def __init__(self, hub: Hub, home: Path) -> None:
        self.hub, self.home = hub, home
        # The client would upload by xet, a protocol of its own, which the stand-in does not speak.
        self.environment = hub.environment(home) | {"HF_HUB_DISABLE_XET": "1"}
        self.token = {"HF_TOKEN": hub.token}

    def __call__(
        self, *arguments: object, token: bool = False, where: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*arguments),
            env=self.environment | (self.token if token else {}),
            cwd=where,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    (tmp_path / "served").mkdir()
    with Hub(tmp_path / "served") as hub:
        yield Client(hub, tmp_path / "home")


def test_to_the_hub_and_back(client: Client, tmp_path: Path) -> None:
    run = made_run(tmp_path)
    target = "hf://datasets/org/results"
    done = client("publish", run.path, "--to", f"{target}@{'0' * 40}", token=True)
    assert "a commit cannot be written" in error_line(done.returncode, 2, done.stderr)
    done = client("publish", run.path, "--to", target)
    assert "HF_TOKEN" in error_line(done.returncode, 2, done.stderr)
    done = client("publish", run.path, "--to", target, token=True)
    assert done.returncode == 0, done.stderr
    branch = client.hub.folder / "datasets/org/results/main"
    commit = commit_of(branch)
    assert f"{target}@{commit}" in done.stderr and client.hub.token not in done.stderr
    files = [path for path in branch.rglob("*") if path.is_file()]
    assert files and not [f for f in files if client.hub.token.encode() in f.read_bytes()]
    methods = [(method, path) for _, method, path in client.hub.asked]
    assert any(method == "PUT" for method, _ in methods)  # journals by LFS
    assert sum("/commit/" in path for _, path in methods) == 1  # there whole, or not at all

    (tmp_path / "elsewhere").mkdir()
    done = client("download", f"{target}@{commit}", where=tmp_path / "elsewhere")
    assert done.returncode == 0, done.stderr
    (copy,) = (tmp_path / "elsewhere/runs").rglob("run.json")
    score = "scores/string_match.json"
    assert (copy.parent / score).read_bytes() == (run.path / score).read_bytes()
    assert json.loads(copy.read_text())["origin"]["source"] == f"{target}@{commit}"

    # A second publication leaves the first where it is, and a third replaces its own.
    other = made_run(tmp_path / "second", "org/other")
    for _ in range(2):
        done = client("publish", other.path, "--to", target, token=True)
        assert done.returncode == 0, done.stderr
    done = client("download", target, "--to", tmp_path / "both")
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "both").rglob("run.json"))) == 2


def test_parquet_beside_a_bundle_of_the_hub(client: Client, tmp_path: Path) -> None:
    run, target = made_run(tmp_path), "hf://datasets/org/results"
    branch = client.hub.folder / "datasets/org/results/main"
    flags = ["publish", run.path, "--to", target]
    names = []
    for more in (["--parquet"], ["--parquet", "--with_golds"], []):
        done = client(*flags, *more, token=True)
        assert done.returncode == 0, done.stderr
        names.append(sorted(path.name for path in branch.rglob("*.parquet")))
    assert names == [[f"org--model--{run.path.name}.parquet"] * 2] * 2 + [[]]
    assert "parquet/samples/*.parquet" in (branch / "README.md").read_text()
    commits = [path for _, _, path in client.hub.asked if "/commit/" in path]
    assert len(commits) == 3
    done = client("download", target, "--to", tmp_path / "copy")
    assert done.returncode == 0, done.stderr


def test_the_hub_breaks_off_and_lies(client: Client, tmp_path: Path) -> None:
    done = client(
        "publish", made_run(tmp_path).path, "--to", "hf://datasets/org/results", token=True
    )
    assert done.returncode == 0, done.stderr

    def cut(method: str, path: str, before: int) -> Fault | None:
        return Fault(cut=60) if method == "GET" and ".zst" in path and not before else None

    client.hub.plan = cut
    done = client("download", "hf://datasets/org/results", "--to", tmp_path / "a")
    assert done.returncode == 0, done.stderr

    (journal,) = client.hub.folder.rglob("main/**/generations.jsonl.zst")
    journal.write_bytes(b"?" * journal.stat().st_size)  # wrong, and of the right length
    client.hub.plan = lambda *_: None
    done = client("download", "hf://datasets/org/results", "--to", tmp_path / "b")
    line = error_line(done.returncode, 1, done.stderr)
    assert "generations.jsonl.zst has sha256" in line and "deleted" in line

    journal.with_name("extra.jsonl").write_text("{}\n")
    done = client("download", "hf://datasets/org/results", "--to", tmp_path / "c")
    assert "extra.jsonl' is not in the manifest" in error_line(done.returncode, 1, done.stderr)
    for missing, said in (
        ("org/nowhere", "is not there, or private"),
        ("org/results@v9", "no such"),
    ):
        done = client("download", f"hf://datasets/{missing}", "--to", tmp_path / "d")
        assert said in error_line(done.returncode, 1, done.stderr)


NO_TORCH = """
import importlib.machinery, runpy, sys

class Without(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision", "transformers", "vllm"):
            return None
        return super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(importlib.machinery.PathFinder)] = Without
sys.argv = ["vsr1-bench", *sys.argv[1:]]
runpy.run_module("vsr1_bench", run_name="__main__")
"""


def test_rebuilt_without_torch_in_another_folder(bundle: Bundle, tmp_path: Path) -> None:
    program = tmp_path / "no_torch.py"
    program.write_text(NO_TORCH)
    (tmp_path / "home").mkdir()

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(program), *map(str, arguments)],
            cwd=tmp_path / "home",
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home")},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    done = run("download", "fi" + f"le://{bundle.folder}")
    assert done.returncode == 0, done.stderr
    (copy,) = (tmp_path / "home/runs").rglob("scores/string_match.json")
    before = copy.read_bytes()
    copy.unlink()
    done = run("score", "runs")
    assert done.returncode == 0 and copy.read_bytes() == before, done.stderr
    done = run("judge", "runs", "--judge", "math", "--offline")
    assert "came without answer and extra" in error_line(done.returncode, 1, done.stderr)
    done = run("judge", "runs", "--judge", "math", "--data_root", mirror(tmp_path))
    assert done.returncode == 0 and "75.0" in done.stdout, done.stderr
    done = run("table", "runs", "--layout", "long")
    assert done.stdout.count("75.0") == 2, done.stdout + done.stderr
