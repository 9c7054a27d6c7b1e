"""`publish --parquet`: what the hub's viewer shows is what is published, and no more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from bundles import Bundle, files_below, made_run
from cli import here
from picture_runs import both, plugins, run_and_score

from vsr1_bench.publish.unpack import download


def publish(root: Path, *flags: object) -> str:
    done = here("publish", root / "runs", "--to", root / "bundle", *flags)
    assert done.returncode == 0, done.stderr
    return done.stderr


def viewed(bundle: Path, kind: str) -> list[dict[str, Any]]:
    """The rows that the hub would show, found as it finds them: by the head of the card."""
    from datasets import load_dataset

    head = (bundle / "README.md").read_text("utf-8").split("---\n")[1]
    (config,) = (c for c in yaml.safe_load(head)["configs"] if c["config_name"] == kind)
    files = {one["split"]: str(bundle / one["path"]) for one in config["data_files"]}
    cache = str(bundle.parent / f"cache-{len(list(bundle.parent.glob('cache-*')))}")
    return list(load_dataset("parquet", data_files=files, split="test", cache_dir=cache))


def parquet_files(root: Path) -> list[str]:
    return [name for name in files_below(root / "bundle") if name.startswith("parquet/")]


def test_gold_answers_and_judges_words_stay_here(tmp_path: Path) -> None:
    run = made_run(tmp_path)
    (journal,) = (run.path / "judgments").glob("*.jsonl")
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    lines[0]["raw"] = lines[0]["verdict"]["reason"] = "the gold answer is MARK"
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    publish(tmp_path, "--parquet", "--model", "org/public")
    found = viewed(tmp_path / "bundle", "samples")
    assert len(found) == 12 and {row["answer"] for row in found} == {None}
    assert {row["model"] for row in found} == {"org/public"}
    assert "MARK" not in json.dumps(found) and found[0]["judgments"][0]["reply"] == "withheld"
    assert found[0]["question"] == "0 + 0?" and found[0]["verdict"] == "correct"
    (score,) = run.scores()
    told = {row["metric"]: row["value"] for row in viewed(tmp_path / "bundle", "scores")}
    assert told["accuracy"] == score["metrics"]["accuracy"]["value"]
    (copy,) = download(str(tmp_path / "bundle"), tmp_path / "copy", progress=False).new
    assert not (copy.path / "parquet").exists()


def test_images_are_there_if_they_are_published(tmp_path: Path) -> None:
    run_and_score(tmp_path, [x for n in range(3) for x in both(n, sufficient=True, right=True)], 3)
    flags = ["--parquet", "--include_path", plugins(tmp_path)]
    publish(tmp_path, *flags)
    assert [row["images"] for row in viewed(tmp_path / "bundle", "samples")] == [[None]] * 3
    publish(tmp_path, *flags, "--with_images", "--with_golds")
    found = viewed(tmp_path / "bundle", "samples")
    assert [row["images"][0].size for row in found] == [(40, 30)] * 3
    assert [row["answer"] for row in found] == ["0", "1", "2"]


def test_parquet_never_says_more_than_the_last_publication(tmp_path: Path) -> None:
    run = made_run(tmp_path)
    publish(tmp_path, "--parquet", "--with_golds")
    stem = f"org--model--{run.path.name}"
    own = [f"parquet/samples/{stem}.parquet", f"parquet/scores/{stem}.parquet"]
    assert sorted(parquet_files(tmp_path)) == own
    made_run(tmp_path / "second", "org/other")
    done = here("publish", tmp_path / "second/runs", "--to", tmp_path / "bundle", "--parquet")
    assert done.returncode == 0 and len(parquet_files(tmp_path)) == 4
    publish(tmp_path)  # without --with_golds, and without --parquet
    assert len(parquet_files(tmp_path)) == 2 and not set(own) & set(parquet_files(tmp_path))
    assert len(Bundle(tmp_path / "bundle").manifest["runs"]) == 2


def test_a_page_that_is_there_stays(tmp_path: Path) -> None:
    made_run(tmp_path)
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle/README.md").write_text("mine\n")
    assert "its README.md stays as it is; so that the hub shows" in publish(tmp_path, "--parquet")
    assert (tmp_path / "bundle/README.md").read_text() == "mine\n"


@pytest.mark.parametrize("link", ["parquet", "README.md"])
def test_nothing_is_written_through_a_link(tmp_path: Path, link: str) -> None:
    made_run(tmp_path)
    (tmp_path / "bundle").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "bundle" / link).symlink_to(tmp_path / "elsewhere")
    done = here("publish", tmp_path / "runs", "--to", tmp_path / "bundle", "--parquet")
    assert done.returncode != 0 and "a link" in done.stderr
    assert files_below(tmp_path / "elsewhere") == []
