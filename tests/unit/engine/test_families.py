"""Families of models: one line for a model that cannot be used, and what a template opens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from vsr1_bench.errors import BenchError, ModelError, UsageError
from vsr1_bench.generation.chat import ChatRenderer
from vsr1_bench.generation.families import FAMILIES, check_trainable
from vsr1_bench.generation.models import ModelInfo, find_model


def model_of(folder: Path, kind: object) -> ModelInfo:
    (folder / "config.json").write_text(json.dumps({"model_type": kind}))
    return ModelInfo("org/m", "f", path=folder)


def line(error: BenchError) -> str:
    assert "\n" not in str(error)
    return str(error)


@pytest.mark.parametrize("kind", [*FAMILIES, "qwen2", "gemma3_text"])
def test_supported_families_and_text_models_are_trained(tmp_path: Path, kind: str) -> None:
    model = model_of(tmp_path, kind)
    assert check_trainable(model) is model
    assert check_trainable(model, "transformers") is model


@pytest.mark.parametrize("kind", ["llava_onevision", "qwen2_audio", "internvl_chat", None, 3])
def test_others_are_refused_in_one_line_that_names_the_supported(
    tmp_path: Path, kind: object
) -> None:
    with pytest.raises(ModelError) as error:
        check_trainable(model_of(tmp_path, kind))
    assert "'org/m' is of type" in line(error.value)
    assert all(name in str(error.value) for name in FAMILIES.values())


def test_weights_that_vllm_names_differently_need_the_other_backend(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        check_trainable(model_of(tmp_path, "gemma3"), "vllm")
    assert line(error.value).endswith("give backend=transformers")


def test_a_type_that_transformers_does_not_know_is_named(tmp_path: Path) -> None:
    """Such as InternVL's own form, of which there is one for transformers, too."""
    with pytest.raises(ModelError) as error:
        ChatRenderer(model_of(tmp_path, "internvl_chat"))
    assert "this transformers does not know type 'internvl_chat'" in line(error.value)
    assert "NAME-hf" in str(error.value) and "Qwen3-VL" in str(error.value)


@pytest.mark.parametrize("opened", ["", "<think>", "<thinking>"])
def test_the_tag_that_a_chat_template_opens_is_known(opened: str) -> None:
    renderer = ChatRenderer(find_model("tiny", backend="transformers"))
    template = renderer.processor.chat_template
    start = "<|im_start|>assistant\n"
    assert template.count(start) == 1
    renderer.processor.chat_template = template.replace(start, f"{start}{opened}\n")
    assert renderer.opened == opened
