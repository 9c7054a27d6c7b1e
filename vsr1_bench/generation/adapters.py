"""LoRA adapters: find one, and merge it into its base model with `peft`.

Every backend runs the merged weights, as the trainer's rollouts do. So all backends run the same
numbers, and no engine needs to know LoRA. The merge is computed on the CPU, in the precision of the
run.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from vsr1_bench._util.installing import install_command
from vsr1_bench._util.memo import file_sha256
from vsr1_bench.errors import ModelError, UsageError

if TYPE_CHECKING:
    from vsr1_bench.generation.models import ModelInfo

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
BESIDE = (".json", ".jinja", ".txt", ".model", ".py")
"""Files of a model's folder that a merged model takes over: processor, template, code."""
_UNSEEN = ("base_model_name_or_path", "revision", "peft_version", "inference_mode", "task_type")
"""Entries of the configuration that cannot change an answer."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter that exists but is not loaded."""

    name: str
    """Hub id, or the folder's own name."""
    path: Path
    fingerprint: str
    """Hash of its weights and of the settings that affect them."""


def refuse_adapter(path: Path) -> None:
    """Refuse a folder that holds an adapter in the place of a model.

    transformers would load the base model that the folder names, whatever it is.

    Raises:
        ModelError: names the base model and the flag.
    """
    if (path / CONFIG).is_file():
        try:
            base = str(_config(path).get("base_model_name_or_path") or "BASE")[:200]
        except ModelError:
            base = "BASE"
        raise ModelError(
            f"model folder {path}: a LoRA adapter, not a whole model; evaluate it with "
            f"--model {base} --adapter {shlex.quote(str(path))}"
        )


def find_adapter(name: str, *, offline: bool = False) -> Adapter:
    """Find an adapter by its folder or hub id.

    Raises:
        ModelError: there is none, or it is no LoRA adapter with safetensors weights.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _describe(folder, folder.resolve().name)
    if not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name):
        raise ModelError(f"adapter {name!r}: no such folder; give a folder or a hub id (ORG/NAME)")
    from huggingface_hub import snapshot_download

    try:
        path = snapshot_download(name, allow_patterns=[CONFIG, WEIGHTS], local_files_only=offline)
    except Exception as error:  # network, auth, missing: many kinds, one line
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"adapter {name!r}: neither a local folder nor available from the hub "
            f"({type(error).__name__}: {reason}); check the name, the network and HF_TOKEN"
        ) from error
    return _describe(Path(path), name)


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / CONFIG).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"adapter {folder}: {CONFIG} is not readable ({error})") from error
    if not isinstance(config, dict):
        raise ModelError(f"adapter {folder}: {CONFIG} is not a JSON object")
    return config


def _describe(folder: Path, name: str) -> Adapter:
    if not (folder / CONFIG).is_file():
        raise ModelError(f"adapter {folder}: no {CONFIG}; wanted a folder that peft has saved")
    config = _config(folder)
    if config.get("peft_type") != "LORA":
        kind = str(config.get("peft_type"))[:50]
        raise ModelError(f"adapter {folder}: peft_type {kind!r}; only LORA can be merged here")
    if not (folder / WEIGHTS).is_file():
        raise ModelError(
            f"adapter {folder}: no {WEIGHTS}; pickled weights are not loaded, save it again with "
            "save_pretrained(safe_serialization=True)"
        )
    kept = {
        key: sorted(map(str, value)) if isinstance(value, list) else value
        for key, value in config.items()
        if key not in _UNSEEN
    }
    digest = hashlib.sha256(json.dumps(kept, sort_keys=True).encode())
    digest.update(file_sha256(folder / WEIGHTS).encode())
    return Adapter(name, folder, digest.hexdigest()[:32])


def with_adapter(base: ModelInfo, adapter: Adapter) -> ModelInfo:
    """The model that an adapter makes of its base.

    Raises:
        ModelError: the base is quantized: a merge would change its precision.
        UsageError: peft is not installed.
    """
    require_peft("--adapter")
    config = json.loads((base.path / "config.json").read_text("utf-8")) if base.path else {}
    if config.get("quantization_config"):
        raise ModelError(
            f"model {base.id!r} is quantized: an adapter cannot be merged into it; give its "
            "unquantized weights"
        )
    both = hashlib.sha256(f"{base.fingerprint}\0{adapter.fingerprint}".encode()).hexdigest()[:32]
    return replace(base, id=f"{base.id}+{adapter.name}", fingerprint=both, adapter=adapter)


def require_peft(what: str) -> None:
    """Refuse what needs peft, if it is not installed.

    Raises:
        UsageError: says how to get it.
    """
    if not find_spec("peft"):
        raise UsageError(f"{what} needs peft: {install_command('train')}")


def merge(model: Any, adapter: Adapter, base: str) -> Any:
    """Merge an adapter into a loaded model.

    Args:
        model: The Hugging Face model, on the CPU; it is changed.
        adapter: What is merged.
        base: The model's name, for messages.

    Returns:
        The model with merged weights.

    Raises:
        ModelError: the adapter does not fit the model.
    """
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import safe_open

    try:
        with warnings.catch_warnings():  # about missing tensors, which are an error below
            warnings.simplefilter("ignore")
            both = PeftModel.from_pretrained(model, str(adapter.path), torch_device="cpu")
        with safe_open(adapter.path / WEIGHTS, "pt") as file:
            stored = set(file.keys())
        loaded = set(get_peft_model_state_dict(both, save_embedding_layers=False))
        if odd := stored ^ loaded:
            raise ValueError(
                f"{len(stored - loaded)} of its {len(stored)} tensors have no place there, "
                f"{len(loaded - stored)} are missing, first {min(odd)}"
            )
        return both.merge_and_unload(safe_merge=True)
    except Exception as error:  # the libraries raise many kinds, all about these two
        reason = " ".join(str(error).split())[:300]
        raise ModelError(
            f"adapter {adapter.name!r} does not fit model {base!r}: {type(error).__name__}: "
            f"{reason}"
        ) from error


def write_merged(
    base: ModelInfo, adapter: Adapter, dtype: str, folder: Path, *, trust_remote_code: bool = False
) -> None:
    """Write a base model with an adapter merged into it as a plain Hugging Face folder.

    Args:
        base: The base model.
        adapter: What is merged.
        dtype: Precision of the merged weights.
        folder: A new folder.
        trust_remote_code: Run the Python files that come with the base model.

    Raises:
        ModelError: the model cannot be loaded, or the adapter does not fit.
        OSError: the folder cannot be written.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    from vsr1_bench.generation.chat import ChatRenderer, cannot_load

    sees = ChatRenderer(base, trust_remote_code=trust_remote_code).sees
    kind = AutoModelForImageTextToText if sees else AutoModelForCausalLM
    try:
        model = kind.from_pretrained(
            base.path,
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            trust_remote_code=trust_remote_code,
        )
    except Exception as error:  # the library raises many kinds, all of them about this folder
        raise cannot_load(base, "transformers", error) from error
    merged = merge(model, adapter, base.id)
    folder.mkdir(parents=True)
    for file in base.path.iterdir() if base.path else ():
        if file.is_file() and file.suffix in BESIDE and not file.name.endswith(".index.json"):
            shutil.copyfile(file, folder / file.name)
    merged.save_pretrained(folder, safe_serialization=True)
    for file in folder.iterdir():
        file.chmod(0o644)  # safetensors makes files that only their owner can read


@contextmanager
def merged_folder(
    model: ModelInfo, dtype: str, *, trust_remote_code: bool = False
) -> Iterator[ModelInfo]:
    """A model with its adapter merged, in a temporary folder (TMPDIR); itself without an adapter.

    Raises:
        ModelError: the adapter does not fit, or the folder cannot be written.
    """
    if model.adapter is None:
        yield model
        return
    with TemporaryDirectory(prefix="vsr1-merged-") as name:
        folder = Path(name) / "model"
        try:
            write_merged(model, model.adapter, dtype, folder, trust_remote_code=trust_remote_code)
        except OSError as error:
            free = shutil.disk_usage(name).free / 1e9
            raise ModelError(
                f"adapter {model.adapter.name!r}: the merged weights cannot be written to {name} "
                f"({error}; {free:.1f} GB free); set TMPDIR to a larger disk"
            ) from error
        yield replace(model, path=folder, adapter=None)
