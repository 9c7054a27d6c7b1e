"""`run --visual_dependence` on the embedded model, and what the store, tables and bundles show."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli import error_line, here

torch = pytest.importorskip("torch")

from tests.training import counting_rows  # noqa: E402
from vsr1_bench.data.dataset import DataOptions  # noqa: E402
from vsr1_bench.pipeline.dependence import dependence  # noqa: E402
from vsr1_bench.publish.pack import PackOptions  # noqa: E402
from vsr1_bench.publish.publishing import publish  # noqa: E402
from vsr1_bench.publish.unpack import download  # noqa: E402
from vsr1_bench.scoring.statistics import mean_interval  # noqa: E402
from vsr1_bench.store.run_folder import find_runs  # noqa: E402
from vsr1_bench.train.rl.losses import kl_k3  # noqa: E402


def command(folder: Path, *more: object) -> list[object]:
    rows = folder / "rows" / "train.jsonl"
    return [
        *("run", "--model", "tiny", "--backend", "transformers", "--tasks", "custom"),
        *("--dataset", rows, "--judge", "string_match", "--output_path", folder / "runs", *more),
    ]


def stored(folder: Path) -> list[dict[str, Any]]:
    (path,) = (folder / "runs").rglob("dependences.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_response_with_an_image_is_scored_once(tmp_path: Path) -> None:
    counting_rows(tmp_path / "rows")  # 8 questions, two of them without an image
    assert here(*command(tmp_path, "--blind", "drop")).returncode == 0
    assert not [*(tmp_path / "runs").rglob("dependences*")]
    done = here(*command(tmp_path, "--blind", "drop", "--visual_dependence"))
    assert done.returncode == 0 and "loading tiny" in done.stderr
    lines = stored(tmp_path)
    assert len(lines) == 6 and all(line["value"] > 0.1 for line in lines)
    (run,) = (r for r in find_runs(tmp_path / "runs") if r.spec().variant == "none")
    assert {line["key"] for line in lines} < set(run.generations())
    (score,) = run.scores()
    told = score["metrics"]["visual_dependence"]
    assert told["unit"] == "own" and told["n"] == 6
    assert told["value"] == pytest.approx(np.mean([line["value"] for line in lines]))
    assert 0 < told["low"] < told["value"] < told["high"]
    (row,) = (line for line in done.stdout.splitlines() if "| visual_dependence " in line)
    assert f" {told['value']:.4f} " in row
    assert "visual_dependence is in nats per token" in done.stdout
    wide = here("table", tmp_path / "runs", "--columns", "task,visual_dependence")
    assert f"{told['value']:.4f}" in wide.stdout and "nats per token" in wide.stdout

    again = here(*command(tmp_path, "--visual_dependence"))
    assert "loading tiny" not in again.stderr and stored(tmp_path) == lines
    (path,) = (tmp_path / "runs").rglob("dependences.jsonl")
    failed = {**lines[0], "value": None, "error": "an old fault"}
    path.write_text("".join(json.dumps(line) + "\n" for line in [failed, *lines[2:]]))
    assert here(*command(tmp_path, "--visual_dependence")).returncode == 0
    repaired = stored(tmp_path)
    assert [line["key"] for line in repaired[5:]] == [line["key"] for line in lines[:2]]
    assert [line["value"] for line in repaired[5:]] == pytest.approx(
        [line["value"] for line in lines[:2]], abs=1e-5
    )


def test_a_response_with_an_image_token_is_left_out_once(tmp_path: Path) -> None:
    counting_rows(tmp_path / "rows")
    assert here(*command(tmp_path, "--visual_dependence")).returncode == 0
    first = stored(tmp_path)[0]["key"]
    (old,) = (tmp_path / "runs").rglob("dependences.jsonl")
    old.unlink()
    (path,) = (tmp_path / "runs").rglob("generations.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    (run,) = find_runs(tmp_path / "runs")
    place = next(n for n, line in enumerate(lines) if line["key"] == first)
    lines[place]["text"] = "two <|image_pad|> dots"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = here(*command(tmp_path, "--visual_dependence"))
    assert done.returncode == 0, done.stderr
    assert "is not scored: the text holds '<|image_pad|>'" in done.stderr
    (left,) = (line for line in stored(tmp_path) if line["value"] is None)
    assert (left["key"], left["error"]) == (first, None)
    (score,) = run.scores()
    assert score["metrics"]["visual_dependence"]["n"] == 5
    assert "visual_dependence without 1 of 6 responses, not scorable: the text" in done.stdout
    again = here(*command(tmp_path, "--visual_dependence"))
    assert again.returncode == 0 and "loading tiny" not in again.stderr


def test_a_response_that_fills_the_context_is_left_out_once(tmp_path: Path) -> None:
    pytest.importorskip("vllm", reason="backend vllm is not installed here")
    words = [
        *("run", "--model", "tiny", "--backend", "vllm", "--tasks", "demo", "--limit", 3),
        *("--model_args", "dtype=float32,max_model_len=106", "--output_path", tmp_path / "runs"),
        "--visual_dependence",
    ]
    done = here(*words)
    assert done.returncode == 0, done.stderr
    left = [line for line in stored(tmp_path) if line["value"] is None]
    reason = "prompt and response fill the context: 106 tokens, at most 105 can be scored"
    assert [line["unscorable"] for line in left] == [reason] * 2
    assert done.stderr.count("is not scored: prompt and response fill") == 2
    (run,) = find_runs(tmp_path / "runs")
    (score,) = run.scores()
    note = f"visual_dependence without 2 of 3 responses, not scorable: {reason}"
    assert note in score["notes"] and score["metrics"]["visual_dependence"]["n"] == 1
    assert f"tiny, demo: {note}." in done.stdout
    for columns in ("task,visual_dependence", "task"):
        wide = here("table", tmp_path / "runs", "--columns", columns)
        assert (note in wide.stdout) == ("visual" in columns)
    again = here(*words)
    assert again.returncode == 0 and "loading tiny" not in again.stderr
    assert len(stored(tmp_path)) == 3


def test_it_travels_in_a_bundle(tmp_path: Path) -> None:
    demo = ("run", "--model", "tiny", "--backend", "transformers", "--tasks", "demo", "--limit", 4)
    done = here(*demo, "--visual_dependence", "--output_path", tmp_path / "runs")
    assert done.returncode == 0
    runs = find_runs(tmp_path / "runs")
    publish(runs, str(tmp_path / "bundle"), PackOptions(data=DataOptions(), progress=False))
    (other,) = download(str(tmp_path / "bundle"), tmp_path / "other", progress=False).new
    assert other.scores()[0]["metrics"] == runs[0].scores()[0]["metrics"]
    assert [*other.path.glob("dependences*")]


def test_a_backend_without_log_probs_of_prompts_is_refused(tmp_path: Path) -> None:
    counting_rows(tmp_path / "rows")
    script = tmp_path / "script.jsonl"
    script.write_text("")
    done = here(
        *command(tmp_path, "--visual_dependence", "--model_args", f"script={script}"),
        *("--backend", "scripted"),
    )
    assert "backend 'scripted' returns no log-probs of prompts" in error_line(
        done.returncode, 2, done.stderr
    )


def test_the_number_is_that_of_training() -> None:
    rng = torch.Generator().manual_seed(0)
    seen = -4 * torch.rand(50, generator=rng).double()
    unseen = seen + 2 * torch.randn(50, generator=rng).double()
    wanted = float(kl_k3(seen, unseen).mean())
    assert dependence(seen.tolist(), unseen.tolist()) == pytest.approx(wanted, abs=1e-12)
    assert dependence([0.0, -1.0], [-900.0, -1.0]) == 5.0
    assert dependence([0.0], [-1.0]) == pytest.approx(math.exp(-1))


def test_the_interval_is_students_over_clusters() -> None:
    values = np.array([0.5, 1.5, 2.5, 3.5])
    half = 3.1824463 * values.std(ddof=1) / 2
    assert mean_interval(values, np.ones(4)) == pytest.approx((max(0, 2 - half), 2 + half))
    assert mean_interval(2 * values, np.full(4, 2.0)) == pytest.approx((0.0, 2 + half), abs=1e-6)
    assert mean_interval(values[:1], np.ones(1)) is None
