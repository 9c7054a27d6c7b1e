"""Entry point of group `lmms_eval.models`: names our generator to lmms-eval."""

from __future__ import annotations

from typing import Any


def manifest() -> Any:
    """What `--model vsr1` stands for; called by lmms-eval alone, whose class it is."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(model_id="vsr1", chat_class_path="vsr1_bench.lmms_eval.model.Vsr1")
