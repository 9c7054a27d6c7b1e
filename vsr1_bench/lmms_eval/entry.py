"""Entry point of group `lmms_eval.models`: registers our generator in lmms-eval."""

from __future__ import annotations

from typing import Any


def manifest() -> Any:
    """Describe the model `vsr1`; only lmms-eval calls this, and it owns the class."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(model_id="vsr1", chat_class_path="vsr1_bench.lmms_eval.model.Vsr1")
