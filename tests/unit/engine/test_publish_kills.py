"""Publishing into a folder: killed at any step, by two at once, over older and damaged bundles."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from bundles import Bundle, files_below, made_run

from vsr1_bench.errors import ExchangeError
from vsr1_bench.publish.bundle import Manifest
from vsr1_bench.publish.pack import PackOptions
from vsr1_bench.publish.publishing import WriteBeside, parquet_name, publish
from vsr1_bench.publish.unpack import download
from vsr1_bench.scoring.runs import judge_and_score
from vsr1_bench.store.run_folder import RunFolder

QUIET = PackOptions(progress=False)
STEPS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "shutil.copyfile")
"""Audit events of what changes a folder; `os.rename` is also `replace`."""


def killed_at(step: int, folder: Path, work: Callable[[], object]) -> bool:
    """Do work in a child that is killed before its n-th change of a folder; False = it ended."""
    child = os.fork()
    if child == 0:
        seen = 0

        def watch(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal seen
            if event not in STEPS or not any(str(folder) in str(word) for word in arguments):
                return
            if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & 3):
                return  # reading changes nothing
            seen += 1
            if seen == step:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watch)
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL), status
    return status == signal.SIGKILL


def models(target: Path, to: Path) -> dict[str, list[str]]:
    """What a download brings: model -> its judges."""
    found = download(str(target), to, progress=False).new
    return {run.spec().model.id: [str(d["judge"]) for d in run.scores()] for run in found}


def roots(target: Path) -> list[str]:
    return sorted(path.name for path in target.iterdir() if path.name.startswith("bundle-"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, RunFolder, RunFolder]:
    """Two runs, and the first as it is when it was judged anew."""
    folder = tmp_path_factory.mktemp("runs")
    one, two = made_run(folder / "a", "one"), made_run(folder / "b", "two")
    shutil.copytree(folder / "a", folder / "c")
    (changed,) = (RunFolder(p.parent) for p in (folder / "c/runs").rglob("run.json"))
    judge_and_score(changed, "math", progress=False)
    (changed.path / "scores/string_match.json").unlink()
    return one, two, changed


def test_a_kill_leaves_no_outdated_parquet(
    runs: tuple[RunFolder, RunFolder, RunFolder], tmp_path: Path
) -> None:
    one, _, changed = runs

    def beside(text: str) -> WriteBeside:
        def write(folder: Path, packed: Manifest) -> list[str]:
            names = [f"parquet/{kind}/{parquet_name(packed.runs[0])}.parquet" for kind in "ab"]
            for name in names:
                (folder / name).parent.mkdir(parents=True)
                (folder / name).write_text(text * 100_000)
            return names

        return write

    publish([one], str(tmp_path / "start"), QUIET, beside("old"))
    before = (tmp_path / "start/manifest.json").read_text()
    for step in range(1, 1000):
        target = tmp_path / f"parquet-{step}"
        shutil.copytree(tmp_path / "start", target)
        work = partial(publish, [changed], str(target), QUIET, beside("new"))
        killed = killed_at(step, target, work)
        found = {path.read_text()[:3] for path in target.rglob("*.parquet")}
        assert all(len(p.read_text()) == 300_000 for p in target.rglob("*.parquet")), step
        is_new = (target / "manifest.json").read_text() != before
        assert found <= ({"new"} if is_new else {"old"}), step
        if not killed:
            break
        if step % 4 == 0:  # the next publish, without parquet, leaves none, half a file included
            publish([changed], str(target), QUIET)
            assert not [path for path in target.glob("parquet/**/*") if path.is_file()], step
    assert step > 10 and found == {"new"}


def test_a_kill_at_any_step_leaves_a_bundle_and_the_next_publish_heals(
    runs: tuple[RunFolder, RunFolder, RunFolder], tmp_path: Path
) -> None:
    one, two, changed = runs
    before = {"one": ["string_match"], "two": ["string_match"]}
    after = before | {"one": ["math"]}
    publish([one, two], str(tmp_path / "start"), QUIET)
    (tmp_path / "start/README.md").write_text("mine")
    outcomes = []
    for step in range(1, 1000):
        target = tmp_path / f"at-{step}"
        shutil.copytree(tmp_path / "start", target)
        killed = killed_at(step, target, lambda t=target: publish([changed], str(t), QUIET))  # type: ignore[misc]
        found = models(target, tmp_path / f"there-{step}")
        assert found in (before, after), step
        outcomes.append(found == after)
        if step % 4 == 0:  # each takes a second; what a kill leaves does not depend on who heals
            publish([two], str(target), QUIET)
            assert models(target, tmp_path / f"healed-{step}") == found
            assert len(roots(target)) == 1 and not (target / "manifest.json.part").exists()
        assert (target / "README.md").read_text() == "mine"
        if not killed:
            break
    assert len(outcomes) > 20 and outcomes == sorted(outcomes)
    assert not outcomes[0] and outcomes[-1], "kills before and after the one step that counts"
    assert len(roots(target)) == 1


def test_a_first_publish_that_is_killed_is_made_again(
    runs: tuple[RunFolder, RunFolder, RunFolder], tmp_path: Path
) -> None:
    target = tmp_path / "bundle"
    for step in (1, 3, 6, 9):
        assert killed_at(step, target, lambda: publish([runs[0]], str(target), QUIET))
        with pytest.raises(ExchangeError, match=r"has no manifest\.json"):
            download(str(target), tmp_path / "there", progress=False)
    publish([runs[1]], str(target), QUIET)
    assert models(target, tmp_path / "there") == {"two": ["string_match"]}
    assert len(roots(target)) == 1


def test_two_at_once_end_with_both_or_with_one_refused(
    runs: tuple[RunFolder, RunFolder, RunFolder], tmp_path: Path
) -> None:
    for number in range(4):
        target = tmp_path / str(number)
        start, go = os.pipe()
        children = []
        for run in runs[:2]:
            child = os.fork()
            if child == 0:
                os.close(go)
                os.read(start, 1)  # until the other end is closed
                code = 1
                try:
                    publish([run], str(target), QUIET)
                    code = 0
                except ExchangeError as error:
                    code = 7 if "another publish is being written by process" in str(error) else 1
                finally:
                    os._exit(code)
            children.append(child)
        os.close(start)
        os.close(go)
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        assert set(codes) <= {0, 7} and 0 in codes
        wanted = {m for m, code in zip(("one", "two"), codes, strict=True) if code == 0}
        assert set(models(target, tmp_path / f"there-{number}")) == wanted
        assert len(roots(target)) == 1


def test_a_second_publish_is_refused_while_one_is_under_way(
    runs: tuple[RunFolder, RunFolder, RunFolder], tmp_path: Path
) -> None:
    from vsr1_bench.publish.remotes import open_remote

    target = str(tmp_path / "bundle")
    publish([runs[0]], target, QUIET)
    with open_remote(target).writing():
        with pytest.raises(ExchangeError, match="another publish is being written") as refused:
            publish([runs[1]], target, QUIET)
        assert "--output_path" not in str(refused.value)
    publish([runs[1]], target, QUIET)
    assert set(models(tmp_path / "bundle", tmp_path / "there")) == {"one", "two"}


def flatten(bundle: Bundle) -> None:
    """Turn a bundle into the form that earlier versions published: files beside the manifest."""
    manifest = bundle.manifest
    (bundle.files / "runs").rename(bundle.folder / "runs")
    bundle.files.rmdir()
    del manifest["root"]
    bundle.write(manifest)


def test_a_bundle_of_an_earlier_version_is_read_and_taken_over(
    runs: tuple[RunFolder, RunFolder, RunFolder], tmp_path: Path
) -> None:
    one, two, _ = runs
    bundle = Bundle(tmp_path / "bundle")
    publish([one], str(bundle.folder), QUIET)
    flatten(bundle)
    assert set(models(bundle.folder, tmp_path / "old")) == {"one"}
    (bundle.folder / "runs/mine.txt").write_text("mine")  # nobody reads it, nobody takes it away
    publish([two], str(bundle.folder), QUIET)
    assert set(models(bundle.folder, tmp_path / "new")) == {"one", "two"}
    rest = [n for n in files_below(bundle.folder) if not n.startswith(roots(bundle.folder)[0])]
    assert sorted(rest) == [".publish.lock", "manifest.json", "runs/mine.txt"]


def test_a_publish_writes_nothing_into_runs_of_ones_own(
    runs: tuple[RunFolder, RunFolder, RunFolder], tmp_path: Path
) -> None:
    shutil.copytree(runs[0].path.parents[1], tmp_path / "runs")
    before = {
        name: (tmp_path / "runs" / name).read_bytes() for name in files_below(tmp_path / "runs")
    }
    publish([runs[0]], str(tmp_path), QUIET)
    after = {
        name: (tmp_path / "runs" / name).read_bytes() for name in files_below(tmp_path / "runs")
    }
    assert after == before


def test_what_a_bundle_lacks_is_said_and_nothing_is_changed(
    runs: tuple[RunFolder, RunFolder, RunFolder], tmp_path: Path
) -> None:
    bundle = Bundle(tmp_path / "bundle")
    publish([runs[0]], str(bundle.folder), QUIET)
    (bundle.files / bundle.path("generations")).unlink()
    text = (bundle.folder / "manifest.json").read_text()
    with pytest.raises(ExchangeError, match=r"its manifest names .*generations.*not there"):
        publish([runs[1]], str(bundle.folder), QUIET)
    assert (bundle.folder / "manifest.json").read_text() == text
    publish([runs[0]], str(bundle.folder), QUIET)  # the run itself, anew
    assert set(models(bundle.folder, tmp_path / "there")) == {"one"}


@pytest.mark.parametrize("root", ["../x", "/tmp", "bundle-0", "bundle-0123456789abcdef/..", ".git"])
def test_a_root_that_no_publish_makes_is_refused(
    runs: tuple[RunFolder, RunFolder, RunFolder], tmp_path: Path, root: str
) -> None:
    bundle = Bundle(tmp_path / "bundle")
    publish([runs[0]], str(bundle.folder), QUIET)
    bundle.write(bundle.manifest | {"root": root})
    with pytest.raises(ExchangeError, match=r"manifest\.json: root: "):
        download(str(bundle.folder), tmp_path / "there", progress=False)


@pytest.mark.parametrize("what", ["manifest.json", "generations"])
def test_a_fifo_in_a_bundle_is_refused_and_not_waited_for(
    runs: tuple[RunFolder, RunFolder, RunFolder], tmp_path: Path, what: str
) -> None:
    bundle = Bundle(tmp_path / "bundle")
    publish([runs[0]], str(bundle.folder), QUIET)
    path = bundle.folder / what if what == "manifest.json" else bundle.files / bundle.path(what)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ExchangeError, match="not a regular file; refused"):
        download(str(bundle.folder), tmp_path / "there", progress=False)
    if what == "manifest.json":
        with pytest.raises(ExchangeError, match="not a regular file; refused"):
            publish([runs[1]], str(bundle.folder), QUIET)


def test_a_manifest_without_a_root_says_nothing_of_it(
    runs: tuple[RunFolder, RunFolder, RunFolder], tmp_path: Path
) -> None:
    """So a bundle of the hub is read by earlier versions, too."""
    _, manifest = publish([runs[0]], str(tmp_path / "bundle"), QUIET)
    assert json.loads(manifest.text())["root"] == manifest.root
    assert "root" not in json.loads(manifest.model_copy(update={"root": ""}).text())
