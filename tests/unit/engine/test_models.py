"""Finding a model: fingerprints by content, pixel bounds, and one line where there is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vsr1_bench.errors import ModelError, UsageError
from vsr1_bench.generation.models import ModelInfo, default_pixels, find_model


def folder(path: Path, weights: bytes = b"w", **processor: object) -> Path:
    path.mkdir(parents=True)
    (path / "config.json").write_text("{}")
    (path / "model.safetensors").write_bytes(weights)
    (path / "chat_template.jinja").write_text("{{ messages }}")
    if processor:
        (path / "preprocessor_config.json").write_text(json.dumps(processor))
    return path


def find(path: Path) -> ModelInfo:
    return find_model(str(path), backend="transformers")


def test_the_fingerprint_is_the_content_not_the_place(tmp_path: Path) -> None:
    one, two = find(folder(tmp_path / "a/m")), find(folder(tmp_path / "b/m"))
    assert one.fingerprint == two.fingerprint
    assert one.id == "m"
    assert one.chat_template_hash is not None


def test_weights_overwritten_in_place_are_another_model(tmp_path: Path) -> None:
    path = folder(tmp_path / "m")
    before = find(path).fingerprint
    (path / "model.safetensors").write_bytes(b"trained")
    assert find(path).fingerprint != before


def test_an_endpoint_is_marked_unverified_and_known_by_url_and_name() -> None:
    def at(url: str, name: str = "m") -> ModelInfo:
        return find_model(name, backend="openai", base_url=url)

    assert not at("http://h/v1").verified
    assert at("http://h/v1").fingerprint == at("http://h/v1/").fingerprint
    assert at("http://h/v1").fingerprint != at("http://i/v1").fingerprint
    assert at("http://h/v1").fingerprint != at("http://h/v1", "n").fingerprint


@pytest.mark.parametrize(
    ("own", "used"),
    [
        (None, (262_144, 4_194_304)),
        ((3136, 12_845_056), (262_144, 4_194_304)),  # Qwen2.5-VL as published
        ((3136, 50_176), (3136, 50_176)),  # a processor that does not take the authors' bounds
    ],
)
def test_default_pixels(tmp_path: Path, own: tuple[int, int] | None, used: tuple[int, int]) -> None:
    stated: dict[str, object] = {"min_pixels": own[0], "max_pixels": own[1]} if own else {}
    assert default_pixels(find(folder(tmp_path / "m", **stated))) == used


def test_edges_are_not_read_as_areas(tmp_path: Path) -> None:
    size = {"shortest_edge": 336, "longest_edge": 2016}
    clip = folder(tmp_path / "clip", image_processor_type="CLIPImageProcessor", size=size)
    assert find(clip).pixel_bounds is None
    qwen = folder(tmp_path / "qwen", image_processor_type="Qwen2VLImageProcessor", size=size)
    assert find(qwen).pixel_bounds == (336, 2016)


def test_folders_that_hold_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no such folder.*hub id"):
        find(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"no config\.json"):
        find(tmp_path / "empty")
    pickled = folder(tmp_path / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(ModelError, match="pickled weights are not loaded"):
        find(pickled)


def test_a_script_that_is_missing() -> None:
    with pytest.raises(UsageError, match="script=FILE"):
        find_model("m", backend="scripted", script="nowhere.jsonl")


def test_other_end_tokens_and_other_code_are_another_model(tmp_path: Path) -> None:
    path = folder(tmp_path / "m")
    before = find(path).fingerprint
    (path / "generation_config.json").write_text('{"eos_token_id": 7, "temperature": 0.1}')
    ended = find(path).fingerprint
    assert ended != before
    (path / "generation_config.json").write_text('{"eos_token_id": 7, "temperature": 0.9}')
    assert find(path).fingerprint == ended  # sampling defaults never reach an engine
    (path / "modeling.py").write_text("x = 1")
    assert find(path).fingerprint == ended
    trusted = find_model(str(path), backend="transformers", trust_remote_code=True)
    assert trusted.fingerprint != ended


def test_a_password_in_the_url_is_refused() -> None:
    with pytest.raises(UsageError, match="OPENAI_API_KEY") as error:
        find_model("m", backend="openai", base_url="http://user:secret@host/v1")
    assert "secret" not in str(error.value)
