"""What a rank other than the first prints when a command fails in several processes."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from vsr1_bench.cli import train
from vsr1_bench.errors import BenchError, UsageError
from vsr1_bench.train.core import session
from vsr1_bench.train.core.ranks import Ranks
from vsr1_bench.train.recipe import load_recipe


def interrupted() -> BenchError:
    error = BenchError("after step 3: interrupted; no checkpoint was made yet")
    error.exit_code = 130
    return error


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch) -> argparse.Namespace:
    """Options of a training that raises `error`."""
    options = argparse.Namespace(action="grpo", error=None, adapter=None, cards=None)

    def raise_it(options: argparse.Namespace) -> int:
        raise options.error

    monkeypatch.setattr(train, "_train", raise_it)
    return options


def test_an_error_names_its_rank(fail: argparse.Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    for rank, wanted in (("0", "lr=x: wanted a number"), ("3", "rank 3: lr=x: wanted a number")):
        monkeypatch.setenv("RANK", rank)
        fail.error = UsageError("lr=x: wanted a number")
        with pytest.raises(UsageError) as error:
            train.execute(fail)
        assert str(error.value) == wanted and error.value.exit_code == 2


@pytest.mark.parametrize("error", [interrupted(), KeyboardInterrupt()])
def test_the_first_rank_reports_an_interruption_for_all(
    fail: argparse.Namespace, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    fail.error = error
    monkeypatch.setenv("RANK", "1")
    assert train.execute(fail) == 130
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(type(error)):
        train.execute(fail)


@pytest.mark.parametrize(("local", "nodes"), [("8", 2), ("16", 1), (None, 1)])
def test_a_run_on_several_nodes_says_that_they_share_the_output_folder(
    local: str | None,
    nodes: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    if local is not None:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", local)
    monkeypatch.setattr(session, "join_ranks", lambda: Ranks(0, 16))
    monkeypatch.setattr(Ranks, "on_all_ranks", lambda self, act: act())
    with ExitStack() as stack:
        session.Session(load_recipe("tiny/vision_sr1", [f"output_dir={tmp_path}"]), stack)
    assert Ranks(0, 16).nodes == nodes
    said = [f"2 nodes: output_dir {tmp_path} must be on a file system that all of them share"]
    assert caplog.messages == (said if nodes > 1 else [])


def test_a_process_alone_reports_everything(
    fail: argparse.Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RANK", raising=False)
    fail.error = interrupted()
    with pytest.raises(BenchError, match="after step 3: interrupted"):
        train.execute(fail)


def test_a_rank_leaves_its_group_before_it_ends() -> None:
    code = (
        "import atexit, torch.distributed as dist\n"
        "atexit.register(lambda: print('still in its group:', dist.is_initialized()))\n"
        "from vsr1_bench.train.core.ranks import join_ranks\n"
        "print(join_ranks(), dist.is_initialized())\n"
    )
    launched = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}
    launched |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | launched, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["Ranks(rank=0, world=1) True", "still in its group: False"]
