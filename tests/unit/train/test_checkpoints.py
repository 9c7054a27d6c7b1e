"""What keeps a checkpoint from being written is told as what it is; only a full disk as one."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import save_file  # noqa: E402

from tests.two_ranks import small_files  # noqa: E402
from vsr1_bench.errors import DiskFullError, StoreError, UsageError  # noqa: E402
from vsr1_bench.train.core.checkpoints import Checkpoints, not_written  # noqa: E402
from vsr1_bench.train.core.ranks import Ranks  # noqa: E402


class Broken:
    """An engine whose model cannot be written, for a fault of its own."""

    saved = "model"

    def save_states(self, folder: Path) -> None:
        folder.mkdir()

    def save_model(self, folder: Path) -> None:
        raise KeyError("lm_head")


def test_a_fault_is_told_with_its_place_and_the_other_parts_are_written(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, Ranks(0, 1))
    work = tmp_path / ".step-000001.tmp"
    with pytest.raises(StoreError, match=r"\.tmp/model: not written \(KeyError: 'lm_head'\)$") as e:
        checkpoints._write(work, Broken())  # type: ignore[arg-type]
    assert e.value.exit_code == 1 and isinstance(e.value.__cause__, KeyError)
    assert [part.name for part in work.iterdir()] == ["rank-0.pt"]


def refused(act: Callable[[], object]) -> StoreError:
    with pytest.raises(Exception) as error:
        act()
    said = not_written(Path("run/model"), error.value)
    assert str(said).startswith("run/model: not written (") and "\n" not in str(said)
    return said


def fail(error: OSError) -> None:
    raise error


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_whoever_wraps_it(tmp_path: Path, number: int) -> None:
    """The writers' own errors are made where no file may grow over a limit."""
    state = {"a": torch.zeros(1 << 16)}
    with small_files(1 << 12):
        said = [
            refused(lambda: torch.save(state, tmp_path / "a.pt")),
            refused(lambda: save_file(state, tmp_path / "a.safetensors")),
            refused(lambda: (tmp_path / "a").write_bytes(bytes(1 << 13))),
        ]
    said.append(refused(lambda: fail(OSError(number, os.strerror(number)))))
    for error in said:
        assert isinstance(error, DiskFullError) and str(error).endswith("; is the disk full?")


def test_any_other_fault_is_not_called_a_full_disk(tmp_path: Path) -> None:
    state, nowhere = {"a": torch.zeros(1)}, tmp_path / "nowhere"
    said = [
        refused(lambda: torch.save(state, nowhere / "a.pt")),
        refused(lambda: torch.save({"a": lambda: 0}, tmp_path / "a.pt")),
        refused(lambda: save_file(state, nowhere / "a.safetensors")),
        refused(lambda: fail(PermissionError(errno.EACCES, "Permission denied"))),
    ]
    for error in said:
        assert type(error) is StoreError and "disk full" not in str(error)
    assert "RuntimeError: Parent directory" in str(said[0])
    assert "PermissionError: [Errno 13] Permission denied" in str(said[3])


def test_rows_that_are_others_than_the_checkpoints_are_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def check(now: str | None, mark: dict[str, str | None], accept: bool = False) -> None:
        ranks = Ranks(0, 1)
        checkpoints = Checkpoints(tmp_path, ranks, rows=now, accept_changed_data=accept)
        checkpoints._check_rows(tmp_path / "step-000001", mark)

    check("a", {"rows": "a"})
    check(None, {"rows": None})  # rows that are made
    for now, then in (("b", "a"), (None, "a"), ("b", None)):
        with pytest.raises(UsageError, match=r"other rows.*--accept_changed_data"):
            check(now, {"rows": then})
    with caplog.at_level(logging.WARNING):
        check("b", {"rows": "a"}, accept=True)
        assert "trained on other rows" in caplog.text
        check("b", {})  # of a version that noted none
        assert "does not say which rows" in caplog.text
