"""What of a backend's arguments is part of a run: precision, and the audit of all of them."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Annotated, Any

import pytest

from vsr1_bench.errors import UsageError
from vsr1_bench.generation.base import BackendArgs, InSpec, NotInSpec
from vsr1_bench.generation.identity import BACKENDS, arguments_of, audit, identify, marks
from vsr1_bench.generation.models import ModelInfo, find_model
from vsr1_bench.generation.precision import precision_of
from vsr1_bench.generation.transformers_args import TransformersArgs
from vsr1_bench.generation.vllm import VllmArgs, engine_settings
from vsr1_bench.pipeline.plan import RunOptions, plan
from vsr1_bench.store.spec import PrecisionSpec

PAGE = Path(__file__).parents[3] / "docs/identity.md"


def checkpoint(folder: Path, config: dict[str, Any], *stored: str) -> Path:
    """A folder with a configuration, and weights of these types (headers only)."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    header = json.dumps({f"t{i}": {"dtype": kind} for i, kind in enumerate(stored)}).encode()
    (folder / "w.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    return folder


@pytest.mark.parametrize(
    ("config", "stored", "dtype"),
    [
        ({"dtype": "bfloat16"}, ("F32",), "bfloat16"),
        ({"torch_dtype": "float16"}, ("F32",), "float16"),
        ({"torch_dtype": "torch.float32"}, (), "float32"),
        ({"text_config": {"torch_dtype": "bfloat16"}, "vision_config": {}}, (), "bfloat16"),
        ({"llm_config": {"dtype": "float16"}}, (), "float16"),
        ({"dtype": "float32", "text_config": {"dtype": "bfloat16"}}, (), "float32"),
        ({}, ("BF16", "BF16", "F32"), "bfloat16"),
        ({"dtype": None}, ("F16", "I64"), "float16"),
        ({"dtype": 3}, (), "float32"),
    ],
)
def test_auto_is_the_checkpoints_own_in_every_backend(
    tmp_path: Path, config: dict[str, Any], stored: tuple[str, ...], dtype: str
) -> None:
    folder = checkpoint(tmp_path / "m", config, *stored)
    for args in (VllmArgs(), TransformersArgs(), VllmArgs(dtype="auto")):
        found = precision_of(folder, args)
        assert (found.dtype, found.kv_cache_dtype, found.quantization) == (dtype, dtype, None)


@pytest.mark.parametrize(
    ("given", "dtype"),
    [
        ("half", "float16"),
        ("float", "float32"),
        ("torch.bfloat16", "bfloat16"),
        ("fp32", "float32"),
    ],
)
def test_a_dtype_has_one_name(tmp_path: Path, given: str, dtype: str) -> None:
    folder = checkpoint(tmp_path / "m", {"dtype": "bfloat16"})
    for args in (VllmArgs(dtype=given), TransformersArgs(dtype=given)):
        assert precision_of(folder, args).dtype == dtype
    with pytest.raises(UsageError, match="dtype=int4: wanted auto"):
        precision_of(folder, VllmArgs(dtype="int4"))


@pytest.mark.parametrize(
    ("own", "given", "quantization", "cache"),
    [
        ({"quant_method": "awq"}, {}, "awq", "float16"),
        ({"quant_method": "fp8"}, {"quantization": "modelopt"}, "modelopt", "float16"),
        ({"quant_method": "compressed-tensors", "kv_cache_scheme": {"num_bits": 8}}, {},
         "compressed-tensors", "fp8"),
        ({}, {"kv_cache_dtype": "fp8_e5m2"}, None, "fp8_e5m2"),
        ({}, {"kv_cache_dtype": "auto"}, None, "float16"),
    ],
)  # fmt: skip
def test_quantization_and_the_cache(
    tmp_path: Path,
    own: dict[str, Any],
    given: dict[str, str],
    quantization: str | None,
    cache: str,
) -> None:
    config = {"dtype": "float16", **({"quantization_config": own} if own else {})}
    found = precision_of(checkpoint(tmp_path / "m", config), VllmArgs(**given))  # type: ignore[arg-type]
    assert (found.quantization, found.kv_cache_dtype) == (quantization, cache)


def test_both_engines_are_told(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    folder = checkpoint(tmp_path / "m", {"torch_dtype": "float32"})
    model = ModelInfo("m", "f", path=folder)
    settings = engine_settings(model, VllmArgs(), sees=False, trust_remote_code=False)
    assert settings["dtype"] == "float32"
    given = engine_settings(model, VllmArgs(dtype="half"), sees=False, trust_remote_code=False)
    assert given["dtype"] == "float16"


def runs_of(folder: Path, backend: str, **model_args: Any) -> tuple[Path, PrecisionSpec | None]:
    options = RunOptions("tiny", "demo", folder, backend=backend, model_args=model_args)
    ((run,), *_) = plan(options)
    return run.folder.path, run.spec.model.precision


@pytest.mark.parametrize("backend", ["transformers", "vllm"])
def test_another_precision_is_another_run(tmp_path: Path, backend: str) -> None:
    pytest.importorskip("vllm" if backend == "vllm" else "transformers")
    usual, precision = runs_of(tmp_path, backend)
    assert precision is not None and precision.dtype == "float32"
    assert runs_of(tmp_path, backend, dtype="float32")[0] == usual  # what it is anyway
    others = [runs_of(tmp_path, backend, dtype=name)[0] for name in ("bfloat16", "float16")]
    others.append(runs_of(tmp_path, backend, max_model_len=512)[0])
    if backend == "vllm":
        others += [runs_of(tmp_path, backend, **{name: "fp8"})[0]
                   for name in ("kv_cache_dtype", "quantization")]  # fmt: skip
    assert len({usual, *others}) == 1 + len(others)
    batch = "batch_size" if backend == "transformers" else "max_num_seqs"
    assert runs_of(tmp_path, backend, **{batch: 3})[0] == usual


def test_one_model_is_one_run_whatever_loads_it(tmp_path: Path) -> None:
    pytest.importorskip("vllm")
    assert runs_of(tmp_path, "vllm") == runs_of(tmp_path, "transformers")


def test_what_an_endpoint_does_not_send_is_part_of_its_runs() -> None:
    model = find_model("m", backend="openai", base_url="http://127.0.0.1:1/v1")
    found = identify("openai", model, {"vllm_fields": False, "concurrency": 3})
    assert found.precision is None and found.engine == {"vllm_fields": False}
    assert identify("openai", model, {"timeout": 5}).engine == {}


# --- the audit: a new argument must be classified ---


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_argument_is_classified(backend: str) -> None:
    found = marks(arguments_of(backend))
    assert found and [name for name, mark in found.items() if mark is None] == []
    reasons = [mark.because for mark in found.values() if isinstance(mark, NotInSpec)]
    assert all(len(reason.split()) > 4 for reason in reasons)


def test_one_that_is_forgotten_is_seen_and_counts_as_part_of_a_run() -> None:
    class Forgetful(BackendArgs):
        known: Annotated[int, InSpec()] = 1
        new: int = 2

    assert marks(Forgetful) == {"known": InSpec(), "new": None}


def test_the_page_has_the_table_of_the_code() -> None:
    _, table = PAGE.read_text("utf-8").split(
        "| Backend | Argument | Part of a run? |\n|---|---|---|\n"
    )
    rows = [f"| {backend} | `{name}` | {verdict} |" for backend, name, verdict in audit()]
    assert table.splitlines() == rows, "`audit` gives the table"
