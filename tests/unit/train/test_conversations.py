"""What a row of conversations teaches: who said what, where images stand, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vsr1_bench.data.training_rows import open_rows
from vsr1_bench.errors import RowError, TaskError, UsageError
from vsr1_bench.prompts.formats import get_format
from vsr1_bench.records import EncodedImage, ImagePlace, Message
from vsr1_bench.train.conversations import examples_of
from vsr1_bench.train.sft_recipe import SftRecipe, load_sft_recipe

IMAGES = (EncodedImage(data=b"one"), EncodedImage(data=b"two"))


def learnt(row: dict[str, Any]) -> list[Any]:
    return examples_of(row, get_format("native"))


def test_every_assistants_turn_is_learnt_with_all_that_was_said_before() -> None:
    row = {
        "conversations": [
            {"from": "system", "value": "Be brief."},
            {"from": "human", "value": "<image>What is it?"},
            {"from": "gpt", "value": "A cat."},
            {"from": "human", "value": "And <image>?"},
            {"from": "gpt", "value": "A dog <image>."},
            {"from": "human", "value": "Thanks"},
        ],
        "images": IMAGES,
    }
    first, second = learnt(row)
    system, asked = Message("system", ("Be brief.",)), (ImagePlace(0), "What is it?")
    assert first.messages == (system, Message("user", asked))
    assert (first.reply, first.images) == ("A cat.", IMAGES[:1])
    assert second.messages[2:] == (
        Message("assistant", ("A cat.",)),
        Message("user", ("And ", ImagePlace(1), "?")),
    )
    assert (second.reply, second.images) == ("A dog <image>.", IMAGES)  # a reply shows none


def test_alpaca_chat_messages_and_problems() -> None:
    (alpaca,) = learnt({"instruction": "Add.", "input": "1 + 1", "output": "2", "history": None})
    assert alpaca.messages == (Message("user", ("Add.\n1 + 1",)),) and alpaca.reply == "2"
    old, new = learnt(
        {"instruction": "b", "output": "B", "system": "S", "history": [["a", "A"]], "input": ""}
    )
    assert (old.reply, new.reply) == ("A", "B")
    assert [m.role for m in new.messages] == ["system", "user", "assistant", "user"]
    chat = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "r"}]
    (one,) = learnt({"messages": chat, "image": IMAGES[0]})
    assert one.messages[0].content == (ImagePlace(0), "q")  # without a mark it comes first
    (row,) = learnt({"problem": "<image>How many?", "answer": "\\boxed{3}", "images": IMAGES[:1]})
    assert row.messages == (Message("user", (ImagePlace(0), "How many?")),)
    assert row.reply == "\\boxed{3}"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"text": "x"}, "none of the columns conversations.*it has text"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "a turn by 'tool'"),
        ({"messages": [{"role": "user", "content": "x"}]}, "no assistant's turn"),
        ({"instruction": "x", "output": ""}, "no assistant's turn"),
        ({"messages": [{"role": "user", "content": [1]}]}, "must be text, not list"),
        ({"problem": "x", "answer": " "}, "empty answer"),
        (
            {
                "messages": [
                    {"role": "user", "content": "<image><image><image>"},
                    {"role": "assistant", "content": "x"},
                ],
                "images": IMAGES,
            },
            "asks for image 3",
        ),
    ],
)
def test_rows_that_teach_nothing_are_refused(row: dict[str, Any], said: str) -> None:
    with pytest.raises(TaskError, match=said):
        learnt(row)


ASKED = {"role": "user", "content": "<image>What is it?"}
SAID = {"role": "assistant", "content": "a cat"}


def test_numbered_marks_take_their_images() -> None:
    row = {"instruction": "Is <image 2> like <image 1>?", "output": "no", "images": IMAGES}
    (one,) = learnt(row | {"videos": []})
    words = ("Is ", ImagePlace(1), " like ", ImagePlace(0), "?")
    assert one.messages == (Message("user", words),) and one.images == IMAGES


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"messages": [ASKED, SAID]}, "asks for image 1, the row has none"),
        ({"messages": [ASKED, SAID], "images": None}, "asks for image 1, the row has none"),
        ({"messages": [ASKED, SAID], "images": ()}, "asks for image 1, the row has none"),
        ({"messages": [ASKED, ASKED, SAID], "images": IMAGES[:1]}, "asks for image 2"),
        ({"messages": [ASKED, SAID, ASKED, SAID], "images": IMAGES[:1]}, "asks for image 2"),
        ({"instruction": "<image>?", "output": "x", "images": ()}, "the row has none"),
        ({"instruction": "?", "output": "x", "history": [["<image>", "y"]]}, "the row has none"),
        ({"problem": "<image>?", "answer": "x", "images": None}, "the row has none"),
        ({"problem": "<image 1>?", "answer": "x"}, "the row has none"),
        ({"instruction": "<image 1>?", "output": "x"}, "the row has none"),
        ({"instruction": "<image 1> or <image2>?", "output": "x", "image": IMAGES[0]}, "image 2"),
        ({"instruction": "<video>?", "output": "x", "videos": ["v.mp4"]}, "videos are not read"),
        ({"problem": "<video>?", "answer": "x", "videos": ["v.mp4"]}, "videos are not read"),
        (
            {"messages": [{"role": "system", "content": "<image>"}, SAID], "images": IMAGES[:1]},
            "mark in a system turn",
        ),
        ({"messages": "hello"}, "must be a list, not str"),
        ({"messages": ["hello"]}, "must be an object, not str"),
        ({"instruction": "?", "output": "x", "history": ["a"]}, "history must be a list"),
        ({"problem": "?", "answer": None}, "answer None"),
        ({"problem": "?", "answer": "x", "options": "['a' 'b']"}, "no commas between"),
    ],
)
def test_nothing_is_learnt_blind(row: dict[str, Any], said: str) -> None:
    with pytest.raises(RowError, match=said):
        learnt(row)


def test_a_reply_to_learn_need_not_be_one_of_the_options_which_are_shown() -> None:
    row = {"problem": "Which?", "options": ["dog", "cat"], "answer": "<think>It barks.</think> A"}
    (one,) = learnt(row)
    assert one.reply == row["answer"]
    assert one.messages == (Message("user", ("Which?\nA. dog\nB. cat",)),)


def test_files_of_several_layouts_are_read_one_after_another(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([{"instruction": "i", "output": "o"}]))
    turns = [{"from": "human", "value": "<image>q"}, {"from": "gpt", "value": "r"}]
    (tmp_path / "b.json").write_text(json.dumps([{"conversations": turns, "images": ["x/1.png"]}]))
    (tmp_path / "x").mkdir()
    (tmp_path / "x/1.png").write_bytes(b"png")
    rows = open_rows([str(tmp_path)], None, tmp_path / "d", offline=True)
    assert [learnt(dict(rows[i]))[0].reply for i in range(len(rows))] == ["o", "r"]
    assert learnt(dict(rows[1]))[0].images[0].read() == b"png"
    away = open_rows([str(tmp_path / "b.json")], str(tmp_path / "x"), tmp_path, offline=True)
    with pytest.raises(OSError):
        learnt(dict(away[0]))[0].images[0].read()
    (tmp_path / "c").mkdir()
    with pytest.raises(UsageError, match="no parquet, jsonl or json file"):
        open_rows([str(tmp_path / "c")], None, tmp_path, offline=True)


def test_published_cold_start() -> None:
    """method.md section 3: language model only, cosine, warm-up 0.1, 3 epochs, batch 128."""
    r = load_sft_recipe("qwen2_5_vl_7b/cold_start")
    assert (r.freeze, r.lr, r.schedule) == (("vision", "projector"), 1e-5, "cosine")
    assert (r.warmup_ratio, r.epochs, r.batch_size) == (0.1, 3, 128)
    assert (r.dtype, r.cutoff, r.max_pixels, r.deepspeed) == ("bfloat16", 4092, 262_144, "zero3")
    planned = r.planned(9000)
    assert (planned.schedule_steps, planned.warmup_steps, planned.steps) == (213, 21, 213)
    assert r.model_copy(update={"max_steps": 5}).planned(9000).steps == 5


def test_a_recipe_of_one_trainer_is_none_of_another() -> None:
    from vsr1_bench.train.recipe import load_recipe

    with pytest.raises(UsageError, match="is one of train sft"):
        load_recipe("tiny/cold_start")
    with pytest.raises(UsageError, match="is one of train grpo"):
        load_sft_recipe("tiny/vision_sr1")
    with pytest.raises(UsageError, match="generated without end: give schedule_steps"):
        load_sft_recipe("tiny/cold_start", ["schedule_steps=none"])
    with pytest.raises(ValueError, match="dataset is empty"):
        SftRecipe(model="tiny", dataset=())
