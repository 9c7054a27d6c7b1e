r"""Prompts to the byte: what the released checkpoints were asked, written out for both layouts.

The layouts are those of the authors' repository (zli12321/Vision-SR1, commit 3b39d81 of 2025 and
85b7c6a of 2026). Every text here stands as a model reads it, with the chat template of Qwen2.5-VL
around it; `\n` in the instructions is a backslash and an n there, and so it is here.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cli import ANSWER, cli, here, script
from judged import mirrored
from stored import SPEC

from vsr1_bench.data.problem_rows import problem_row
from vsr1_bench.generation.models import ModelInfo
from vsr1_bench.perception.reader import self_reader
from vsr1_bench.perception.second_pass import Readings
from vsr1_bench.pipeline.plan import warn_of_format
from vsr1_bench.prompts.formats import (
    FORMATS,
    TRAINED_WITH,
    build_messages,
    get_format,
    qwen_chat,
    reading_messages,
    to_chat,
)
from vsr1_bench.records import EncodedImage, ImagePlace, Request, Sample, Sampling
from vsr1_bench.store.run_folder import RunFolder
from vsr1_bench.task import example_image, interleave
from vsr1_bench.tasks.mmmu_pro import COLUMNS

# As Qwen/Qwen2.5-VL-7B-Instruct has it, without its branches for videos and numbered pictures.
TEMPLATE = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n{% if message['content'] is string %}"
    "{{ message['content'] }}<|im_end|>\n{% else %}{% for content in message['content'] %}"
    "{% if content['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>\n"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
HEAD = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
TAIL = "<|im_end|>\n<|im_start|>assistant\n"
SEEN = "<|vision_start|><|image_pad|><|vision_end|>"
SEE_THINK = (
    "You are tasked with analyzing an image/video to generate a detailed description to help you "
    "answer the question. First analyze the image/video and produce a self-contained "
    "description—detailed enough that can lead to the correct answer. Wrap the entire description "
    r"in <description> </description> tags.\n Next, engage in an internal dialogue and include "
    "self-reflection or verification in your reasoning process. Provide your detailed, "
    "step-by-step reasoning based on the image/video description information and image/video, and "
    r"enclose this part within <think> </think> tags.\n Finally, provide a single word or phrase "
    r"answer to the question in \boxed{}.\nThe output format should be: <description> image/video "
    r"description here </description> <think> reasoning process here </think> \boxed{FINAL ANSWER "
    "here}."
)
SEE_THINK_2026 = (
    "You are tasked with analyzing an image/video to generate a detailed description to help you "
    "answer the question. First analyze the image/video and produce a self-contained "
    "description—detailed enough that can lead to the correct answer. Do not include the final "
    "answer in the description. Wrap the entire description "
    r"in <description> </description> tags.\n Next, engage in an internal dialogue and include "
    "self-reflection or verification in your reasoning process. Provide your detailed, "
    "step-by-step reasoning based on the image/video description information and image/video, and "
    r"enclose this part within <think> </think> tags.\n Finally, provide a single word or phrase "
    r"answer to the question in \boxed{}.\nThe output format should be: <description> image/video "
    r"description here </description> <think> reasoning process here </think> \boxed{FINAL ANSWER "
    "here}."
)
COT = (
    "You FIRST think about the reasoning process as an internal monologue and then provide the "
    "final answer. The reasoning process MUST BE enclosed within <think> </think> tags. The final "
    r"answer MUST BE put in \boxed{}."
)

# Row -> its user turn up to the instruction: in the 2025 layout, and in that of 2026.
CASES: dict[str, tuple[str, int, str, str]] = {
    "mark first": (
        *("<image>How tall is the tower?", 1),
        f"How tall is the tower?{SEEN} ",
        f"{SEEN}How tall is the tower? ",
    ),
    "mark first, a line of its own": (
        *("<image>\nHow tall is the tower?", 1),
        f"How tall is the tower?{SEEN} ",
        f"{SEEN}\nHow tall is the tower? ",
    ),
    "mark in the middle": (
        *("Look at <image> and count the birds.", 1),
        f"Look at  and count the birds.{SEEN} ",
        f"Look at {SEEN} and count the birds. ",
    ),
    "mark last": (
        *("Count the birds. <image>", 1),
        f"Count the birds.{SEEN} ",
        f"Count the birds. {SEEN} ",
    ),
    # The 2026 code has no place for an image without a mark; ours puts it first there.
    "no mark": (
        *("Count the birds.", 1),
        f"Count the birds.{SEEN} ",
        f"{SEEN}Count the birds. ",
    ),
    "no mark, trailing blanks": (
        *("Count the birds. \n", 1),
        f"Count the birds. \n{SEEN} ",
        f"{SEEN}Count the birds. ",
    ),
    "two marks": (
        *("First <image> then <image>: what changed?", 2),
        f"First {SEEN} then {SEEN}: what changed? ",
        f"First {SEEN} then {SEEN}: what changed? ",
    ),
    "two marks at the ends": (
        *("<image> or <image>", 2),
        f"{SEEN} or {SEEN} ",
        f"{SEEN} or {SEEN} ",
    ),
    "multiple choice": (
        *("<image>\nWhich bird is it?\nA. heron\nB. stork", 1),
        f"Which bird is it?\nA. heron\nB. stork{SEEN} ",
        f"{SEEN}\nWhich bird is it?\nA. heron\nB. stork ",
    ),
    "leading and trailing blanks": (
        *("  <image>How many?  \n\n", 1),
        f"How many?{SEEN} ",
        f"{SEEN}How many? ",
    ),
    "literal backslash-n": (
        *(r"Solve <image>\nfor x.\n", 1),
        rf"Solve \nfor x.\n{SEEN} ",
        rf"Solve {SEEN}\nfor x.\n ",
    ),
    "no image": (*(" What is 2 + 2?\n", 0), "What is 2 + 2? ", "What is 2 + 2? "),
}


def row_sample(problem: str, images: int) -> Sample:
    """The sample of a row in the authors' columns."""
    shown = [EncodedImage(data=bytes([n])) for n in range(images)]
    return problem_row({"problem": problem, "answer": "7", "images": shown})


def rendered(chat: Sequence[Any]) -> str:
    jinja2 = pytest.importorskip("jinja2")
    template = jinja2.Template(TEMPLATE, keep_trailing_newline=True)
    return str(template.render(messages=chat, add_generation_prompt=True))


@pytest.mark.parametrize("case", CASES)
def test_both_layouts_to_the_byte(case: str) -> None:
    problem, images, turn_2025, turn_2026 = CASES[case]
    sample = row_sample(problem, images)
    for name, turn, words in (
        ("see_think_2025", turn_2025, SEE_THINK),
        ("cot_2025", turn_2025, COT),
        ("see_think", turn_2026, SEE_THINK),
        ("see_think_2026", turn_2026, SEE_THINK_2026),
        ("cot", turn_2026, COT),
    ):
        messages = build_messages(sample, get_format(name))
        expected = f"{HEAD}{turn}{words}{TAIL}"
        assert rendered(to_chat(messages)) == expected, name
        assert qwen_chat(messages) == expected, name


def test_the_shipped_template_writes_the_same_turn() -> None:
    """The embedded model's processor, too, which is what an engine hands its text to."""
    transformers = pytest.importorskip("transformers")
    from vsr1_bench.tiny import weights_path

    processor = transformers.AutoProcessor.from_pretrained(weights_path())
    problem, images, turn, _ = CASES["multiple choice"]
    messages = build_messages(row_sample(problem, images), get_format("see_think_2025"))
    text = processor.apply_chat_template(
        to_chat(messages), tokenize=False, add_generation_prompt=True
    )
    assert text == f"<|im_start|>user\n{turn}{SEE_THINK}{TAIL}"


OPTIONS = Sample(
    *("1", ("Which of these \n", ImagePlace(0), " is it? "), "B", "choice"),
    images=(EncodedImage(data=b"x"),),
    choices=("red", "blue"),
)


def test_options_in_a_column_of_their_own_stand_before_the_image_of_2025() -> None:
    told = {name: qwen_chat(build_messages(OPTIONS, FORMATS[name])) for name in FORMATS}
    turn = "Which of these \n is it?\nA. red\nB. blue"
    assert told["see_think_2025"] == f"{HEAD}{turn}{SEEN} {SEE_THINK}{TAIL}"
    turn = f"Which of these \n{SEEN} is it?\nA. red\nB. blue"
    assert told["see_think"] == f"{HEAD}{turn} {SEE_THINK}{TAIL}"
    # A line break belongs to these two alone.
    direct = "Answer with the option's letter from the given choices directly."
    assert told["direct"] == told["native"] == f"{HEAD}{turn}\n{direct}{TAIL}"


def test_an_image_in_an_option_and_an_image_named_twice() -> None:
    pictured = Sample(
        *("1", ("Which?",), "A", "choice"),
        images=(EncodedImage(data=b"x"),),
        choices=("", "none"),
        choice_parts=((ImagePlace(0),), ("none",)),
    )
    told = qwen_chat(build_messages(pictured, get_format("cot_2025")))
    assert told == f"{HEAD}Which?\nA. \nB. none{SEEN} {COT}{TAIL}"
    question, images = interleave("<image 1> beside <image 1>?", [EncodedImage(data=b"x")])
    twice = Sample("2", question, "A", "text", images=images)
    told = qwen_chat(build_messages(twice, get_format("cot_2025")))
    assert told == f"{HEAD}{SEEN} beside <image 1>? {COT}{TAIL}"  # several marks stay


ASKED = (
    "You are provided a text description of a problem and a question. Determine the answer to the "
    "question based on the text description. First provide an internal step-by-step reasoning "
    "within <think> </think> tags, then provide a single word or phrase answer in \\boxed{}."
)


@pytest.mark.parametrize(
    ("problem", "images", "in_2025", "in_2026"),
    [
        ("<image>\nHow many? \n", 1, "\nHow many?", "How many?"),
        ("How many?  ", 1, "How many?  ", "How many?"),
        ("See <image>.\n\nHow many?", 1, "See .\n\nHow many?", "See .\n\nHow many?"),
        ("<image> or <image> \n", 2, " or  \n", "or"),
        (" How many? ", 0, " How many? ", "How many?"),
    ],
)
def test_the_second_pass_of_both_layouts(
    problem: str, images: int, in_2025: str, in_2026: str
) -> None:
    sample = row_sample(problem, images)
    for place, question in (("end", in_2025), ("mark", in_2026)):
        messages = reading_messages(sample, "\n a {question}, 3 dots \n", images=place)  # type: ignore[arg-type]
        assert rendered(to_chat(messages)) == (
            f"{HEAD}Text description: a {{question}}, 3 dots\nQuestion: {question}\n{ASKED}{TAIL}"
        )


def test_a_model_reads_in_the_layout_it_was_asked_in(tmp_path: Path) -> None:
    """Another layout is another reader: its readings are not taken for each other's."""
    readers = {}
    for name in ("see_think", "see_think_2025", "direct", "see_think_qwen3"):
        asked = SPEC.prompt.model_copy(update={"format": name})
        readers[name] = self_reader(SPEC.model_copy(update={"prompt": asked}), "response")
    assert [r.layout for r in readers.values()] == [
        *(("mark", "think"), ("end", "think"), ("mark", "think"), ("mark", "thinking"))
    ]
    assert len({reader.digest() for reader in readers.values()}) == 3
    sample = row_sample("<image>\nHow many?", 1)
    for name, question in (
        ("see_think_2025", "\nHow many?"),
        ("see_think", "How many?"),
        ("see_think_qwen3", "How many?"),
    ):
        folder = RunFolder(tmp_path / name)
        folder.path.mkdir()
        with closing(Readings(folder, readers[name])) as readings:
            request = readings.request(sample, "source", 0, "dots")
        assert request is not None
        text = str(request.messages[0].content[0])
        assert f"Question: {question}\nYou" in text
        assert f"within <{readers[name].layout[1]}> </" in text


def test_braces_in_a_question_are_not_filled_in() -> None:
    sample = row_sample("What does {description} hold?", 0)
    (message,) = reading_messages(sample, "a box")
    assert "Question: What does {description} hold?\n" in str(message.content[0])


def test_the_place_of_images_is_part_of_a_format() -> None:
    digests = {fmt.digest() for fmt in FORMATS.values()}
    assert len(digests) == len(FORMATS)
    # Formats that did not change keep their runs.
    assert FORMATS["direct"].digest() == "2ce5c0ebe455949a"
    assert FORMATS["native"].digest("x") == "827cd7738bd6475c"


def test_ls_prompts_says_where_images_stand_and_what_fits() -> None:
    lines = here("ls", "prompts").stdout.splitlines()
    (line,) = [line for line in lines if line.startswith("see_think_2025 ")]
    assert "at the end" in line and "released checkpoints (2025)" in line
    (line,) = [line for line in lines if line.startswith("see_think ")]
    assert "at its mark" in line


@pytest.mark.parametrize(
    ("problem", "prompt", "turn"),
    [
        (
            *("How heavy is <image 1> here? ", "see_think_2025"),
            f"How heavy is  here?\nA. 1 kg\nB. 2 kg{SEEN} {SEE_THINK}",
        ),
        (
            *("How heavy is <image 1> here? ", "see_think"),
            f"How heavy is {SEEN} here?\nA. 1 kg\nB. 2 kg {SEE_THINK}",
        ),
        (
            *("Which of both?", "cot_2025"),
            f"Which of both?\nA. 1 kg\nB. 2 kg{SEEN} {COT}",
        ),
    ],
)
def test_validate_prints_the_whole_text(
    problem: str, prompt: str, turn: str, tmp_path: Path
) -> None:
    row = dict.fromkeys(COLUMNS) | {"id": "1", "question": problem, "subject": "Art", "answer": "A"}
    row |= {"options": "['1 kg', '2 kg']", "image_1": "one.png"}
    folder = "MMMU/MMMU_Pro/standard (10 options)"
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / "one.png").write_bytes(example_image().read())
    mirrored(tmp_path, f"{folder}/test", [row])
    told = ("validate", "mmmu_pro_10", "--prompt", prompt, "--offline", "--data_root", tmp_path)
    printed = here(*told).stdout
    block = "\n".join(f"     | {line}" for line in f"{HEAD}{turn}{TAIL}".split("\n"))
    assert f"with the chat template of Qwen2.5-VL:\n{block}\n" in printed


def test_a_second_pass_is_cut_where_the_2026_code_cuts_it() -> None:
    """After so many tokens of the whole chat text, whatever stands there; images are never cut."""
    pytest.importorskip("transformers")
    from vsr1_bench.generation.chat import ChatRenderer
    from vsr1_bench.generation.models import find_model

    renderer = ChatRenderer(find_model("tiny", backend="transformers"))
    messages = reading_messages(row_sample("How many dots are red?", 0), "red dots , " * 40)
    request = Request("k", messages, Sampling())
    whole = renderer.render(request).text
    ids = renderer.tokenizer.encode(whole, add_special_tokens=False)
    for limit in (len(ids) // 2, len(ids) - 1):
        cut = renderer.render(replace(request, prompt_limit=limit)).text
        assert cut == renderer.tokenizer.decode(ids[:limit]) and whole.startswith(cut)
        assert renderer.tokenizer.encode(cut, add_special_tokens=False) == ids[:limit]
        assert not cut.endswith("assistant\n")
    for limit in (None, len(ids)):
        assert renderer.render(replace(request, prompt_limit=limit)).text == whole


NAMES = {
    "LMMs-Lab-Turtle/SelfRewarded-R1-7B": None,
    "SelfRewarded-R1-7B": None,
    "my-model": "LMMs-Lab-Turtle/Qwen-2.5VL-3B-Cold-Start",
    "served": "saves/merged/Qwen-2.5VL-7B-Cold-Start/",
}


@pytest.mark.parametrize("name", NAMES)
def test_another_format_than_a_checkpoints_own_is_said(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = ModelInfo(name, "f", origin=NAMES[name])
    with caplog.at_level(logging.WARNING):
        warn_of_format(model, get_format("see_think_2025"))
        assert caplog.text == ""
        warn_of_format(model, get_format("see_think"))
    assert len(caplog.records) == 1 and "\n" not in caplog.records[0].getMessage()
    assert "prompt see_think_2025" in caplog.text and "asks with see_think," in caplog.text
    assert ("config.json" in caplog.text) == (NAMES[name] is not None)


def test_others_are_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    for name, origin in (("Qwen/Qwen2.5-VL-7B-Instruct", None), ("tiny", "SelfRewarded-R1-7B-x")):
        warn_of_format(ModelInfo(name, "f", origin=origin), get_format("see_think"))
    assert caplog.text == ""
    assert all(name in FORMATS for formats in TRAINED_WITH.values() for name in formats)


def test_a_run_warns_and_asks_as_it_was_told(tmp_path: Path) -> None:
    answers = script(tmp_path / "answers.jsonl", ANSWER)
    model = ("--model", "LMMs-Lab-Turtle/SelfRewarded-R1-7B", "--backend", "scripted")
    told = (*model, "--model_args", f"script={answers}", "--tasks", "demo", "--limit", "2")
    done = cli(*told, "-o", tmp_path / "runs", "--predict_only")
    assert "trained and evaluated by the code released with it" in done.stderr
    (run,) = (tmp_path / "runs").glob("*/demo-*/run.json")
    assert '"format": "see_think",' in run.read_text()
    done = cli(*told, "-o", tmp_path / "own", "--prompt", "see_think_2025")
    assert done.returncode == 0
    assert "released with it" not in done.stderr
