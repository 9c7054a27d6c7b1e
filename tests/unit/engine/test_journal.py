"""Journals: what is acknowledged stays, whatever ends the writer; one writer at a time."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vsr1_bench.errors import EXIT_INCOMPLETE, DiskFullError, StoreError
from vsr1_bench.store import journal as module
from vsr1_bench.store.journal import Journal, Lock, os_failure, read_journal, write_atomic

TEXTS = st.text(st.characters(), max_size=50)  # lone surrogates and NUL are characters, too
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


def written(path: Path, *records: dict[str, Any]) -> Path:
    with Journal(path) as journal:
        for record in records:
            journal.append(record)
    return path


# --- a torn last line, a bad line elsewhere ---


@pytest.mark.parametrize("torn", [b"{", b'{"n": 2}', b"\0" * 4096, b'{"n": "' + b"x" * 200_000])
def test_readers_ignore_a_torn_last_line_and_leave_it(tmp_path: Path, torn: bytes) -> None:
    path = written(tmp_path / "j.jsonl", {"n": 0}, {"n": 1})
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    assert list(read_journal(path)) == [{"n": 0}, {"n": 1}]
    assert path.read_bytes() == whole + torn


@pytest.mark.parametrize("torn", [b"{", b'{"n": 2}', b"\0" * 4096, b'{"n": "' + b"x" * 200_000])
def test_the_next_writer_cuts_a_torn_last_line_with_a_warning(
    tmp_path: Path, torn: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = written(tmp_path / "j.jsonl", {"n": 0}, {"n": 1})
    path.write_bytes(path.read_bytes() + torn)
    with caplog.at_level(logging.WARNING):
        written(path, {"n": 3})
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert f"{path}: cut off a torn last line ({len(torn)} bytes)" in caplog.text
    assert list(read_journal(path)) == [{"n": 0}, {"n": 1}, {"n": 3}]


def test_a_whole_journal_is_reopened_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = written(tmp_path / "j.jsonl", {"n": 0})
    written(path, {"n": 1})
    assert list(read_journal(path)) == [{"n": 0}, {"n": 1}]
    assert caplog.text == ""


def test_a_journal_that_is_one_torn_line_becomes_empty(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    path.write_bytes(b"x" * 70_000)
    Journal(path).close()
    assert path.read_bytes() == b""


@pytest.mark.parametrize("bad", [b"{", b"[1]", b"null", b"\0\0", b"\xff", b"", b"[" * 100_000])
def test_a_bad_line_in_the_middle_is_an_error_that_names_it(tmp_path: Path, bad: bytes) -> None:
    path = tmp_path / "j.jsonl"
    path.write_bytes(b'{"n": 0}\n' + bad + b'\n{"n": 2}\n')
    with pytest.raises(StoreError) as caught:
        list(read_journal(path))
    assert str(caught.value).startswith(f"{path}:2: ")


def test_a_journal_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert list(read_journal(tmp_path / "none.jsonl")) == []


def test_a_journal_that_cannot_be_read_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="Is a directory"):
        list(read_journal(tmp_path))


# --- any text survives ---


@pytest.mark.parametrize(
    "text",
    [
        "a\0b",
        "\ud800 alone, \udfff too",
        "x" * 1_000_000,
        "\U0001f600" * 250_000,
        "one\u2028two\u2029three\x85four\x0bfive\x0csix\x1cseven\r\neight\n",
        '"\\',
    ],
    ids=["NUL", "surrogates", "1 MB", "1 MB of emoji", "line separators", "quotes"],
)
def test_hard_texts_survive(tmp_path: Path, text: str) -> None:
    path = written(tmp_path / "j.jsonl", {"text": text}, {"text": "after"})
    assert list(read_journal(path)) == [{"text": text}, {"text": "after"}]
    assert path.read_bytes().isascii()
    assert path.read_bytes().count(b"\n") == 2


@settings(max_examples=60, deadline=None)
@given(st.lists(st.dictionaries(TEXTS, VALUES, max_size=4), max_size=5))
def test_any_json_object_survives(
    tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, Any]]
) -> None:
    path = tmp_path_factory.mktemp("any") / "j.jsonl"
    assert list(read_journal(written(path, *records))) == records


def test_what_is_not_json_is_refused_and_leaves_no_trace(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    with Journal(path) as journal:
        with pytest.raises(StoreError, match="not made of JSON values"):
            journal.append({"when": object()})
        journal.append({"n": 1})
    assert list(read_journal(path)) == [{"n": 1}]


# --- acknowledged means written ---


def test_a_record_is_with_the_system_when_append_returns(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.jsonl")
    for n in range(3):
        journal.append({"n": n})
        assert list(read_journal(journal.path))[-1] == {"n": n}
    journal.close()


def test_records_are_synced_each_second_and_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, synced = [100.0], []
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(module.os, "fsync", lambda fd: synced.append(now[0]))
    with Journal(tmp_path / "j.jsonl") as journal:
        for now[0] in (100.2, 100.9, 101.1, 101.5, 102.0, 102.2):
            journal.append({})
        assert synced == [101.1, 102.2]
    assert synced == [101.1, 102.2, 102.2]


def test_a_disk_that_takes_back_what_it_accepted_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Network file systems report a full disk only when asked to sync."""

    def refuse(fd: int) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    journal = Journal(tmp_path / "j.jsonl")
    journal.append({})
    monkeypatch.setattr(module.os, "fsync", refuse)
    for act in (journal.sync, journal.close):
        with pytest.raises(DiskFullError, match=r"j\.jsonl: the disk is full"):
            act()


# --- disk full ---


@contextmanager
def no_file_over(size: int) -> Iterator[None]:
    """Let the kernel refuse, in the middle of a write, whatever goes over `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_a_whole_journal(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    with Journal(path) as journal:
        with no_file_over(10_000), pytest.raises(DiskFullError) as caught:
            for n in range(100):
                journal.append({"n": n, "text": "x" * 700})
        assert caught.value.exit_code == EXIT_INCOMPLETE
        assert str(path) in str(caught.value)
        kept = list(read_journal(path))
        assert [record["n"] for record in kept] == list(range(13))
        assert path.read_bytes().endswith(b"\n")
        journal.append({"n": "after"})
    assert list(read_journal(path)) == [*kept, {"n": "after"}]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_kinds_of_full_disk(number: int) -> None:
    error = os_failure(Path("a"), OSError(number, os.strerror(number)))
    assert isinstance(error, DiskFullError)


def test_a_full_disk_when_the_lock_is_taken(tmp_path: Path) -> None:
    with no_file_over(0), pytest.raises(DiskFullError):
        Lock(tmp_path / ".lock")
    Lock(tmp_path / ".lock").release()


# --- unwritable ---


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    below = tmp_path / "file" / "folder" / "x"
    for attempt in (lambda: Lock(below), lambda: Journal(below), lambda: write_atomic(below, "")):
        with pytest.raises(StoreError, match="--output_path") as caught:
            attempt()
        assert not isinstance(caught.value, DiskFullError)


def test_a_read_only_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(module.os, "open", refuse)
    with pytest.raises(StoreError, match=r"not writable \(Read-only file system\)"):
        Lock(tmp_path / ".lock")


# --- files that appear only complete ---


def test_an_atomic_file_replaces_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "new" / "scores.json"
    write_atomic(path, "old")
    write_atomic(path, "new \u2028")
    assert path.read_text("utf-8") == "new \u2028"
    assert os.listdir(path.parent) == ["scores.json"]


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    write_atomic(path, "old")
    with no_file_over(10_000), pytest.raises(DiskFullError):
        write_atomic(path, "x" * 100_000)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["scores.json"]


def test_any_other_failure_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    write_atomic(path, "old")
    with pytest.raises((AttributeError, TypeError)):
        write_atomic(path, None)  # type: ignore[arg-type]
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["scores.json"]


def test_a_file_appears_only_after_it_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, steps = tmp_path / "scores.json", []
    monkeypatch.setattr(module.os, "fsync", lambda fd: steps.append(path.exists()))
    write_atomic(path, "text")
    assert steps == [False]


# --- one writer ---

HOLDER = """
import sys, time
from pathlib import Path
from vsr1_bench.store.journal import Lock
lock = Lock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""
# Its child lives on (as an engine's worker may), with every file descriptor that it was born with.
PARENT = """
import os, sys, time
from pathlib import Path
from vsr1_bench.store.journal import Lock
lock = Lock(Path(sys.argv[1]))
child = os.fork()
if child == 0:
    lock.release()
    time.sleep(60)
    os._exit(0)
time.sleep(0.2)
print(child, flush=True)
time.sleep(60)
"""


@contextmanager
def python(code: str, path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A child process, once it has said its first line."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_second_writer_in_the_same_process_is_refused(tmp_path: Path) -> None:
    lock = Lock(tmp_path / ".lock")
    with pytest.raises(StoreError, match=f"written by process {os.getpid()};"):
        Lock(tmp_path / ".lock", force=True)
    lock.release()
    lock.release()
    Lock(tmp_path / ".lock").release()


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with python(HOLDER, path) as (holder, said):
        assert said == "held"
        for force in (False, True):
            with pytest.raises(StoreError, match=f"written by process {holder.pid};"):
                Lock(path, force=force)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        Lock(path).release()


def test_a_child_of_the_killed_writer_does_not_keep_the_lock(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with python(PARENT, path) as (parent, child):
        try:
            with pytest.raises(StoreError, match=f"written by process {parent.pid};"):
                Lock(path)
            parent.send_signal(signal.SIGKILL)
            parent.wait()
            os.kill(int(child), 0)  # it is alive
            Lock(path).release()
        finally:
            os.kill(int(child), signal.SIGKILL)


def other_host(path: Path, age: float) -> Path:
    path.write_text(json.dumps({"host": "another-host", "pid": 7}))
    then = time.time() - age
    os.utime(path, (then, then))
    return path


@pytest.mark.parametrize("age", [0.0, 60.0, module.STALE_SECONDS - 10, -30.0])
def test_another_host_that_lives_is_respected(tmp_path: Path, age: float) -> None:
    """A clock that runs ahead (age < 0) is a sign of life, too."""
    path = other_host(tmp_path / ".lock", age)
    with pytest.raises(StoreError, match=r"on another host .*--force_unlock"):
        Lock(path)
    assert json.loads(path.read_text())["host"] == "another-host"


def test_another_host_that_is_silent_is_believed_dead(tmp_path: Path) -> None:
    path = other_host(tmp_path / ".lock", module.STALE_SECONDS + 5)
    lock = Lock(path)
    assert json.loads(path.read_text())["host"] == socket.gethostname()
    lock.release()


def test_force_unlock_takes_over_at_once(tmp_path: Path) -> None:
    Lock(other_host(tmp_path / ".lock", 0.0), force=True).release()


def test_a_released_lock_is_free_for_every_host(tmp_path: Path) -> None:
    lock = Lock(tmp_path / ".lock")
    lock.release()
    assert (tmp_path / ".lock").read_bytes() == b""


def test_a_living_writer_keeps_its_lock_fresh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.01)
    lock = Lock(tmp_path / ".lock")
    os.utime(lock.path, (1, 1))
    deadline = time.monotonic() + 10
    while lock.path.stat().st_mtime < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert time.time() - lock.path.stat().st_mtime < 15
    lock.check()
    lock.release()


def test_a_writer_that_comes_back_after_a_takeover_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.01)
    lock = Lock(tmp_path / ".lock")
    other_host(lock.path, 0.0)
    deadline = time.monotonic() + 10
    with pytest.raises(StoreError, match="taken over"):
        while time.monotonic() < deadline:
            lock.check()
            time.sleep(0.01)
    lock.release()
    assert json.loads(lock.path.read_text())["host"] == "another-host", "its lock is not ours"


def test_a_writer_whose_lock_was_deleted_stops_and_leaves_the_next_ones(tmp_path: Path) -> None:
    lock = Lock(tmp_path / ".lock")
    lock.path.unlink()
    with pytest.raises(StoreError, match=r"\.lock was deleted, or taken over"):
        lock.check()
    other = Lock(lock.path)
    with pytest.raises(StoreError, match="taken over"):
        lock.check()
    lock.release()
    other.check()
    other.release()


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(fd: int, how: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(StoreError, match=r"no locks .*--force_unlock"):
        Lock(tmp_path / ".lock")
    Lock(tmp_path / ".lock", force=True).release()
