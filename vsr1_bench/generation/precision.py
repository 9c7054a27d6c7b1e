"""The precision of a checkpoint: the one place that resolves `dtype=auto`.

On every device and for every backend that loads weights, the precision is `--model_args dtype=…`,
else that of the checkpoint's config.json (`dtype`, formerly `torch_dtype`), else that of its stored
weights. An engine never chooses: vLLM would convert fp32 to bf16 and transformers would not, so the
two would not run the same model.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from vsr1_bench.errors import UsageError
from vsr1_bench.generation.base import BackendArgs
from vsr1_bench.generation.flags import RUN_FLAGS, Flags
from vsr1_bench.store.spec import PrecisionSpec

AUTO = "auto"
DTYPES = ("float32", "bfloat16", "float16")
_NAMES = {name: name for name in DTYPES} | {
    "float": "float32", "fp32": "float32", "bf16": "bfloat16", "half": "float16", "fp16": "float16",
}  # fmt: skip
_STORED = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
"""As safetensors names them."""
_LARGEST_HEADER = 100 << 20
"""Bytes; the bound that safetensors itself sets."""


def precision_of(folder: Path | None, args: BackendArgs, flags: Flags = RUN_FLAGS) -> PrecisionSpec:
    """Resolve the precision that a checkpoint is run at.

    Args:
        folder: The folder of the weights.
        args: The backend's arguments; `dtype`, `quantization` and `kv_cache_dtype` are read.
        flags: The names of the arguments, for the message.

    Raises:
        UsageError: no backend computes in this `dtype`.
    """
    given = args.model_dump()
    config = _read(folder, "config.json")
    asked = str(given.get("dtype") or AUTO).removeprefix("torch.")
    if asked != AUTO and asked not in _NAMES:
        raise UsageError(
            f"{flags.args} dtype={asked}: wanted auto (the checkpoint's own), {', '.join(DTYPES)}; "
            "for fewer bits set quantization=… and kv_cache_dtype=…"
        )
    dtype = _NAMES.get(asked) or _stated(config) or _stored(folder) or "float32"
    own = _quantization(folder, config)
    cache = given.get("kv_cache_dtype")
    return PrecisionSpec(
        dtype=dtype,
        quantization=given.get("quantization") or _name(own),
        kv_cache_dtype=str(cache) if cache not in (None, AUTO) else _cache(own) or dtype,
    )


def _read(folder: Path | None, name: str) -> dict[str, Any]:
    try:
        value = json.loads((folder / name).read_text("utf-8")) if folder else {}
    except (OSError, ValueError):  # loading the model reports the error
        return {}
    return value if isinstance(value, dict) else {}


def _stated(config: dict[str, Any]) -> str | None:
    """The dtype in a configuration, or in that of the language model inside a larger one."""
    inner = (config.get(name) for name in ("text_config", "llm_config", "language_config"))
    for part in (config, *inner):
        if isinstance(part, dict):
            for key in ("dtype", "torch_dtype"):
                if (name := _NAMES.get(str(part.get(key)).removeprefix("torch."))) is not None:
                    return name
    return None


def _stored(folder: Path | None) -> str | None:
    """The dtype of most tensors, by the headers of the weight files."""
    counts: Counter[str] = Counter()
    for file in sorted(folder.glob("*.safetensors")) if folder else ():
        try:
            with file.open("rb") as opened:
                size = int.from_bytes(opened.read(8), "little")
                header = json.loads(opened.read(size)) if size <= _LARGEST_HEADER else {}
        except (OSError, ValueError):
            continue
        kinds = (_STORED.get(str(one.get("dtype"))) for one in header.values())
        counts.update(kind for kind in kinds if kind)
    return counts.most_common(1)[0][0] if counts else None


def _quantization(folder: Path | None, config: dict[str, Any]) -> dict[str, Any]:
    """The checkpoint's own quantization settings; ModelOpt has them in a separate file."""
    own = config.get("quantization_config") or _read(folder, "hf_quant_config.json").get(
        "quantization"
    )
    return own if isinstance(own, dict) else {}


def _name(own: dict[str, Any]) -> str | None:
    named = own.get("quant_method") or own.get("quant_algo")
    return str(named) if named else None


def _cache(own: dict[str, Any]) -> str | None:
    """The type of the key-value cache that a quantized checkpoint has scales for."""
    if own.get("kv_cache_scheme") or own.get("kv_cache_quant_algo"):
        return str(own.get("kv_cache_quant_algo") or "fp8").lower()
    return None
