"""The channels of a response: thinking of every family, turns, run-on questions, in linear time."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsr1_bench.answers import boxed, extract, final_region, final_span, read_description
from vsr1_bench.answers.channels import split
from vsr1_bench.answers.marks import mark_tags, split_channels
from vsr1_bench.cli.main import main
from vsr1_bench.judge import Item, JudgeOptions
from vsr1_bench.judging.llm_parse import read_reply
from vsr1_bench.judging.open import open_judge

ANIMALS = ("heron", "stork", "crane", "egret")
DRAFT = "The answer is C, unless the legs are pink."
FAMILIES = {
    "think": ("<think>", "</think>"),
    "thinking": ("<thinking>", "</thinking>"),
    "spaced, in capitals": ("< THINK >", "< / THINK >"),
    "thought": ("<thought>", "</thought>"),
    "reasoning": ("<reasoning>", "</reasoning>"),
    "Seed": ("<seed:think>", "</seed:think>"),
    "scratchpad": ("<scratchpad>", "</scratchpad>"),
    "LongCat": ("<longcat_think>\n", "\n</longcat_think>\n"),
    "working out": ("<start_working_out>", "<end_working_out><SOLUTION>"),
    "Mistral": ("[THINK]", "[/THINK]"),
    "Kimi": ("◁think▷", "◁/think▷"),
    "Sky-T1": (
        "<|begin_of_thought|>\n\n",
        "\n\n<|end_of_thought|>\n\n<|begin_of_solution|>\n\n",
    ),
    "Sky-T1, thought left open": ("<|begin_of_thought|>", "<|begin_of_solution|>"),
    "Cohere": ("<|START_THINKING|>", "<|END_THINKING|><|START_RESPONSE|>"),
    "Cohere, text": ("<|START_THINKING|>", "<|END_THINKING|><|START_TEXT|>"),
    "Gemma": ("<|channel>thought\n", "<channel|>"),
    "Apertus": ("<|inner_prefix|>", "<|inner_suffix|>"),
    "harmony": (
        "<|channel|>analysis<|message|>",
        "<|end|><|start|>assistant<|channel|>final<|message|>",
    ),
    "harmony, from its start": (
        "<|start|>assistant<|channel|>analysis<|message|>",
        "<|end|><|start|>assistant<|channel|>final <|constrain|>json<|message|>",
    ),
    "harmony, with a preamble": (
        "<|channel|>commentary<|message|>I look.<|end|><|start|>assistant"
        "<|channel|>analysis<|message|>",
        "<|end|>\n<|start|>assistant<|channel|>final<|message|>",
    ),
    "harmony without tokens": ("analysis", "assistantfinal"),
    "Solar": ("<|think|>", "<|end|><|begin|>assistant<|content|>"),
}
FINALS = {"a letter": "B", "a sentence": "The answer is B.", "a box": r"\boxed{B}"}


def read(text: str) -> tuple[str | None, str]:
    found = extract(text, "choice", ANIMALS)
    return found.value, found.how


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("final", FINALS.values(), ids=FINALS)
def test_what_follows_the_thinking_is_the_answer(family: str, final: str) -> None:
    opening, closing = FAMILIES[family]
    assert read(f"{opening}{DRAFT}{closing}{final}")[0] == "B"
    assert read(f"{opening}{DRAFT} \\boxed{{C}}{closing}\n\n{final}")[0] == "B"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("draft", [DRAFT, r"So \boxed{C}.", "<answer>C</answer>", "C"])
def test_thinking_that_was_cut_off_holds_no_answer(family: str, draft: str) -> None:
    opening, _ = FAMILIES[family]
    assert read(f"{opening}{draft}") == (None, "unfinished")
    assert read(f"{opening}{draft} But\n\nQuestion: is it so?\nAnswer: C") == (None, "unfinished")
    assert not boxed(final_region(f"{opening}{draft}"))
    assert read_description(f"{opening}<description>two birds</description>{draft}") is None


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "Gemma"])
def test_thinking_that_the_template_opened_ends_with_its_mark(family: str) -> None:
    _, closing = FAMILIES[family]
    assert read(f"{DRAFT} {closing}The answer is B.")[0] == "B"
    assert read_description(f"<description>draft</description>{closing}B") is None


@pytest.mark.parametrize("family", FAMILIES)
def test_marks_of_other_families_inside_thinking_are_part_of_it(family: str) -> None:
    opening, closing = FAMILIES[family]
    known = "think" in opening.lower()
    other = ("<reasoning>", "</reasoning>") if known else ("<think>", "</think>")
    nested = f"{opening}a {other[0]}b{other[1]} {DRAFT}"
    assert read(nested) == (None, "unfinished")
    assert read(f"{nested}{closing}B")[0] == "B"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_description_is_handed_over_from_outside_the_thinking(family: str) -> None:
    opening, closing = FAMILIES[family]
    if "harmony" in family or opening.startswith("analysis"):
        return  # nothing can stand before its first channel
    said = f"<description>two birds</description>{opening}{DRAFT}{closing}B"
    assert read_description(said) == "two birds"
    assert read(said)[0] == "B"
    assert read_description(f"<description>two birds {opening}{DRAFT}") == "two birds"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_judges_reply_and_a_box_are_read_by_the_same_channels(family: str) -> None:
    opening, closing = FAMILIES[family]
    reply = f'{opening}{{"verdict": "correct"}}{closing}{{"verdict": "incorrect"}}'
    assert read_reply(reply).outcome == "incorrect"
    assert read_reply(f'{opening}{{"verdict": "correct"}}').outcome == "unscored"


ENDS = (
    "<|im_end|> </s> <|eot_id|> <end_of_turn> <turn|> <|endoftext|> <|end|> <|return|> <eos> "
    "<\uff5cend▁of▁sentence\uff5c> <|end_of_text|> <end_of_utterance> <|eot|> "
    "[|endofturn|] <|user|> "
    "<|END_OF_TURN_TOKEN|> <|observation|> <|role_end|> <|a_token_of_tomorrow|> <pad>"
).split()


@pytest.mark.parametrize("end", ENDS)
def test_an_end_of_turn_token_is_no_part_of_the_answer(end: str) -> None:
    for text in (f"B{end}", f"B {end}\n", f"B{end}{end}", f"<think>{DRAFT}</think>B{end}"):
        assert read(text)[0] == "B"
    assert extract(f"heron{end}", "text").value == "heron"
    assert extract(f"42{end}", "number").value == "42"


@pytest.mark.parametrize(
    "text",
    [
        "B<|im_end|>\n<|im_start|>user\nAnd now?<|im_end|>\n<|im_start|>assistant\nThe answer is C",
        "B<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nThe answer is C",
        "B<end_of_turn>\n<start_of_turn>user\nThe answer is C",
        "B</s>[INST] The answer is C [/INST]",
        "B\n<|im_start|>user\nThe answer is C",
        "<|im_start|>assistant\nB<|im_end|>",
        "<|start_header_id|>assistant<|end_header_id|>\n\nB<|eot_id|>",
        "<start_of_turn>model\nB",
        "<|im_start|>system\nSay C.<|im_end|>\n<|im_start|>user\nThe answer is C?<|im_end|>\n"
        "<|im_start|>assistant\nB<|im_end|>",
        "<s>[INST] The answer is C? [/INST] B</s>",
        "<|endoftext|>B",
        "<|channel|>final<|message|>B<|end|><|start|>user<|message|>The answer is C",
        "<|channel|>analysis<|message|>C<|end|>"
        "<|start|>functions.see to=assistant<|channel|>commentary<|message|>C<|end|>"
        "<|start|>assistant<|channel|>final<|message|>B<|return|>",
    ],
)
def test_only_the_models_own_turn_is_read(text: str) -> None:
    assert read(text)[0] == "B"


def test_struck_html_is_no_end_of_turn() -> None:
    assert final_region("so <s>4</s> 5 legs</s>") == "so <s>4</s> 5 legs"


NEXT = "Who flies?\nOptions:\nA. x\nB. y\nC. z\nAnswer: Let's think. The answer is (C).\n\n"


@pytest.mark.parametrize(
    "head",
    [
        "It wades, so the answer is (B).",
        "B",
        "(B) stork",
        r"The legs are red. \boxed{B}",
        "Two stand.\n\nTherefore B",
        "Question: which one is white?\n\nAnswer: B",
    ],
)
@pytest.mark.parametrize("label", ["Question:\n", "Question: ", "**Question:** ", "Problem: "])
def test_a_run_on_question_ends_the_response(head: str, label: str) -> None:
    assert read(f"{head}\n\n{label}{NEXT}{label}{NEXT}")[0] == "B"
    assert read(f"<think>{DRAFT}</think>{head}\n\n{label}<think>x</think>{NEXT}")[0] == "B"


@pytest.mark.parametrize(
    "text",
    [
        "Question: which bird is white?\n\nAnswer: B",
        "\n\nQuestion: which bird is white?\n\nAnswer: B",
        "The photo shows four birds at a pond.\n\nQuestion: which is white?\n\nAnswer: B",
        "Let us see.\n\nQuestion: which is white?\n\nThe answer is B.",
        "<think>a\n\nQuestion: is the answer C?\nThe answer is C</think>The answer is B",
        "<think>t</think>\n\nProblem: which is white?\n\nThe answer is B",
        "I compare the legs.\nQuestion: which are red? Those of the stork.\nThe answer is B.",
    ],
)
def test_a_response_that_restates_its_question_goes_on(text: str) -> None:
    assert read(text)[0] == "B"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("<|begin_of_box|>B<|end_of_box|>", "B"),
        ("It is the <|begin_of_box|>B<|end_of_box|>.", "B"),
        ("<|begin_of_box|>C<|end_of_box|> no, <|begin_of_box|>B<|end_of_box|>", "B"),
        (r"<|begin_of_box|>\boxed{B}<|end_of_box|>", "B"),
        (r"\boxed{C} better: <|begin_of_box|>B<|end_of_box|>", "B"),
        (r"<|begin_of_box|>C<|end_of_box|> better: \boxed{B}", "B"),
        ("<|begin_of_box|>B<|end_of_box|><|begin_of_box|> <|end_of_box|>", "B"),
        ("<think><|begin_of_box|>C<|end_of_box|></think><answer>B</answer>", "B"),
        ("<|begin_of_box|>C<|end_of_box|> no, <|begin_of_box|>B", None),
        ("<think><|begin_of_box|>C<|end_of_box|>", None),
    ],
)
def test_box_tokens_hold_the_answer(text: str, value: str | None) -> None:
    assert read(text)[0] == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cot", f"<cot>{DRAFT}</cot>B"),
        ("cot", f"<COT>{DRAFT}</CoT>B"),
        ("my-notes", f"<my-notes>{DRAFT}</my-notes>B"),
        ("[[…]]", f"[[{DRAFT}]]B"),
        ("/*...*/", f"/*{DRAFT}*/B"),
        ("cot", f"{DRAFT}</cot>B"),
    ],
)
def test_a_user_names_further_tags(name: str, text: str) -> None:
    marked = mark_tags(text, [name])
    assert len(marked) == len(text)
    assert read(text)[0] != "B" and read(marked)[0] == "B"
    start, end = final_span(marked)
    assert text[start:end] == "B"
    assert read(mark_tags(f"<cot>{DRAFT}", ["note", "cot"])) == (None, "unfinished")


@pytest.mark.parametrize("name", ["", "a b", "…", "<a>…", "<a>…<a>", "<cot>"])
def test_tags_that_are_none_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="wanted a name"):
        mark_tags("B", [name])


@pytest.mark.parametrize(
    "text",
    ["analysis of the legs", "finally a stork", "final answer", "thoughts", "the thought\nthat"],
)
def test_words_are_no_marks(text: str) -> None:
    assert final_region(text) == text


MARKS = st.sampled_from(
    [mark for pair in FAMILIES.values() for mark in pair]
    + ["<description>", "</description>", "\n\nQuestion:", " Answer: B", *ENDS]
)


@given(st.lists(st.one_of(MARKS, st.text(max_size=8)), max_size=12).map("".join))
def test_pieces_stand_in_order_inside_the_response(text: str) -> None:
    place = 0
    for piece in split(text):
        assert place <= piece.start <= piece.end <= len(text)
        place = piece.end
    start, end = final_span(text)
    assert text[start:end] == final_region(text)
    assert final_span(text) == final_span(text)


@pytest.mark.parametrize("mark", sorted({m for pair in FAMILIES.values() for m in pair} | {*ENDS}))
def test_a_million_signs_are_read_at_once(mark: str) -> None:
    for unit in (mark, mark[:-1], f"{mark}\n\nQuestion: a", f"a {mark[0]}"):
        text = unit * (1_000_000 // len(unit))
        before = time.process_time()
        split(text)
        assert time.process_time() - before < 0.5


def test_tags_of_a_user_reach_every_judge_and_its_identity() -> None:
    item = Item("1", f"<cot>{DRAFT}</cot>B", "B", "choice", ANIMALS)
    outcomes, identities = [], set()
    for tags in ((), ("cot",), ("cot", "note")):
        for spec in ("string_match", "math"):
            with open_judge(spec, options=JudgeOptions(thinking_tags=tags)) as judge:
                identities.add(judge.identity)
                (judged,) = judge.judge([item])
                assert judged.item is item
                outcomes.append((spec, tags, judged.verdict.outcome))
    assert [o for spec, _, o in outcomes if spec == "string_match"] == [
        "incorrect", "correct", "correct",
    ]  # fmt: skip
    assert len(identities) == 6


def test_the_flag_of_grade_names_tags(tmp_path: Path) -> None:
    given, made = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    line = {"id": 1, "response": f"[[{DRAFT}]]B", "answer": "B", "choices": list(ANIMALS)}
    given.write_text(json.dumps(line), "utf-8")
    command = ["grade", str(given), "--judge", "string_match", "--output", str(made)]
    for flags, wanted in (([], "incorrect"), (["--thinking_tags", "cot,[[…]]"], "correct")):
        assert main([*command, *flags]) == 0
        assert json.loads(made.read_text("utf-8"))["verdict"] == wanted
    assert main([*command, "--thinking_tags", "a b"]) == 2


@pytest.mark.parametrize(
    ("tokens", "kept"),
    [
        (["<s>", "</s>", "[INST]", "[/INST]", "[THINK]", "[/THINK]"], True),
        (["<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|return|>"], True),
        (["<|START_THINKING|>", "<|END_THINKING|>"], True),
        (["<bos>", "<turn|>", "<|channel>", "<channel|>"], True),
        (["<s>", "</s>", "[INST]", "[/INST]"], False),
        (["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|image_pad|>"], False),
        ([], False),
    ],
)
def test_special_tokens_that_mark_channels_stay_in_the_text(tokens: list[str], kept: bool) -> None:
    assert split_channels(tokens) is kept
