"""Find a model (embedded, local folder, hub id or endpoint) and its fingerprint."""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from vsr1_bench._util.memo import file_sha256
from vsr1_bench._util.paths import user_text
from vsr1_bench.errors import ModelError, UsageError
from vsr1_bench.generation.adapters import Adapter, find_adapter, refuse_adapter, with_adapter
from vsr1_bench.generation.flags import RUN_FLAGS, Flags
from vsr1_bench.records import Sampling

EMBEDDED = "tiny"
# The files that decide a model's answers; never pickled weights (*.bin, *.pt).
PARTS = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")
CODE = ("*.py",)
NOT_FINGERPRINTED = ("generation_config.json", "model.safetensors.index.json")


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model that exists but is not loaded."""

    id: str
    """The name that is shown and stored; of a local folder its own name, never its path."""
    fingerprint: str
    verified: bool = True
    path: Path | None = None
    """Folder of the weights; None for endpoints and scripts."""
    revision: str | None = None
    chat_template_hash: str | None = None
    pixel_bounds: tuple[int, int] | None = None
    """(least, most) pixels of the model's image processor, if it states them."""
    base_url: str | None = None
    origin: str | None = None
    """The name that its config.json states (`_name_or_path`)."""
    adapter: Adapter | None = None
    """The adapter to merge into the weights of `path`; `id` and `fingerprint` are of both."""
    flags: Flags = RUN_FLAGS
    """The names of its options, for messages."""


def find_model(
    name: str,
    *,
    backend: str,
    base_url: str | None = None,
    revision: str | None = None,
    offline: bool = False,
    script: str | None = None,
    trust_remote_code: bool = False,
    adapter: str | None = None,
    flags: Flags = RUN_FLAGS,
) -> ModelInfo:
    """Find a model by name.

    Args:
        name: `tiny`, a folder, a hub id, or the served id of an endpoint.
        backend: The backend that will run it.
        base_url: The endpoint's URL, for backend `openai`.
        revision: Commit, branch or tag on the hub.
        offline: Look in the hub's local cache only.
        script: The script's path, for backend `scripted`.
        trust_remote_code: Also use the Python files that come with the model.
        adapter: Folder or hub id of a LoRA adapter of the model.
        flags: The names of its options, for messages.

    Raises:
        ModelError: there is no such model, its folder is not readable, or the adapter cannot be
            used with it.
        UsageError: the backend loads no weights, so it can use no adapter.
    """
    if adapter is not None:
        if backend in ("openai", "scripted"):
            raise UsageError(
                f"--adapter goes with a model that is loaded here, not with backend {backend!r}; "
                "serve the merged weights, or drop the flag"
            )
        base = find_model(
            name,
            backend=backend,
            revision=revision,
            offline=offline,
            trust_remote_code=trust_remote_code,
            flags=flags,
        )
        return with_adapter(base, find_adapter(adapter, offline=offline))
    if backend == "openai":
        url = checked_url((base_url or "").rstrip("/"), flags)
        mark = endpoint_mark(url, name)
        return ModelInfo(name, mark, verified=False, base_url=url, flags=flags)
    if backend == "scripted":
        script = user_text(script)
        if not script or not Path(script).is_file():
            raise UsageError(f"backend 'scripted' needs {flags.args} script=FILE; got {script!r}")
        return ModelInfo(name, file_sha256(Path(script))[:32])
    if name == EMBEDDED:
        from vsr1_bench.tiny import weights_path

        return replace(describe_folder(weights_path(), EMBEDDED), flags=flags)
    folder = Path(name).expanduser()
    if folder.is_dir():
        found = describe_folder(folder, folder.resolve().name, code=trust_remote_code)
        return replace(found, flags=flags)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name) or name.startswith("."):
        raise ModelError(
            f"model {name!r}: no such folder; give a folder, a hub id (ORG/NAME), or {EMBEDDED!r}"
        )
    return replace(_from_hub(name, revision, offline, trust_remote_code), flags=flags)


def checked_url(url: str, flags: Flags = RUN_FLAGS) -> str:
    """Return an endpoint's URL if it can be called.

    Raises:
        UsageError: it cannot, or it holds a password or a query. A query may be a key, and the URL
            is stored with the run.
    """
    bare = re.split("[?#]", url)[0]
    alone = f"give the URL alone, and the key by the environment ({flags.key_variable})"
    with suppress(ValueError):  # of `urlsplit`: brackets or a port that are none
        split = urlsplit(bare)
        if "@" in split.netloc:
            raise UsageError(f"{flags.base_url} holds a user or password, and is stored; {alone}")
        if bare != url:
            raise UsageError(f"{flags.base_url} {bare!r} holds a query, and is stored; {alone}")
        if re.fullmatch(r"https?://[!-~]+", url) and split.hostname and split.port != 0:
            return url
    raise UsageError(f"{flags.base_url} {bare!r}: wanted http://HOST:PORT/v1 or https://HOST/v1")


def endpoint_mark(url: str, model: str) -> str:
    """Fingerprint of a model behind a URL; its weights cannot be checked."""
    return hashlib.sha256(f"{url}\0{model}".encode()).hexdigest()[:32]


def _from_hub(name: str, revision: str | None, offline: bool, code: bool) -> ModelInfo:
    from huggingface_hub import snapshot_download

    try:
        path = Path(
            snapshot_download(
                name,
                revision=revision,
                allow_patterns=[*PARTS, *(CODE if code else ())],
                local_files_only=offline,
            )
        )
    except Exception as error:  # network, auth, missing: many kinds, one line
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"model {name!r}: neither a local folder nor available from the hub "
            f"({type(error).__name__}: {reason}); check the name, the network and HF_TOKEN"
        ) from error
    return describe_folder(path, name, revision=path.name, code=code)


def describe_folder(
    path: Path, name: str, revision: str | None = None, *, code: bool = False
) -> ModelInfo:
    """Fingerprint a folder of weights by content, and read its configuration.

    With `code` its Python files are part of the fingerprint, too.

    Raises:
        ModelError: there is no config.json or no safetensors file, a file cannot be read, or the
            folder holds an adapter.
    """
    refuse_adapter(path)
    if not (path / "config.json").is_file():
        raise ModelError(f"model folder {path}: no config.json; wanted a Hugging Face model folder")
    if not list(path.glob("*.safetensors")):
        raise ModelError(
            f"model folder {path}: no *.safetensors weights; pickled weights are not loaded, "
            "convert them with save_pretrained(safe_serialization=True)"
        )
    digest = hashlib.sha256()
    try:
        parts = (*PARTS, *(CODE if code else ()))
        for file in sorted({f for part in parts for f in path.glob(part)}):
            if not file.is_file():
                raise ModelError(f"model folder {path}: {file.name} is not a regular file")
            if file.name not in NOT_FINGERPRINTED:
                digest.update(f"{file.name}\0{file_sha256(file)}\n".encode())
        # Engines read only the end tokens from the generation settings.
        end_tokens = _read_json(path / "generation_config.json").get("eos_token_id")
        digest.update(f"eos {end_tokens}".encode())
        template = _chat_template(path)
        bounds = _pixel_bounds(path)
        origin = _read_json(path / "config.json").get("_name_or_path")
    except (OSError, ValueError) as error:
        raise ModelError(f"model folder {path}: not readable ({error})") from error
    return ModelInfo(
        id=name,
        fingerprint=digest.hexdigest()[:32],
        path=path,
        revision=revision,
        chat_template_hash=hashlib.sha256(template.encode()).hexdigest()[:16] if template else None,
        pixel_bounds=bounds,
        origin=origin if isinstance(origin, str) else None,
    )


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    value = json.loads(path.read_text("utf-8"))
    return value if isinstance(value, dict) else {}


def _chat_template(path: Path) -> str | None:
    template = path / "chat_template.jinja"
    if template.is_file():
        return template.read_text("utf-8")
    for name in ("chat_template.json", "processor_config.json", "tokenizer_config.json"):
        found = _read_json(path / name).get("chat_template")
        if found:
            return found if isinstance(found, str) else json.dumps(found, sort_keys=True)
    return None


def _pixel_bounds(path: Path) -> tuple[int, int] | None:
    """Bounds of Qwen-style image processors; `size` of other processors states edges, not areas."""
    config = _read_json(path / "preprocessor_config.json")
    config = config or _read_json(path / "processor_config.json").get("image_processor", {})
    if config.get("min_pixels") and config.get("max_pixels"):
        return int(config["min_pixels"]), int(config["max_pixels"])
    size = config.get("size") or {}
    if "Qwen" in str(config.get("image_processor_type")) and "longest_edge" in size:
        return int(size["shortest_edge"]), int(size["longest_edge"])
    return None


def default_pixels(model: ModelInfo) -> tuple[int, int]:
    """Default pixel bounds: the authors', if they are within the processor's own range.

    Otherwise the processor's own range is used, because it would scale the image a second time.
    """
    least, most = Sampling().min_pixels, Sampling().max_pixels
    if model.pixel_bounds is None:
        return least, most
    own_least, own_most = model.pixel_bounds
    return (least, most) if own_least <= least and most <= own_most else (own_least, own_most)
