"""How other tools name a model, and what to type here instead."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vsr1_bench.errors import UsageError
from vsr1_bench.generation.connect import OPENAI

ENGINES = {
    "vllm": "vllm",
    "vllm-vlm": "vllm",
    "sglang": "vllm",
    "hf": "transformers",
    "hf-auto": "transformers",
    "hf-multimodal": "transformers",
    "huggingface": "transformers",
    "local-completions": "openai",
    "local-chat-completions": "openai",
    "openai": "openai",
    "openai-chat-completions": "openai",
    "openai_compatible": "openai",
}
"""What lm-eval and lmms-eval call `--model` → our backend."""
_ENDPOINTS = re.compile(
    r"(?P<provider>openai(?!/gpt-oss)|openai-api|anthropic|together|ollama|openrouter|google(?=/gemini))"
    r"/(?P<name>.+)"
)
"""Models behind a URL as inspect names them; `openai/gpt-oss-20b` is one of the hub."""
_LOADED = re.compile(r"(?P<engine>hf|vllm|sglang)/(?P<name>[^/]+/[^/]+)")


def refuse_other_forms(
    model: str, model_args: Mapping[str, Any], backend: str, base_url: str | None
) -> None:
    """Refuse the forms of lm-eval, lmms-eval and inspect.

    Raises:
        UsageError: says what to type.
    """
    weights = model_args.get("pretrained") or model_args.get("model")
    if weights:
        name = "pretrained" if "pretrained" in model_args else "model"
        engine = _flags(ENGINES[model]) if model in ENGINES else ""
        raise UsageError(
            f"--model {model} --model_args {name}={weights}: here --model names the weights, and "
            f"--backend the engine: --model {weights}{engine}"
        )
    if base_url or backend in ("openai", "scripted") or Path(model).exists():
        return
    if model in ENGINES:
        raise UsageError(
            f"--model {model}: here --model names the weights, and --backend the engine: "
            f"--model ORG/NAME{_flags(ENGINES[model])}"
        )
    if loaded := _LOADED.fullmatch(model):
        raise UsageError(
            f"--model {model}: here the engine is a flag of its own: --model {loaded['name']}"
            f"{_flags(ENGINES[loaded['engine']])}"
        )
    if behind := _ENDPOINTS.fullmatch(model):
        url = OPENAI if behind["provider"] == "openai" else "URL"
        raise UsageError(
            f"--model {model}: a model behind a URL that speaks OpenAI's protocol is "
            f"--model {behind['name']} --base_url {url}, its key in OPENAI_API_KEY"
        )


def _flags(backend: str) -> str:
    return " --base_url URL" if backend == "openai" else f" --backend {backend}"
