"""What goes wrong in GRPO: odd rows, dead engines, full disks, changed recipes and data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("deepspeed", reason="the train extra is not installed here")

from tests.cli import cli, error_line  # noqa: E402
from tests.training import (  # noqa: E402
    counting_rows,
    metrics,
    settings,
    small_recipe,
    trainer,
)
from tests.two_ranks import small_files  # noqa: E402
from vsr1_bench.errors import DiskFullError, GenerationError, UsageError  # noqa: E402
from vsr1_bench.store.journal import Lock  # noqa: E402
from vsr1_bench.tiny.scenes import make_row  # noqa: E402
from vsr1_bench.train import grpo  # noqa: E402
from vsr1_bench.train.core.ranks import TrainError  # noqa: E402
from vsr1_bench.train.recipe import Recipe  # noqa: E402


def test_a_corrupt_image_is_left_out_and_counted(tmp_path: Path) -> None:
    rows = counting_rows(tmp_path / "rows", 4)
    (tmp_path / "rows/0.png").write_bytes(b"no image")
    changes = {"task": None, "dataset": str(rows), "prompts_per_step": 4, "minibatch_prompts": 4}
    with trainer(small_recipe(tmp_path / "run", max_steps=1, **changes)) as t:
        t.run()
    (told,) = metrics(tmp_path / "run")
    assert told["excluded_share"] == pytest.approx(0.25)
    lines = (tmp_path / "run/rollouts/rank-0.jsonl").read_text().splitlines()
    broken = [line for line in map(json.loads, lines) if line["error"]]
    assert len(broken) == 4 and all(line["reward"] is None for line in broken)
    assert "image cannot be decoded" in broken[0]["error"]


def test_too_many_corrupt_images_are_one_reason_with_their_count(tmp_path: Path) -> None:
    rows = counting_rows(tmp_path / "rows", 4)
    for place in range(3):
        (tmp_path / f"rows/{place}.png").write_bytes(b"no image")
    changes = {"task": None, "dataset": str(rows), "prompts_per_step": 4, "minibatch_prompts": 4}
    with (
        trainer(small_recipe(tmp_path / "run", max_steps=1, **changes)) as t,
        pytest.raises(
            TrainError, match=r"12 of 16 responses failed \(12 x [^;]*image[^;]*png[^;]*, more"
        ),
    ):
        t.run()


def test_a_wrong_setting_is_named_as_the_recipe_names_it(tmp_path: Path) -> None:
    """Before anything is loaded, and not as a flag of an evaluation."""
    flash = "flash_attention_2"
    for changes, said in (
        ({"attention": flash}, f"^attention={flash}: flash attention needs a GPU"),
        ({"engine_args": {"attn_implementation": flash}}, "^engine_args attn_implementation"),
        ({"engine_args": {"batch_sise": 8}}, "^engine_args batch_sise: .*batch_size"),
    ):
        with (
            pytest.raises(UsageError, match=said),
            trainer(small_recipe(tmp_path, dtype="bfloat16", deepspeed="zero2", **changes)),
        ):
            pass


def test_overlong_prompts_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = counting_rows(tmp_path / "rows", 4)
    lines = rows.read_text().splitlines()
    long = json.loads(lines[1])
    lines[1] = json.dumps(long | {"problem": long["problem"] + " word" * 600})
    rows.write_text("\n".join(lines) + "\n")
    changes = {"task": None, "dataset": str(rows), "prompts_per_step": 3, "minibatch_prompts": 3}
    with trainer(small_recipe(tmp_path / "run", max_steps=2, **changes)) as t:
        t.run()
    told = metrics(tmp_path / "run")
    assert sum(step["prompts/overlong"] for step in told) in (1, 2)


def test_an_engine_that_dies_names_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vsr1_bench.generation.transformers_sync import SyncableTransformers

    real, calls = SyncableTransformers.completions, iter(range(100))

    def dying(self: Any) -> Iterator[Any]:
        if next(calls) >= 2:  # the probe's, the first step's
            raise GenerationError("the engine died: CUDA error")
        yield from real(self)

    monkeypatch.setattr(SyncableTransformers, "completions", dying)
    wanted = "the engine died: CUDA error; last complete checkpoint"
    with pytest.raises(TrainError, match=wanted) as e:
        grpo.train(small_recipe(tmp_path, save_every=1))
    assert e.value.exit_code == 75 and "step-000001" in str(e.value)


def test_a_full_disk_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    with trainer(small_recipe(tmp_path, save_every=1, max_steps=1)) as t:
        t.run()
    with (
        trainer(small_recipe(tmp_path, save_every=1)) as t,
        small_files(1 << 20),
        pytest.raises(DiskFullError, match="is the disk full") as error,
    ):
        t.run()
    assert error.value.exit_code == 75 and "\n" not in str(error.value)
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-000001"]
    with trainer(small_recipe(tmp_path)) as t:
        assert t.progress.step == 1


def test_a_trainer_whose_lock_was_taken_over_writes_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, other = grpo.Trainer.step, []

    def step(self: grpo.Trainer, told: Any) -> None:
        real(self, told)
        if self.progress.step == 2:
            (tmp_path / ".lock").unlink()
            other.append(Lock(tmp_path / ".lock"))

    monkeypatch.setattr(grpo.Trainer, "step", step)
    with pytest.raises(TrainError, match=r"after step 2: .*\.lock was .*step-000001"):
        grpo.train(small_recipe(tmp_path, save_every=1, objective="answer_only"))
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-000001"]
    assert [told["step"] for told in metrics(tmp_path)] == [1]
    other[0].check()
    other[0].release()


def scenes(folder: Path, n: int, broken: set[int]) -> Path:
    """Rows of problem / answer / images; of some the image is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for place in range(n):
        row = make_row("train", 4 * place)
        if place not in broken:
            (folder / f"{place}.png").write_bytes(row["image"])
        asked = {"problem": f"<image>{row['question']}", "answer": str(row["answer"])}
        rows.append({"id": str(place), **asked, "images": [f"{place}.png"]})
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def on_rows(folder: Path, file: Path, **changes: Any) -> Recipe:
    told = {"task": None, "dataset": str(file), "objective": "answer_only", "max_tokens": 30}
    told |= {"prompts_per_step": 4, "minibatch_prompts": 4, "samples_per_prompt": 2}
    return small_recipe(folder, **told | changes)


def test_a_step_without_a_usable_response_stops_the_training(tmp_path: Path) -> None:
    file = scenes(tmp_path / "rows", 4, broken={0, 1, 2, 3})
    wanted = r"after step 0: step 1: 8 of 8 responses failed \(8 x .*FileNotFoundError"
    for share in (0.5, 1.0):
        with pytest.raises(TrainError, match=wanted) as error:
            grpo.train(on_rows(tmp_path / "run", file, max_excluded_share=share))
        assert error.value.exit_code == 1 and "\n" not in str(error.value)
    assert not (tmp_path / "run/checkpoints/step-000001").exists()
    (told,) = metrics(tmp_path / "run")
    assert (told["step"], told["excluded_share"]) == (1, 1.0)


def test_a_share_of_failed_responses_stops_the_training_where_the_recipe_says(
    tmp_path: Path,
) -> None:
    file = scenes(tmp_path / "rows", 4, broken={1, 2})
    done = grpo.train(on_rows(tmp_path / "half", file, max_steps=1))  # half is not above half
    assert done.progress.step == 1 and metrics(tmp_path / "half")[0]["excluded_share"] == 0.5
    with pytest.raises(TrainError, match=r"4 of 8 responses.*max_excluded_share=0\.25"):
        grpo.train(on_rows(tmp_path / "quarter", file, max_excluded_share=0.25))


def test_a_resumed_training_on_changed_rows_is_refused(tmp_path: Path) -> None:
    file = scenes(tmp_path / "rows", 4, broken=set())
    lines = file.read_text().splitlines(keepends=True)
    recipe = on_rows(tmp_path / "run", file, save_every=1)
    grpo.train(recipe.model_copy(update={"max_steps": 1}))
    file.write_text("".join(lines[::-1]))
    with pytest.raises(UsageError, match=r"other rows.*--accept_changed_data"):
        grpo.train(recipe)
    assert grpo.train(recipe, accept_changed_data=True).progress.step == 2


def test_what_two_ranks_refuse_alike_is_one_line(tmp_path: Path) -> None:
    changes = settings(prompts_per_step=3, minibatch_prompts=3)
    run = ("train", "grpo", "tiny/vision_sr1", *changes, f"output_dir={tmp_path}", "--nproc", 2)
    done = cli(*run)
    said = error_line(done.returncode, 2, done.stderr)
    assert "minibatch_prompts=3 does not divide over 2 ranks" in said
    assert "torch/distributed/elastic" not in done.stderr  # no report of the launcher's


def test_another_recipe_does_not_continue_a_run(tmp_path: Path) -> None:
    with trainer(small_recipe(tmp_path, save_every=1, max_steps=1)) as t:
        t.run()
    with (
        pytest.raises(UsageError, match=r"lr: 7e-05 -> 0\.1"),
        trainer(small_recipe(tmp_path, lr=0.1)),
    ):
        pass
    mark = tmp_path / "checkpoints/step-000001/complete.json"
    told = json.loads(mark.read_text())
    mark.write_text(json.dumps(told | {"world_size": 2}))
    with (
        pytest.raises(UsageError, match="written by 2 ranks at ZeRO stage 0, this run has 1"),
        trainer(small_recipe(tmp_path)),
    ):
        pass
