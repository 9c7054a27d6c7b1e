"""The cold start on the real engine: plain transformers' step, exact resume, freezing."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from vsr1_bench.errors import TaskError, UsageError

torch = pytest.importorskip("torch")
pytest.importorskip("deepspeed")

from cli import here  # noqa: E402
from PIL import Image  # noqa: E402
from training import SMALL_SFT, metrics, small_sft, weights  # noqa: E402

from vsr1_bench.tiny.scenes import make_row  # noqa: E402
from vsr1_bench.train import sft  # noqa: E402
from vsr1_bench.train.sft_recipe import SftRecipe  # noqa: E402


def trainer(recipe: SftRecipe, stack: ExitStack) -> Any:
    return sft.SftTrainer(recipe, stack)


def sharegpt(folder: Path, n: int = 8) -> Path:
    """Conversations about scenes: two turns, each third one without an image."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for place in range(n):
        row, shown = make_row("train", 4 * place), place % 3 != 2
        (folder / f"{place}.png").write_bytes(row["image"])
        turns = [
            {"from": "human", "value": ("<image>" if shown else "") + row["question"]},
            {"from": "gpt", "value": row["description"]},
            {"from": "human", "value": "And the answer?"},
            {"from": "gpt", "value": f"\\boxed{{{row['answer']}}}"},
        ]
        rows.append({"conversations": turns, "images": [f"{place}.png"] if shown else []})
    file = folder / "rows.json"
    file.write_text(json.dumps(rows))
    return file


@pytest.mark.parametrize("microbatch_tokens", [100_000, 10])
@pytest.mark.parametrize("stage", ["zero0", "zero2"])
def test_loss_and_gradients_are_those_of_plain_transformers(
    tmp_path: Path, stage: str, microbatch_tokens: int
) -> None:
    """Labels by hand, the library's own loss: the mean over learnt tokens of the batch."""
    from transformers import AutoModelForImageTextToText

    data = str(sharegpt(tmp_path / "rows"))
    changes = {"dataset": (data,), "deepspeed": stage, "microbatch_tokens": microbatch_tokens}
    changes |= {"group_batches": 1}  # so that a batch holds both kinds
    with ExitStack() as stack:
        t = trainer(small_sft(tmp_path / "run", **changes), stack)
        rows = t.batches.batch(0).rows
        assert len(rows) == 8 and {row.kind for row in rows} == {"image", "text"}
        plain = AutoModelForImageTextToText.from_pretrained(t.model.path, dtype=torch.float32)
        learnt = sum(len(row.tokens) for row in rows)
        expected = 0.0
        for row in rows:  # one by one: no padding, nothing of ours but the prompt's encoding
            prompt = t.encoder.renderer.render(row.request)
            encoded = dict(
                t.encoder.renderer.processor(
                    text=[prompt.text + t.encoder.tokenizer.decode(row.tokens)],
                    images=prompt.images or None,
                    return_tensors="pt",
                )
            )
            labels = encoded["input_ids"].clone()
            labels[0, : -len(row.tokens)] = -100
            assert labels[0, -len(row.tokens) :].tolist() == list(row.tokens)
            part = plain(**encoded, labels=labels).loss * len(row.tokens) / learnt
            part.backward()
            expected += float(part)
        norm = float(torch.nn.utils.get_total_norm([p.grad for p in plain.parameters()]))
        optimizer = torch.optim.AdamW(
            sft_groups(plain), lr=1e-3, betas=(0.9, 0.98), weight_decay=0.05
        )
        torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        optimizer.step()
        t.step(metric := sft.StepMetrics())
        told = metric.combined(t.ranks)
        assert told["loss"] == pytest.approx(expected, rel=1e-5)
        assert told["grad_norm"] == pytest.approx(norm, rel=1e-4)
        after = dict(plain.named_parameters())
        for name, value in weights(t).items():
            if name in after:  # Adam's first step is lr * sign(gradient): a flip would be 2e-3
                assert (value - after[name]).abs().max() < 5e-5, name


def sft_groups(model: Any) -> list[dict[str, Any]]:
    matrices = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    return [{"params": matrices}, {"params": rest, "weight_decay": 0.0}]


def test_a_prompts_token_never_carries_loss(tmp_path: Path) -> None:
    """Learnt are the reply and the end of the turn, which stand behind the prompt."""
    with ExitStack() as stack:
        t = trainer(small_sft(tmp_path / "run", dataset=(str(sharegpt(tmp_path / "rows")),)), stack)
        rows = t.batches.batch(0).rows + t.batches.batch(1).rows
        end = t.encoder.tokenizer.convert_tokens_to_ids("<|im_end|>")
        for row in rows:
            assert row.tokens[-1] == end and row.tokens.count(end) == 1
            batch = t.encoder.collate([row])
            start = t.encoder.encode(row.request)["input_ids"].shape[1]
            assert batch.places.tolist() == list(range(start - 1, start - 1 + len(row.tokens)))
            assert batch.targets.tolist() == list(row.tokens)
        said = {t.encoder.tokenizer.decode(row.tokens[:-1]) for row in rows}
        asked = [make_row("train", 4 * i) for i in range(8)]
        assert said == {r["description"] for r in asked} | {
            f"\\boxed{{{r['answer']}}}" for r in asked
        }


@pytest.mark.parametrize(("n", "batch_size", "group_batches"), [(9, 4, 2), (6, 4, 8), (3, 4, 2)])
def test_a_pass_has_each_conversation_once(
    tmp_path: Path, n: int, batch_size: int, group_batches: int
) -> None:
    """However few there are: sorted by length, a batch of several passes would repeat some."""
    data = (str(sharegpt(tmp_path / "rows", n)),)
    changes = {"dataset": data, "batch_size": batch_size, "group_batches": group_batches}
    with ExitStack() as stack:
        t = trainer(small_sft(tmp_path / "run", schedule_steps=None, epochs=2, **changes), stack)
        assert t.recipe.steps == 2 * -(-n // batch_size)
        batches = [t.batches.batch(step).rows for step in range(t.recipe.steps)]
    assert max(map(len, batches)) <= 2 * batch_size  # a conversation is two examples
    passes = batches[: len(batches) // 2], batches[len(batches) // 2 :]
    for each in passes:
        assert len({(row.tokens, row.request.messages) for rows in each for row in rows}) == 2 * n
        assert sum(map(len, each)) == 2 * n


def test_a_run_can_follow_an_engine_that_ended_the_process_group(tmp_path: Path) -> None:
    """As vLLM does when it closes in this process, with DeepSpeed's groups still in it."""
    recipe = small_sft(tmp_path / "run", dataset=(str(sharegpt(tmp_path / "rows")),))
    for _ in range(2):
        with ExitStack() as stack:
            trainer(recipe, stack)
        torch.distributed.destroy_process_group()


def test_a_resumed_run_is_the_run(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    sft.train(small_sft(whole))
    sft.train(small_sft(cut, max_steps=1))
    sft.train(small_sft(cut, max_steps=3, save_every=2))
    (cut / "checkpoints/step-000003/complete.json").unlink()  # as if killed while saving
    done = sft.train(small_sft(cut))
    assert done.steps == 4
    for one, other in zip(metrics(whole), metrics(cut), strict=True):
        assert (one["step"], one["loss"], one["lr"]) == (other["step"], other["loss"], other["lr"])
    model = "checkpoints/step-000004/model/model.safetensors"
    assert (whole / model).read_bytes() == (cut / model).read_bytes()
    with pytest.raises(UsageError, match=r"lr: 0\.001 -> 0\.1"):
        sft.train(small_sft(cut, lr=0.1))


def test_the_command_says_what_was_trained(tmp_path: Path) -> None:
    """Also where fewer steps are wanted than there are: nothing is trained then."""
    told = [f"{key}={value}" for key, value in SMALL_SFT.items()]
    for steps, said in (
        (2, "trained 2 steps; "),
        (3, "trained 3 steps, 2 of them before; "),
        (1, "trained nothing: the checkpoint has 3 steps already, max_steps is 1; "),
    ):
        wanted = (f"max_steps={steps}", f"output_dir={tmp_path}")
        done = here("train", "sft", "tiny/cold_start", *told, *wanted)
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"{said}curves: vsr1-bench view {tmp_path}\n"


@pytest.mark.parametrize("frozen", [("vision", "projector"), ("language",), ("projector",)])
def test_frozen_parts_stay_and_the_others_move(tmp_path: Path, frozen: tuple[str, ...]) -> None:
    from vsr1_bench.train.core.engine import part_of

    with ExitStack() as stack:
        t = trainer(small_sft(tmp_path, freeze=frozen, max_steps=2), stack)
        before = weights(t)
        t.run()
        moved = {part_of(n) for n, v in weights(t).items() if not torch.equal(v, before[n])}
    assert moved == {"vision", "projector", "language"} - set(frozen)


def test_what_cannot_be_learnt_is_left_out_and_counted(tmp_path: Path) -> None:
    rows = json.loads(sharegpt(tmp_path / "rows").read_text())
    rows[0]["conversations"][1]["value"] = "red " * 2000
    rows[1]["images"] = ["nowhere.png"]
    rows[2]["conversations"] = rows[2]["conversations"][:1]
    file = tmp_path / "rows/rows.json"
    file.write_text(json.dumps(rows))
    changes = {"dataset": (str(file),), "max_steps": 1}
    sft.train(small_sft(tmp_path / "run", **changes))
    (told,) = metrics(tmp_path / "run")
    assert told["examples/overlong"] == 2  # the reply, and the turn that has it in its prompt
    assert told["examples/unusable"] == 2
    changes |= {"group_batches": 1, "schedule_steps": None, "epochs": 2, "max_steps": None}
    sft.train(small_sft(tmp_path / "passes", **changes))
    assert sum(one["examples/overlong"] for one in metrics(tmp_path / "passes")) == 4
    file.write_text(json.dumps([rows[2]] * 3))
    with pytest.raises(TaskError, match=r"0 of 3 conversations .* no assistant's turn"):
        sft.train(small_sft(tmp_path / "none", **changes))


def odd_rows(folder: Path) -> Path:
    """Eight conversations, of which the model or its processor refuses six."""
    rows = json.loads(sharegpt(folder).read_text())
    Image.new("RGB", (2, 900)).save(folder / "tall.png")
    (folder / "cut.png").write_bytes((folder / "0.png").read_bytes()[:60])
    first, asked, said = (row["conversations"] for row in (rows[0], rows[1], rows[2]))
    first[1]["value"] = "it is <|image_pad|> here"
    asked[0]["value"] += " Is <|video_pad|> it?"
    said[0]["value"] += " <|vision_start|><|image_pad|><|vision_end|>"  # without an image
    rows[3]["images"] = ["tall.png"]
    rows[4]["images"] = ["cut.png"]
    rows[6]["images"] = [{"path": None, "bytes": "aGVsbG8="}]
    file = folder / "rows.json"
    file.write_text(json.dumps(rows))
    return file


def test_what_the_processor_or_the_model_refuses_is_left_out_and_counted(tmp_path: Path) -> None:
    changes = {"dataset": (str(odd_rows(tmp_path / "rows")),), "max_steps": 1, "batch_size": 8}
    done = sft.train(small_sft(tmp_path / "run", group_batches=1, **changes))
    assert done.progress.step == 1
    (told,) = metrics(tmp_path / "run")
    # Conversations of the pass, with the one whose image the processor refuses by its size.
    assert told["examples/unusable"] == 6


def test_where_nothing_can_be_learnt_the_count_is_still_told(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "<image>?"}, {"from": "gpt", "value": "red"}]
    file = tmp_path / "rows.jsonl"
    row = {"conversations": turns}
    file.write_text("".join(json.dumps(row | {"images": i}) + "\n" for i in (None, [], [None])))
    for _ in range(2):  # a second start tells it once more, not twice
        with pytest.raises(TaskError, match=r"0 of 3 conversations.*image 1 of 1 is null"):
            sft.train(small_sft(tmp_path / "run", dataset=(str(file),), batch_size=3))
        (told,) = metrics(tmp_path / "run")
        assert told["examples/unusable"] == 3


def test_a_training_on_changed_rows_is_refused_until_it_is_told_to_go_on(tmp_path: Path) -> None:
    file = sharegpt(tmp_path / "rows")
    rows = json.loads(file.read_text())

    def run(steps: int, **flags: bool) -> None:
        changes = {"dataset": (str(file),), "max_steps": steps}
        sft.train(small_sft(tmp_path / "run", **changes), **flags)

    run(1)
    file.write_text(json.dumps(rows, indent=2))  # the same rows, written in another way
    run(2)
    file.write_text(json.dumps(rows[::-1]))
    with pytest.raises(UsageError, match=r"other rows.*order.*--accept_changed_data"):
        run(3)
    run(3, accept_changed_data=True)
    run(4)  # from here on these are its rows
    (tmp_path / "rows/0.png").write_bytes((tmp_path / "rows/1.png").read_bytes())
    with pytest.raises(UsageError, match="other rows"):
        run(4)


def test_freezing_everything_or_nothing_there_is_refused(tmp_path: Path) -> None:
    with ExitStack() as stack, pytest.raises(UsageError, match="nothing of tiny is left to train"):
        trainer(small_sft(tmp_path, freeze=("vision", "projector", "language")), stack)


def test_from_random_weights_the_mixture_is_learnt(tmp_path: Path) -> None:
    """The loss of the first steps falls by over a third; vocabulary and weights are made there."""
    changes = {"model": "tiny/untrained", "schedule_steps": 16, "batch_size": 16, "lr": 2e-3}
    sft.train(small_sft(tmp_path, group_batches=4, **changes))
    losses = [told["loss"] for told in metrics(tmp_path)]
    assert losses[0] > 6 and sum(losses[-3:]) / 3 < 0.67 * losses[0]
