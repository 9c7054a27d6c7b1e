"""Which backend settings and `--model_args` can change answers: the engine's part of a spec.

Each argument is marked where it is declared (`base.InSpec`, `base.NotInSpec`). This module reads
the marks. docs/identity.md shows the table of `audit`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from vsr1_bench.generation.base import BackendArgs, InSpec, NotInSpec, parse_backend_args
from vsr1_bench.generation.devices import check_devices
from vsr1_bench.generation.hosts import with_host_args
from vsr1_bench.generation.models import ModelInfo
from vsr1_bench.generation.precision import precision_of
from vsr1_bench.store.spec import PrecisionSpec

LOADING = ("vllm", "transformers")
"""Backends that load weights themselves."""
# Modules, not classes, so that an endpoint's client is imported only if it is used.
_ARGUMENTS = {
    "vllm": ("vllm", "VllmArgs"),
    "transformers": ("transformers_args", "TransformersArgs"),
    "openai": ("openai", "OpenAIArgs"),
    "scripted": ("scripted", "ScriptedArgs"),
    "gemini": ("gemini", "GeminiArgs"),
}
BACKENDS = tuple(_ARGUMENTS)
"""All backends with arguments, including `gemini`, which is only for judges and readers."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The engine's part of a spec."""

    precision: PrecisionSpec | None
    """None if no weights are loaded here."""
    engine: dict[str, Any]
    """Argument -> value, for given arguments that can change an answer."""


def arguments_of(backend: str) -> type[BackendArgs]:
    """The class of a backend's arguments."""
    module, name = _ARGUMENTS[backend]
    kind: type[BackendArgs] = getattr(
        importlib.import_module(f"vsr1_bench.generation.{module}"), name
    )
    return kind


def identify(backend: str, model: ModelInfo, given: dict[str, Any]) -> Identity:
    """Check `--model_args`, and return those that are part of a run; loads no weights.

    Raises:
        UsageError: the backend does not take an argument, or devices are missing.
    """
    if backend == "openai":  # one run, whether the arguments were typed or are the host's
        given = with_host_args(model.base_url, given)
    args = parse_backend_args(arguments_of(backend), backend, given)
    check_devices(backend, args)
    precision = precision_of(model.path, args) if backend in LOADING else None
    values = args.model_dump(mode="json")
    defaults = {name: field.default for name, field in type(args).model_fields.items()}
    engine = {
        name: values[name]
        for name, mark in marks(type(args)).items()
        if (mark is None or mark == InSpec()) and values[name] != defaults[name]
    }
    return Identity(precision, engine)


def marks(kind: type[BackendArgs]) -> dict[str, InSpec | NotInSpec | None]:
    """Argument -> its mark; None if it has none."""
    return {
        name: next((m for m in field.metadata if isinstance(m, InSpec | NotInSpec)), None)
        for name, field in kind.model_fields.items()
    }


def audit() -> Iterator[tuple[str, str, str]]:
    """Yield (backend, argument, verdict) for every argument of every backend."""
    for backend in BACKENDS:
        for name, mark in marks(arguments_of(backend)).items():
            if isinstance(mark, NotInSpec):
                verdict = f"cannot change an answer: {mark.because}"
            else:
                where = "engine" if mark is None else mark.where
                verdict = f"in the spec: {where}" + (f".{name}" if where == "engine" else "")
            yield backend, name, verdict
