"""The GRPO command with rollouts by vLLM: ten steps alone, three on two ranks, a kill between."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hub import Hub, Repositories

psutil = pytest.importorskip("psutil")
torch = pytest.importorskip("torch")
pytest.importorskip("deepspeed", reason="the train extra is not installed here")
pytest.importorskip("vllm", reason="backend vllm is not installed here")

from safetensors.torch import load_file  # noqa: E402

from tests.cli import cli, command, error_line  # noqa: E402
from tests.training import EAGER, metrics, settings, small_recipe, small_sft, trainer  # noqa: E402
from tests.tree import ROOT  # noqa: E402
from tests.two_ranks import HUB_ID, KILLED, MASKED, PUBLISHED, REFUSED, SFT, TWO, WAYS  # noqa: E402
from vsr1_bench.generation.models import ModelInfo  # noqa: E402
from vsr1_bench.generation.transformers_args import TransformersArgs  # noqa: E402
from vsr1_bench.generation.transformers_sync import SyncableTransformers  # noqa: E402
from vsr1_bench.task import example_image  # noqa: E402
from vsr1_bench.train import sft  # noqa: E402
from vsr1_bench.train.core.checkpoints import read_mark  # noqa: E402
from vsr1_bench.train.recipe import Recipe  # noqa: E402

RECIPE = "tiny/decoupled"
VLLM = {"backend": "vllm", "engine_args": {"max_model_len": 512}}


@pytest.fixture(scope="module", autouse=True)
def _one_thread_a_process() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="module")
def ten_steps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ten")
    told = settings(**VLLM, max_steps=10, save_every=4, eval_every=5, eval_limit=8)
    done = cli("train", "grpo", RECIPE, *told, f"output_dir={folder}", timeout=400)
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"curves: vsr1-bench view {folder}" in done.stdout
    return folder


def test_ten_steps_are_made_proved_validated_and_drawn(ten_steps: Path) -> None:
    told = metrics(ten_steps)
    assert [int(step["step"]) for step in told] == list(range(11))  # the first is a validation
    for step in told:
        assert step["proof/mismatch_max"] <= step["proof/bound"] == 1e-4
    trained = told[1:]
    # A stale engine would be off by the distance: the proof tells each step from the one before.
    assert sum(s["proof/distance"] > 100 * s["proof/mismatch_max"] for s in trained) >= 9
    assert all(s["mismatch/max"] < 1e-4 and s["ratio_max"] == 1 for s in trained)
    names = "reward/accuracy reward/description_accuracy advantage/abs zero_variance_share entropy "
    names += "kl clip/low_share clip/high_share length/first length/second truncated_share/first "
    names += "seconds/generate seconds/read seconds/update seconds/sync seconds/proof grad_norm "
    names += "tokens_per_second memory/host_gb loss"
    assert all(name in step for step in trained for name in names.split())
    assert [int(s["step"]) for s in told if "validation/demo" in s] == [0, 5, 10]
    assert (ten_steps / "curves.png").stat().st_size > 10_000
    runs = list((ten_steps / "validation").glob("step-*/demo-*/scores/*.json"))
    assert len(runs) == 3


def test_rollouts_are_journalled_with_their_reasons(ten_steps: Path) -> None:
    lines = (ten_steps / "rollouts/rank-0.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert len(records) == 10 * 2 * 4
    for record in records:
        right = record["reasons"]["accuracy"].startswith("correct")
        assert record["components"]["accuracy"] == float(right)
        assert (record["read"] is None) == (record["description"] is None)


def test_the_engines_sleep_and_share_of_memory_may_change_on_resume(
    ten_steps: Path, tmp_path: Path
) -> None:
    changes: dict[str, Any] = {"sleep_level": 1}
    changes["engine_args"] = EAGER | {"gpu_memory_utilization": 0.4}
    run = tmp_path / "run"
    shutil.copytree(ten_steps, run)
    shutil.rmtree(run / "checkpoints/step-000010")
    told = settings(**VLLM | changes, max_steps=10, save_every=4)
    done = cli("train", "grpo", RECIPE, *told, f"output_dir={run}", timeout=400)
    assert done.returncode == 0, done.stderr[-3000:]
    for whole, resumed in zip(metrics(ten_steps)[9:], metrics(run)[9:], strict=True):
        assert whole["step"] == resumed["step"] > 8
        assert whole["tokens_trained"] == resumed["tokens_trained"]
        for name in ("loss", "grad_norm", "entropy"):
            assert resumed[name] == pytest.approx(whole[name], abs=1e-4)


def test_checkpoints_are_kept_and_exported_bit_equal(ten_steps: Path, tmp_path: Path) -> None:
    kept = sorted(p.name for p in (ten_steps / "checkpoints").iterdir())
    assert kept[-2:] == ["step-000008", "step-000010"] and len(kept) <= 3
    out = tmp_path / "model"
    done = cli("train", "export", ten_steps / "checkpoints/step-000010", out)
    assert done.returncode == 0, done.stderr
    with SyncableTransformers(
        ModelInfo("out", "f", path=out), TransformersArgs(dtype="float32")
    ) as loaded:
        exported = dict(loaded.model.named_parameters())
        states = ten_steps / "checkpoints/step-000010/deepspeed/mp_rank_00_model_states.pt"
        module = torch.load(states, map_location="cpu", weights_only=False)["module"]
        assert len(exported) == 80
        for name, value in exported.items():
            assert torch.equal(value, module[f"policy.{name}"]), name
    run = ("--backend", "transformers", "--tasks", "demo", "--limit", 4, "--output_path", tmp_path)
    evaluated = cli("--model", out, *run, timeout=120)
    assert evaluated.returncode == 0 and "4/4" in evaluated.stdout, evaluated.stderr
    again = cli("train", "export", ten_steps, out)
    assert "is not empty; give a new folder" in error_line(again.returncode, 2, again.stderr)
    (ten_steps / "checkpoints/step-000008/model/config.json").unlink()
    bad = cli("train", "export", ten_steps / "checkpoints/step-000008", tmp_path / "x")
    assert "missing or truncated" in error_line(bad.returncode, 1, bad.stderr)


def kill_after(arguments: list[str], sign: Callable[[], bool], within: float) -> None:
    """Start a command, and kill it soon after a sign of it; its processes end with it."""
    process, children = psutil.Popen(arguments, stderr=subprocess.DEVNULL), []
    try:
        deadline = time.monotonic() + 400
        while not sign() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.01)
        time.sleep(within * random.random())
        children = process.children(recursive=True)
    finally:
        process.kill()
        process.wait()
        _, alive = psutil.wait_procs(children, timeout=30)
        for each in alive:
            each.kill()
    assert not alive


def lines(folder: Path) -> list[str]:
    """Those of metrics.jsonl; the last one may be cut off."""
    journal = folder / "metrics.jsonl"
    return journal.read_text().splitlines() if journal.is_file() else []


def steps_of(folder: Path) -> list[dict[str, float]]:
    """The metrics of a run, but for what the clock and the machine decide."""
    timed = ("seconds/", "memory/", "tokens_per_second")
    return [{k: v for k, v in s.items() if not k.startswith(timed)} for s in metrics(folder)]


def test_a_killed_run_with_vllm_continues_to_rounding(ten_steps: Path, tmp_path: Path) -> None:
    """Which requests share a batch depends on when images are decoded: the last bits may differ."""
    run = ["train", "grpo", RECIPE, *settings(**VLLM, max_steps=4, save_every=1)]
    run.append(f"output_dir={tmp_path}")
    kill_after(command(*run), lambda: len(lines(tmp_path)) >= 2, 0.3)
    assert 2 <= len(lines(tmp_path)) < 4
    done = cli(*run, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    for whole, killed in zip(metrics(ten_steps)[1:5], metrics(tmp_path), strict=True):
        for name in ("step", "reward/total", "length/first", "length/second", "tokens_trained"):
            assert whole[name] == killed[name]
        for name in ("loss", "grad_norm", "entropy"):
            assert killed[name] == pytest.approx(whole[name], abs=1e-4)


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on two ranks that is killed; then all of `tests/two_ranks.py`, in one start."""
    folder = tmp_path_factory.mktemp("two")
    killed, told = folder / "killed", settings(**TWO, **KILLED)
    run = command("train", "grpo", RECIPE, *told, f"output_dir={killed}", "--nproc", 2)
    kill_after(run, (killed / "checkpoints/step-000001").is_dir, 0.4)
    assert len(lines(killed)) in (1, 2)
    repositories = Repositories(tmp_path_factory.mktemp("hub"))
    repositories.add(HUB_ID, None, "train", hub_rows(), images=("images",))
    launch = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    with Hub(repositories.write()) as hub:
        done = subprocess.run(
            [*launch, "-m", "tests.two_ranks", str(folder)],
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
            cwd=ROOT,
            env=hub.environment(folder / "home"),
        )
        asked = [{"method": method, "path": path} for _, method, path in hub.asked]
    assert done.returncode == 0, done.stderr[-3000:]
    (folder / "asked.json").write_text(json.dumps(asked))
    return folder


def hub_rows() -> list[dict[str, Any]]:
    """Questions with one image, several and none, in the columns of a training set."""
    image = example_image()
    rows: list[dict[str, Any]] = []
    for number in range(6):
        shown = number % 3
        marks = "<image>" * shown
        told = {"problem": f"{marks}How many dots, {number}?", "answer": "2"}
        rows.append({**told, "images": (image,) * shown})
    return sorted(rows, key=lambda row: -len(row["images"]))  # columns are typed by the first


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As in the processes beside which this one is compared: sums depend on their order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def steps_here(recipe: Recipe) -> Path:
    """Train in this process."""
    with trainer(recipe) as here:
        here.run()
    return recipe.output_dir


def exported(folder: Path) -> dict[str, Any]:
    """The weights of the newest checkpoint."""
    newest = sorted((folder / "checkpoints").iterdir())[-1]
    return dict(load_file(newest / "model/model.safetensors"))


def test_two_ranks_are_proved_on_every_step(two_ranks: Path) -> None:
    for way in WAYS:
        told = metrics(two_ranks / way)
        assert [step["step"] for step in told] == [1, 2, 3]
        for step in told:
            assert step["proof/mismatch_max"] <= step["proof/bound"] == 1e-4
            assert step["proof/distance"] > 100 * step["proof/mismatch_max"]
            assert step["mismatch/max"] < 1e-4
        for rank in (0, 1):
            journal = two_ranks / way / f"rollouts/rank-{rank}.jsonl"
            assert len(journal.read_text().splitlines()) == 3 * 4


@pytest.mark.usefixtures("one_thread")
def test_two_ranks_make_the_steps_of_one(two_ranks: Path, tmp_path: Path) -> None:
    alone = steps_here(small_recipe(tmp_path, **TWO, deepspeed="zero2"))
    losses = [step["loss"] for step in metrics(alone)]
    assert max(map(abs, losses)) > 1e-4
    for way in ("zero2", "zero3"):
        assert [s["loss"] for s in metrics(two_ranks / way)] == pytest.approx(losses, abs=1e-5)
        ours, theirs = exported(two_ranks / way), exported(alone)
        assert ours.keys() == theirs.keys()
        assert max(float((ours[n] - theirs[n]).abs().max()) for n in ours) < 2e-5


@pytest.mark.usefixtures("one_thread")
def test_masked_images_on_two_ranks_are_those_of_one(two_ranks: Path, tmp_path: Path) -> None:
    alone = metrics(steps_here(small_recipe(tmp_path, **TWO | MASKED | {"deepspeed": "zero2"})))
    for ours, theirs in zip(metrics(two_ranks / "masked"), alone, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-5)
        assert ours["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-3)
        told = [step["visual_dependence"] for step in (ours, theirs)]
        assert told[0] == pytest.approx(told[1], rel=1e-3) and told[0] > 0.1


@pytest.mark.usefixtures("one_thread")
def test_a_cold_start_on_two_ranks_is_that_of_one(two_ranks: Path, tmp_path: Path) -> None:
    sft.train(small_sft(tmp_path, **SFT))
    for ours, theirs in zip(metrics(two_ranks / "sft"), metrics(tmp_path), strict=True):
        assert ours["tokens_learnt"] == theirs["tokens_learnt"]
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-5)
        assert ours["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-3)


def test_no_rank_holds_a_second_whole_copy_while_a_model_loads(two_ranks: Path) -> None:
    """The first one reads policy and reference, and sends one parameter after another."""
    for way in ("zero2", "zero3"):
        first, other = (
            json.loads((two_ranks / way / f"loaded-{rank}.json").read_text()) for rank in (0, 1)
        )
        assert (first["read"], other["read"]) == (2, 0)
        assert first["total"] == other["total"] > 5 * other["largest"]
        if way == "zero2":
            assert other["whole"] == other["total"] and other["kept"] == 2 * other["total"]
            continue
        assert other["whole"] == other["largest"]
        for rank in (first, other):  # halves of both models, each parameter rounded up
            assert rank["kept"] == pytest.approx(rank["total"], rel=1e-3)


def published(folder: Path, world: int, two: Path) -> Path:
    """One step in the published shape on so many ranks."""
    if world == 1:
        return steps_here(small_recipe(folder, **PUBLISHED))
    if world == 2:
        return two / "published"
    done = subprocess.run(
        [sys.executable, "-m", "tests.two_ranks", str(folder), str(world)],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.usefixtures("one_thread")
def test_the_published_shape_on_one_two_and_four_ranks(two_ranks: Path, tmp_path: Path) -> None:
    """In bfloat16, where another division of the work rounds otherwise."""
    runs = [published(tmp_path / str(world), world, two_ranks) for world in (1, 2, 4)]
    told = [one for run in runs for one in metrics(run)]
    assert [one["step"] for one in told] == [1, 1, 1]
    for run, world, one in zip(runs, (1, 2, 4), told, strict=True):
        assert one["proof/mismatch_mean"] <= one["proof/bound"] == 0.3 and one["proof/distance"] > 0
        assert 0 < one["kl"] < 1e-3  # of the later minibatches: the policy has left the reference
        assert one["ratio_max"] > 1 and one["length/second"] > 0
        assert one["grad_norm"] == pytest.approx(told[0]["grad_norm"], rel=0.2)
        journals = [run / f"rollouts/rank-{rank}.jsonl" for rank in range(world)]
        said = [[json.loads(line) for line in file.read_text().splitlines()] for file in journals]
        assert {len(lines) for lines in said} == {16 * 2 // world}
        asked = sorted((line["sample_id"], line["index"]) for lines in said for line in lines)
        if world == 1:
            alone, before = asked, exported(run)
        assert asked == alone
        ours = exported(run)
        assert {value.dtype for value in ours.values()} == {torch.bfloat16}
        assert max(float((ours[n] - before[n]).abs().max()) for n in ours) < 1e-2


def test_a_run_killed_on_two_ranks_continues_the_trajectory(two_ranks: Path) -> None:
    """Bit for bit, rollouts and both ranks' random numbers included."""
    whole, killed = two_ranks / "zero2", two_ranks / "killed"
    assert len(steps_of(whole)) == 3 and steps_of(whole) == steps_of(killed)
    for rank in (0, 1):
        journals = [f / f"rollouts/rank-{rank}.jsonl" for f in (whole, killed)]
        assert journals[0].read_bytes() == journals[1].read_bytes()
    ours, theirs = exported(whole), exported(killed)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_rows_of_a_hub_are_trained_on_and_one_rank_downloads_them(two_ranks: Path) -> None:
    (told,) = metrics(two_ranks / "hub")
    assert told["prompts/unusable"] == 0 and told["tokens_trained"] > 0
    asked = json.loads((two_ranks / "asked.json").read_text())
    files = [a for a in asked if a["method"] == "GET" and a["path"].endswith(".parquet")]
    assert len(files) == 1 and HUB_ID in files[0]["path"]
    for rank in (0, 1):
        journal = two_ranks / f"hub/rollouts/rank-{rank}.jsonl"
        said = [json.loads(line) for line in journal.read_text().splitlines()]
        assert len(said) == 4 and all(line["error"] is None for line in said)


@pytest.mark.parametrize("stage", REFUSED)
def test_a_disk_that_refuses_one_rank_ends_all_of_them(two_ranks: Path, stage: str) -> None:
    """By one line, of the first rank, and with the last checkpoint as it was."""
    run = two_ranks / f"refused-{stage}"
    first, other = (json.loads(Path(f"{run}-{rank}.json").read_text()) for rank in (0, 1))
    assert other == {"error": None, "code": 0}
    assert first["code"] == 75 and "\n" not in first["error"]
    whose = f"rank {REFUSED[stage]}: " if REFUSED[stage] else ""
    assert f"after step 2: {whose}{run}/checkpoints/.step-000002.tmp: not written" in first["error"]
    assert first["error"].endswith(
        f"is the disk full?; last complete checkpoint: {run}/checkpoints/step-000001"
    )
    assert [p.name for p in (run / "checkpoints").iterdir()] == ["step-000001"]
    read_mark(run / "checkpoints/step-000001")


def test_an_engine_that_takes_no_weights_on_one_rank_ends_all_of_them(two_ranks: Path) -> None:
    """The others do not wait for it in the gathers of ZeRO-3."""
    first, other = (json.loads((two_ranks / f"deaf-{rank}.json").read_text()) for rank in (0, 1))
    assert other == {"error": None, "code": 0}
    said = "after step 1: rank 1: the engine has no parameter model.language_model.layers."
    assert first["code"] == 75 and first["error"].startswith(said)


@pytest.mark.usefixtures("one_thread")
def test_a_killed_run_continues_the_trajectory_of_one_that_was_not(tmp_path: Path) -> None:
    """Bit for bit, in one process and fp32 (transformers rollouts; vLLM's batches vary)."""
    changes = {"max_steps": 8, "save_every": 2, "epochs": 2, "minibatch_prompts": 1}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    arguments = command("train", "grpo", RECIPE, *settings(**changes), f"output_dir={killed}")
    kill_after(arguments, lambda: len(lines(killed)) >= 3, 0.6)
    assert 3 <= len(lines(killed)) < 8
    steps_here(small_recipe(killed, **changes))
    steps_here(small_recipe(whole, **changes))
    assert len(steps_of(whole)) == 8 and steps_of(whole) == steps_of(killed)
    rollouts = [(f / "rollouts/rank-0.jsonl").read_text() for f in (whole, killed)]
    assert rollouts[0] == rollouts[1]
    ours, theirs = exported(whole), exported(killed)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
