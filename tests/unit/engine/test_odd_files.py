"""Links that are followed, and FIFOs and devices that are refused rather than waited for."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from bundles import made_run, mirror
from cli import cli

from vsr1_bench.data.dataset import DataOptions, open_data
from vsr1_bench.data.rows import mirror_files
from vsr1_bench.errors import ModelError, StoreError, TaskError
from vsr1_bench.generation.models import describe_folder
from vsr1_bench.records import EncodedImage
from vsr1_bench.registry import get_task
from vsr1_bench.store.run_folder import find_runs
from vsr1_bench.task import Source, example_image


def linked(tmp_path: Path) -> Path:
    """Two models' runs, one behind a link to another disk."""
    made_run(tmp_path, "org/near")
    made_run(tmp_path, "org/far")
    (tmp_path / "disk").mkdir()
    (tmp_path / "runs/org--far").rename(tmp_path / "disk/org--far")
    (tmp_path / "runs/org--far").symlink_to(tmp_path / "disk/org--far")
    return tmp_path / "runs"


def test_a_linked_model_folder_is_seen_by_every_command(tmp_path: Path) -> None:
    runs = linked(tmp_path)
    assert {run.spec().model.id for run in find_runs(runs)} == {"org/near", "org/far"}
    for words in (
        ("table", runs),
        ("score", runs),
        ("judge", runs, "--judge", "mathruler"),
        ("ls", "runs", runs),
        ("agreement", runs, "--judges", "string_match,mathruler"),
        ("publish", runs, "--to", tmp_path / "bundle"),
    ):
        done = cli(*words)
        assert done.returncode == 0, done.stderr
        said = done.stdout + done.stderr
        wanted = {"publish": "2 runs", "agreement": "of 24"}.get(str(words[0]), "org/far")
        assert wanted in said, said


def test_links_in_a_circle_and_two_links_to_one_folder_end(tmp_path: Path) -> None:
    runs = linked(tmp_path)
    (runs / "org--near/up").symlink_to(runs)
    (runs / "again").symlink_to(tmp_path / "disk/org--far")
    found = [run.spec().model.id for run in find_runs(runs)]
    assert sorted(found) == ["org/far", "org/near"]
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/self").symlink_to(tmp_path / "empty")
    (tmp_path / "empty/lost").symlink_to(tmp_path / "nowhere")
    with pytest.raises(StoreError, match="no run there"):
        find_runs(tmp_path / "empty")


def test_what_is_on_its_way_is_no_run(tmp_path: Path) -> None:
    runs = linked(tmp_path)
    shutil.copytree(runs / "org--near", runs / ".download/whole/org--near")
    assert len(find_runs(runs)) == 2


@pytest.mark.parametrize("kind", ["fifo", "device"])
def test_rows_are_not_waited_for(tmp_path: Path, kind: str) -> None:
    path = mirror(tmp_path) / "openai/gsm8k/main/test.jsonl"
    odd(path, kind)
    with pytest.raises(TaskError, match=r"test\.jsonl: not a regular file"):
        mirror_files(Source("openai/gsm8k", "test"), "main", tmp_path / "mirror")
    with pytest.raises(TaskError, match=r"test\.jsonl: not a regular file"):
        open_data(get_task("gsm8k"), DataOptions(tmp_path / "mirror", offline=True))


@pytest.mark.parametrize("kind", ["fifo", "device"])
def test_an_image_is_not_waited_for(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(example_image().read())
    assert EncodedImage(path=path).read()[:4] == b"\x89PNG"
    (tmp_path / "link.png").symlink_to(path)
    assert EncodedImage(path=tmp_path / "link.png").read()[:4] == b"\x89PNG"
    odd(path, kind)
    with pytest.raises(OSError, match="not a regular file"):
        EncodedImage(path=path).read()
    with pytest.raises(FileNotFoundError):
        EncodedImage(path=tmp_path / "none.png").read()


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
@pytest.mark.parametrize("kind", ["fifo", "device"])
def test_a_model_folder_is_not_waited_for(tmp_path: Path, name: str, kind: str) -> None:
    for file in ("config.json", "model.safetensors", "tokenizer.json"):
        (tmp_path / file).write_text(json.dumps({}))
    describe_folder(tmp_path, "m")
    odd(tmp_path / name, kind)
    with pytest.raises(ModelError, match=r"not a regular file|no config\.json"):
        describe_folder(tmp_path, "m")


def odd(path: Path, kind: str) -> None:
    path.unlink()
    if kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
