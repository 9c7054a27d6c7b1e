"""Reading the description out of a response: every fault of the tags, each with its rule."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsr1_bench.answers import read_description

THINK = "<think> so it is four </think> \\boxed{4}"
CASES = {
    "the released form": (f"<description> four dots </description> {THINK}", "four dots"),
    "the paper's form": (
        "<visual_reasoning>four dots</visual_reasoning><think>t</think><answer>4</answer>",
        "four dots",
    ),
    "either name closes": ("<description>a</visual_reasoning>\\boxed{4}", "a"),
    "case and a space in the tag": ("< Description >a</DESCRIPTION >", "a"),
    "line breaks inside": ("<description>\na\nb\n</description>", "a\nb"),
    "words before it": (f"Sure! <description>a</description>{THINK}", "a"),
    "no thinking at all": ("<description>a</description>\\boxed{4}", "a"),
    "after the thinking": ("<think>t</think><description>a</description>\\boxed{4}", "a"),
    "thinking that never ends": ("<description>a</description><think>cut o", "a"),
    "missing": (f"four dots {THINK}", None),
    "empty response": ("", None),
    "empty": (f"<description>  \n </description>{THINK}", None),
    "never opened": (f"four dots</description>{THINK}", None),
    "unclosed before thinking": (f"<description> four dots {THINK}", "four dots"),
    "closed within the thinking": ("<description>a<think>b</description>c</think>4", "a"),
    "unclosed before a box": ("<description> four, so \\boxed{4}", None),
    "unclosed before an answer": ("<description> four <answer>4</answer>", None),
    "cut off": ("<description> four dots, of which", None),
    "empty and unclosed": (f"<description>{THINK}", None),
    "repeated": ("<description>a</description><description>b</description>", "a"),
    "repeated after the thinking": (
        "<description>a</description><think>t</think><description>b</description>",
        "a",
    ),
    "named before it is written": (
        "In <description></description> tags: <description>a</description>",
        "a",
    ),
    "begun anew": ("<description>a <description>b</description>", "b"),
    "doubled": ("<description><description>a</description></description>", "a"),
    "inside thinking": ("<think><description>a</description></think>\\boxed{4}", None),
    "inside thinking, then outside": (
        "<think><description>a</description></think><description>b</description>",
        "b",
    ),
    "inside <thinking>": ("<thinking><description>a</description></thinking>4", None),
    "thinking opened by the template": ("<description>a</description></think>\\boxed{4}", None),
    "opened by the template, then outside": ("hm</think><description>b</description>4", "b"),
    "a stray end of thinking later": (
        "<description>a</description><think>t</think> so </think>4",
        "a",
    ),
    "a stray end of thinking inside": (
        "<think>t</think><description>a</think>b</description>",
        None,
    ),
    "another tag": ("<descriptions>a</descriptions>", None),
}


@pytest.mark.parametrize(("text", "wanted"), CASES.values(), ids=CASES)
def test_descriptions(text: str, wanted: str | None) -> None:
    assert read_description(text) == wanted


words = st.text(alphabet="ab \n<>/\\{}", max_size=12)
names = ("description", "visual_reasoning", "think", "answer")
tags = st.sampled_from([f"<{mark}{name}>" for name in names for mark in ("", "/")])
responses = st.lists(st.one_of(words, tags, st.just("\\boxed{4}")), max_size=12).map("".join)


@given(responses)
def test_a_description_is_a_tagged_part_and_never_the_whole(text: str) -> None:
    found = read_description(text)
    if found is None:
        return
    assert found == found.strip() != ""
    assert len(found) < len(text)
    place = text.rindex(found)
    assert any(name in text[:place] for name in ("<description>", "<visual_reasoning>"))
    assert "think>" not in found and "<description>" not in found


@given(words.map(str.strip).filter(bool), responses)
def test_what_follows_a_first_description_does_not_change_it(inside: str, after: str) -> None:
    written = f"<description>{inside}</description><think>t</think>"
    assert read_description(written + after) == inside


@given(responses)
def test_thinking_hides_everything(inside: str) -> None:
    if "think>" not in inside:
        assert read_description(f"<think>{inside}</think>\\boxed{{4}}") is None
        assert read_description(f"{inside}</think>\\boxed{{4}}") is None


def test_long_and_hostile_texts_take_linear_time() -> None:
    assert read_description("<description>" * 200_000) is None
    assert read_description("< " * 200_000 + "<description>" + "a" * 200_000) is None
