"""What every test runs under: caches and run folders of its own, never the network."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

# Workers of pytest-xdist share the cores. A torch with a thread for every core in each worker, and
# in each engine that it starts, would spend them on waiting for one another. Torch reads this once.
if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // int(workers))))

# How long an example takes is this machine's affair (the first one imports scipy).
settings.register_profile("untimed", deadline=None)
# New examples are for those who can look at what they find, not for a gate.
settings.register_profile("gate", deadline=None, derandomize=True)
settings.load_profile("gate" if os.environ.get("CI") else "untimed")

# A job that a script starts in the background ignores SIGINT, and hands that down; the tests of
# Ctrl-C need children that hear it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _own_caches(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep hashes and data-set caches of tests out of the user's home, and the hub out of tests."""
    root = tmp_path_factory.getbasetemp() / "caches"
    monkeypatch.setenv("VSR1_CACHE", str(root / "vsr1"))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(root / "datasets"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("VSR1_DATA_ROOT", "VSR1_INCLUDE_PATH", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key of a model that judges, and no proxy on the way to a server on loopback."""
    for name in os.environ:
        if name.upper().startswith(("OPENAI_", "GOOGLE_", "GEMINI_", "VSR1_JUDGE")):
            monkeypatch.delenv(name)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")


@pytest.fixture
def judge_keys(no_keys: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys for both kinds of endpoints; no other."""
    from judges import KEY

    monkeypatch.setenv("GEMINI_API_KEY", KEY)
    monkeypatch.setenv("VSR1_JUDGE_API_KEY", KEY)


@pytest.fixture(scope="session")
def real_slices() -> Path:
    """The mirror of real benchmark rows beside the checkout."""
    mirror = Path(__file__).resolve().parents[2] / "shared" / "data" / "mirror"
    if not mirror.is_dir():
        pytest.skip("no ../shared/data/mirror here: real benchmark slices are not in the project")
    return mirror
