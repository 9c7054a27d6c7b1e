"""The rewards for the format of both passes, by hand and by property."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rollouts import FINE

from vsr1_bench.train.rl.rewards import format_first, format_second


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (FINE, 1),
        (f"\n{FINE}\n", 1),
        (FINE.replace("2", "\\frac{1}{2}"), 1),
        (FINE.replace("> <", "><"), 1),
        (FINE + ".", 0),
        ("Sure! " + FINE, 0),
        (FINE.replace(" red dots ", " "), 0),
        (FINE.replace("{2}", "{}"), 0),
        (FINE.replace("{2}", "{2"), 0),
        (FINE + " \\boxed{3}", 0),
        (FINE + " and } \\boxed{3}", 0),
        (FINE.replace("< /", "</").replace("<think>", "< think >"), 0),  # theirs deletes the space
        ("<think> a </think> <description> b </description> \\boxed{2}", 0),
        (FINE.replace("count", "<think> twice </think>"), 0),
        (FINE.replace("red dots", "<description> twice"), 0),
        ("<think> a </think> \\boxed{2}", 0),
        ("", 0),
    ],
)
def test_format_of_the_first_pass(text: str, wanted: int) -> None:
    assert format_first(text) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("<think> a </think> \\boxed{2}", 1),
        ("<think>\n</think>\n\n\\boxed{A}\n", 1),
        (FINE, 0),
        ("\\boxed{2}", 0),
        ("<think> a </think> 2", 0),
        ("<think> a </think> so \\boxed{2}", 0),
        ("<think> a <think> b </think> \\boxed{2}", 0),
    ],
)
def test_format_of_the_second_pass(text: str, wanted: int) -> None:
    assert format_second(text) == wanted


@pytest.mark.parametrize(
    ("text", "first", "second"),
    [
        # Qwen3-VL Instruct: it writes `<thinking>`, because `<think>` is one token of another use.
        ("<description> d </description> <thinking> t </thinking> \\boxed{2}", 1, 0),
        ("<thinking> t </thinking> \\boxed{2}", 0, 1),
        ("<thinking> t </think> \\boxed{2}", 0, 0),
        ("<thinking> <think> t </think> </thinking> \\boxed{2}", 0, 0),
        # Qwen3-VL Thinking: its chat template ends with `<think>`.
        ("t\n</think>\n\n<description> d </description> \\boxed{2}", "opened", 0),
        (f"t\n</think>\n\n{FINE}", "opened", 0),
        ("t\n</think>\n\n\\boxed{2}", 0, "opened"),
        ("t </think> <think> u </think> \\boxed{2}", 0, "opened"),
        (FINE, 1, 0),
        ("t \\boxed{2}", 0, 0),
        ("\\boxed{2}", 0, 0),
        ("t </thinking> \\boxed{2}", 0, 0),
        ("t </think> so \\boxed{2}", 0, 0),
        ("t <description> d </description> </think> \\boxed{2}", 0, 0),
        ("t </think> <description> </description> \\boxed{2}", 0, 0),
    ],
)
def test_format_with_the_tags_of_qwen3(text: str, first: int | str, second: int | str) -> None:
    for check, wanted in ((format_first, first), (format_second, second)):
        assert check(text) == (wanted == 1)
        assert check(text, "<think>") == bool(wanted)


@given(st.text(alphabet="<>/\\boxed{}thinkdescr ", max_size=200))
def test_format_takes_any_text(text: str) -> None:
    for opened in ("", "<think>"):
        assert format_first(text, opened) in (0, 1) and format_second(text, opened) in (0, 1)
