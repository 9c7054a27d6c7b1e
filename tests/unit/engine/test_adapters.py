"""Adapters are found by content, refused in one line, and part of a run's identity."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli import here

from vsr1_bench.errors import ModelError, UsageError
from vsr1_bench.generation import adapters
from vsr1_bench.generation.adapters import CONFIG, WEIGHTS, find_adapter
from vsr1_bench.generation.models import find_model
from vsr1_bench.pipeline.plan import RunOptions, plan


@pytest.fixture(autouse=True)
def with_peft(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if peft were there: nothing here loads it."""
    monkeypatch.setattr(adapters, "find_spec", lambda name: name)


def folder(path: Path, weights: bytes = b"some", **changes: Any) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": "Qwen/Qwen2.5-VL-3B-Instruct",
        "r": 4,
        "target_modules": ["q_proj", "v_proj"],
    }
    (path / CONFIG).write_text(json.dumps(config | changes))
    (path / WEIGHTS).write_bytes(weights)
    return path


def test_a_folder_that_is_an_adapter_says_how_to_run_it(tmp_path: Path) -> None:
    path = folder(tmp_path / "mine")
    (path / "config.json").write_text("{}")  # transformers would load the base model it names
    with pytest.raises(ModelError) as caught:
        find_model(str(path), backend="transformers")
    line = str(caught.value)
    assert "\n" not in line
    assert f"--model Qwen/Qwen2.5-VL-3B-Instruct --adapter {path}" in line
    (path / CONFIG).write_text("[]")
    with pytest.raises(ModelError, match="--model BASE --adapter"):
        find_model(str(path), backend="vllm")


def test_the_content_identifies_an_adapter_and_not_its_place(tmp_path: Path) -> None:
    first = find_adapter(str(folder(tmp_path / "a" / "mine")))
    moved = folder(tmp_path / "b" / "mine", base_model_name_or_path="/elsewhere", peft_version="9")
    shuffled = folder(tmp_path / "c" / "mine", target_modules=["v_proj", "q_proj"])
    assert first.name == "mine"
    assert find_adapter(str(moved)).fingerprint == first.fingerprint
    assert find_adapter(str(shuffled)).fingerprint == first.fingerprint
    others = (
        folder(tmp_path / "d", b"else"),
        folder(tmp_path / "e", r=8),
        folder(tmp_path / "f", lora_alpha=1),
    )
    assert len({find_adapter(str(path)).fingerprint for path in others} | {first.fingerprint}) == 4


def test_what_is_no_adapter_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    pickled = folder(tmp_path / "pickled")
    (pickled / WEIGHTS).unlink()
    (pickled / "adapter_model.bin").write_bytes(b"")
    broken = folder(tmp_path / "broken")
    (broken / CONFIG).write_text("{")
    for name, wanted in (
        (tmp_path / "nowhere", "no such folder"),
        (tmp_path / "empty", f"no {CONFIG}"),
        (pickled, "pickled weights are not loaded"),
        (broken, "not readable"),
        (folder(tmp_path / "ia3", peft_type="IA3"), "only LORA"),
    ):
        with pytest.raises(ModelError, match=wanted) as caught:
            find_model("tiny", backend="transformers", adapter=str(name))
        assert "\n" not in str(caught.value)


def test_an_adapter_needs_weights_that_are_loaded_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(folder(tmp_path / "mine"))
    for backend in ("openai", "scripted"):
        with pytest.raises(UsageError, match="--adapter goes with a model that is loaded here"):
            find_model("m", backend=backend, base_url="http://127.0.0.1:9/v1", adapter=path)
    monkeypatch.setattr(adapters, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"--adapter needs peft: (pip install|make)"):
        find_model("tiny", backend="transformers", adapter=path)


def test_a_quantized_base_is_refused(tmp_path: Path) -> None:
    from vsr1_bench.tiny import weights_path

    base = tmp_path / "base"
    base.mkdir()
    for file in weights_path().iterdir():
        if file.is_file() and file.name != "config.json":
            (base / file.name).symlink_to(file)
    config = json.loads((weights_path() / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"quantization_config": {"a": 1}}))
    adapter = str(folder(tmp_path / "mine"))
    with pytest.raises(ModelError, match="is quantized"):
        find_model(str(base), backend="transformers", adapter=adapter)


def test_an_adapter_is_part_of_a_run(tmp_path: Path) -> None:
    def spec(adapter: Path | None) -> Any:
        options = RunOptions(
            model="tiny",
            tasks="demo",
            output_path=tmp_path / "runs",
            backend="transformers",
            limit=2,
            adapter=str(adapter) if adapter else None,
        )
        runs, *_ = plan(options)
        return runs[0].spec, runs[0].folder.path

    plain, plain_folder = spec(None)
    first, first_folder = spec(folder(tmp_path / "a" / "mine"))
    again, again_folder = spec(folder(tmp_path / "b" / "mine"))
    other, other_folder = spec(folder(tmp_path / "c" / "mine", b"else"))
    assert (first, first_folder) == (again, again_folder)
    assert first.model.id == other.model.id == "tiny+mine"
    assert first_folder.parent.name == "tiny+mine"
    assert len({plain_folder, first_folder, other_folder}) == 3
    assert len({one.model.fingerprint for one in (plain, first, other)}) == 3
    assert plain.model.adapter is None and first.model.adapter != other.model.adapter


def test_the_command_line_and_rerun_take_an_adapter(tmp_path: Path) -> None:
    from vsr1_bench.cli.rerun import rerun_arguments
    from vsr1_bench.store.environment import typed_as
    from vsr1_bench.store.run_folder import RunFolder

    path = folder(tmp_path / "mine")
    done = here("--model", str(path), "--tasks", "demo", "--backend", "transformers")
    assert done.returncode == 1 and f"--adapter {path}" in done.stderr
    words = ["--model", "tiny", "--adapter", str(path), "--tasks", "demo", "--backend"]
    done = here(*words, "scripted", "--model_args", "script=x")
    assert done.returncode == 2 and "--adapter goes with" in done.stderr
    runs, *_ = plan(
        RunOptions("tiny", "demo", tmp_path / "runs", backend="transformers", adapter=str(path))
    )
    run = RunFolder(runs[0].folder.path)
    run.path.mkdir(parents=True)
    with typed_as([*words, "transformers"]):
        from vsr1_bench.store.environment import run_facts

        run.write_meta(runs[0].spec, 1, run_facts("transformers", None))
    arguments, withheld = rerun_arguments(run, tmp_path / "new")
    assert ("--adapter", str(path)) == arguments[3:5] and not withheld
