"""The run store: keys, folders, run.json."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from stored import SPEC, folder
from tree import ROOT

from vsr1_bench.errors import StoreError
from vsr1_bench.records import EncodedImage, ImagePlace, Message
from vsr1_bench.store.environment import git_sha
from vsr1_bench.store.run_folder import RunFolder, find_runs, safe_name
from vsr1_bench.store.spec import PrecisionSpec, RunSpec, TaskSpec, canonical_json, request_key

# --- another question is another key ---

RED, BLUE = EncodedImage(data=b"red"), EncodedImage(data=b"blue")
ASKED = (Message("user", (ImagePlace(0), "or", ImagePlace(1), "?")),)


def key(
    spec: str = "spec",
    sample_id: str = "s",
    messages: tuple[Message, ...] = ASKED,
    images: tuple[EncodedImage, ...] = (RED, BLUE),
    index: int = 0,
) -> str:
    return request_key(spec, sample_id, messages, images, index)


def test_the_same_request_has_the_same_key() -> None:
    assert key() == key(images=(EncodedImage(data=b"red"), EncodedImage(data=b"blue")))


def test_the_key_is_that_of_earlier_versions() -> None:
    """Another key would have every stored response generated, and paid for, again."""
    assert key() == "9d4c8ad8cc0d99b55842ff020a45c93b"


@pytest.mark.parametrize(
    "other",
    [
        {"images": (RED, EncodedImage(data=b"green"))},
        {"images": (BLUE, RED)},
        {"messages": (Message("user", (ImagePlace(1), "or", ImagePlace(0), "?")),)},
        {"messages": (Message("user", ("or", ImagePlace(0), ImagePlace(1), "?")),)},
        {"messages": (Message("user", (ImagePlace(0), "or", ImagePlace(1), "!")),)},
        {"messages": (Message("system", ("be brief",)), *ASKED)},
        {"messages": (Message("system", ASKED[0].content),)},
        {"sample_id": "t"},
        {"index": 1},
        {"spec": "another"},
    ],
)
def test_another_request_has_another_key(other: dict[str, Any]) -> None:
    assert key(**other) != key()


def test_an_image_is_known_by_its_bytes_not_by_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"red")
    on_disk = EncodedImage(path=tmp_path / "a.png")
    assert key(images=(on_disk, BLUE)) == key()
    (tmp_path / "a.png").write_bytes(b"green")
    assert key(images=(on_disk, BLUE)) != key()


# --- another spec is another folder ---


FULL = SPEC.model_copy(
    update={
        "model": SPEC.model.model_copy(
            update={
                "precision": PrecisionSpec(
                    dtype="float32", quantization=None, kv_cache_dtype="float32"
                )
            }
        ),
        "engine": {"max_model_len": 4096},
    }
)
"""With what a run of loaded weights has besides."""


def changed(path: str, value: object, of: RunSpec = SPEC) -> RunSpec:
    document = of.model_dump()
    *parts, name = path.split(".")
    part = document
    for inner in parts:
        part = part[inner]
    part[name] = value
    return RunSpec.model_validate(document)


OTHERS = {
    "model.adapter": "a" * 64,
    "model.id": "org/other",
    "model.revision": "v2",
    "model.fingerprint": "g",
    "model.verified": False,
    "model.precision.dtype": "bfloat16",
    "model.precision.quantization": "awq",
    "model.precision.kv_cache_dtype": "fp8",
    "engine.max_model_len": 512,
    "sampling.temperature": 0.5,
    "sampling.top_p": 0.9,
    "sampling.top_k": 5,
    "sampling.min_p": 0.1,
    "sampling.repetition_penalty": 1.1,
    "sampling.max_tokens": 11,
    "sampling.stop": ("x",),
    "sampling.seed": 1,
    "sampling.n": 2,
    "sampling.min_pixels": 2,
    "sampling.max_pixels": 3,
    "prompt.format": "direct",
    "prompt.hash": "i",
    "prompt.chat_template_hash": "c",
    "prompt.system": "be brief",
    "task.name": "sums2",
    "task.version": 2,
    "data.id": "e",
    "data.config": "main",
    "data.split": "train",
    "data.revision": "v2",
    "data.fingerprint": "q",
    "variant": "drop",
    "imported_per_sample": 2,
    "schema_version": 2,
}


def leaves(document: dict[str, Any], prefix: str = "") -> set[str]:
    found: set[str] = set()
    for name, value in document.items():
        path = f"{prefix}{name}"
        found |= leaves(value, f"{path}.") if isinstance(value, dict) else {path}
    return found


def test_every_field_of_the_spec_is_tried_below() -> None:
    assert leaves(FULL.model_dump()) == set(OTHERS)


@pytest.mark.parametrize("path", sorted(OTHERS))
def test_another_spec_is_another_folder(tmp_path: Path, path: str) -> None:
    other = changed(path, OTHERS[path], FULL)
    assert RunFolder.of(tmp_path, other).path != RunFolder.of(tmp_path, FULL).path


def test_a_spec_of_before_keeps_its_hash() -> None:
    """Precision, adapter and engine came later: what was stored without them is found."""
    stored = SPEC.model_dump(mode="json")
    del stored["model"]["precision"], stored["model"]["adapter"], stored["engine"]
    known = hashlib.sha256(canonical_json(stored).encode()).hexdigest()
    assert RunSpec.model_validate(stored).digest() == known
    assert RunSpec.model_validate(stored).model.precision_label == "unknown"
    assert FULL.digest() != known and FULL.model.precision_label == "float32"


def test_a_folder_of_another_spec_is_not_written(tmp_path: Path) -> None:
    """Eight digits of a hash may collide, and folders get renamed."""
    run = folder(tmp_path)
    before = run.meta()
    with pytest.raises(StoreError, match="holds another run"):
        run.write_meta(changed("sampling.seed", 1), 3, {})
    assert run.meta() == before


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("Qwen/Qwen2.5-VL-7B", "Qwen--Qwen2.5-VL-7B"),
        ("../../etc", "--..--etc"),
        ("..", "model"),
        ("/abs/path/", "abs--path"),
        ("a b\0c\u2028d", "a-b-c-d"),
        ("x" * 300, "x" * 120),
    ],
)
def test_names_stay_inside_their_folder(tmp_path: Path, name: str, safe: str) -> None:
    assert safe_name(name) == safe
    spec = changed("model.id", name)
    spec = spec.model_copy(update={"task": TaskSpec(name=name, version=1)})
    place = Path(os.path.normpath(RunFolder.of(tmp_path, spec).path))
    assert place.parent.parent == tmp_path
    folder(tmp_path, spec)


# --- run.json ---


def test_run_json_gives_the_spec_back(tmp_path: Path) -> None:
    run = folder(tmp_path)
    created = run.meta()["created"]
    run.write_meta(SPEC, 3, {"command": "vsr1-bench again"})
    assert run.spec() == SPEC
    assert run.meta()["spec_hash"] == SPEC.digest()
    assert run.meta()["command"] == "vsr1-bench again"
    assert run.meta()["created"] == created


@pytest.mark.parametrize("text", ["", "{", "[]", '{"spec_hash": "x"}', "\xff"])
def test_a_damaged_run_json_is_named(tmp_path: Path, text: str) -> None:
    run = folder(tmp_path)
    (run.path / "run.json").write_text(text, "latin-1")
    with pytest.raises(StoreError, match=r"run\.json: not a run's run\.json"):
        run.spec()


def test_a_spec_of_another_version_is_named_by_its_field(tmp_path: Path) -> None:
    run = folder(tmp_path)
    meta = run.meta()
    meta["spec"]["sampling"]["top_q"] = 1
    (run.path / "run.json").write_text(json.dumps(meta))
    with pytest.raises(StoreError, match=r"spec\.sampling\.top_q"):
        run.spec()


def test_find_runs(tmp_path: Path) -> None:
    runs = [folder(tmp_path, changed("sampling.seed", seed)) for seed in range(3)]
    assert [run.path for run in find_runs(tmp_path)] == sorted(run.path for run in runs)
    assert [run.path for run in find_runs(runs[1].path)] == [runs[1].path]
    for nothing in (tmp_path / "none", runs[0].path / "run.json"):
        with pytest.raises(StoreError, match="no run there"):
            find_runs(nothing)


def test_a_run_records_the_commit_of_the_checkout() -> None:
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode or not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    assert git_sha() == done.stdout.strip()
