"""What several processes of a launch say of the same end is said once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

dist = pytest.importorskip("torch.distributed")

from vsr1_bench.errors import UsageError  # noqa: E402
from vsr1_bench.train.core.ranks import TrainError, said_already  # noqa: E402


@pytest.fixture
def launch(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The store of a launcher, as its processes find it."""
    store = dist.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "vsr1-1")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.setenv("MASTER_PORT", str(store.port))
    yield
    del store


def interrupted() -> TrainError:
    error = TrainError("after step 3: interrupted; no checkpoint was made yet")
    error.exit_code = 130
    return error


@pytest.mark.usefixtures("launch")
def test_what_all_ranks_find_wrong_is_said_by_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    said = [said_already(UsageError("lr=x: wanted a number")) for _ in range(3)]
    assert said == [False, True, True]
    assert not said_already(UsageError("another fault, of one rank"))
    assert not said_already(RuntimeError("Connection closed by peer"))
    # The launcher ends the others: that is no news.
    assert said_already(interrupted()) and said_already(KeyboardInterrupt())
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")  # of torchrun --max_restarts
    assert not said_already(UsageError("lr=x: wanted a number"))


@pytest.mark.usefixtures("launch")
@pytest.mark.parametrize("first", [interrupted(), KeyboardInterrupt()])
def test_an_interruption_is_said_once(first: BaseException) -> None:
    assert not said_already(first)
    assert said_already(interrupted()) and said_already(KeyboardInterrupt())


def test_a_process_alone_says_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    assert not any(said_already(UsageError("the same")) for _ in range(2))
