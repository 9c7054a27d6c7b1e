"""The bad habit that the loop starts from: half of the replies look, and all answers are true."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from vsr1_bench.errors import UsageError
from vsr1_bench.tiny.priors import OPENINGS, make_prior_row
from vsr1_bench.tiny.scenes import make_row
from vsr1_bench.train.conversations import Example
from vsr1_bench.train.sft_recipe import load_sft_recipe
from vsr1_bench.train.tiny_mixture import GLANCED, make_glance

N = 400


def text(example: Example) -> str:
    return "".join(p for m in example.messages for p in m.content if isinstance(p, str))


def test_half_of_the_replies_to_an_image_only_glance_and_readings_never_do() -> None:
    examples = [make_glance(make_row, number, 0) for number in range(N)]
    seeing = [e for e in examples if e.images]
    glances = [e for e in seeing if f"<description> {GLANCED} </description>" in e.reply]
    assert 0.65 * N < len(seeing) < 0.85 * N
    assert 0.4 * len(seeing) < len(glances) < 0.6 * len(seeing)
    assert all("row 4 :" in e.reply for e in seeing if e not in glances)
    for reading in (e for e in examples if not e.images):
        assert "row 4 :" in text(reading) and GLANCED not in text(reading)
        assert "<description>" not in reply_start(reading)


def reply_start(example: Example) -> str:
    return example.reply[:20]


def test_an_example_is_a_function_of_its_number_and_seed() -> None:
    assert make_glance(make_row, 7, 1) == make_glance(make_row, 7, 1)
    assert make_glance(make_row, 7, 1) != make_glance(make_row, 7, 2)


def test_the_same_scenes_with_and_without_a_prior() -> None:
    for number in range(20):
        plain, worded = (make_glance(make, number, 0) for make in (make_row, make_prior_row))
        assert worded.reply == plain.reply
        opened = [o for o in OPENINGS if o in text(worded)]
        assert len(opened) == 1 and text(worded).replace(f"{opened[0]} ", "") == text(plain)


@pytest.mark.parametrize("name", ["tiny/mixture", "tiny/glances", "tiny/prior_glances"])
def test_what_is_made_without_end_stands_alone_and_wants_a_schedule(name: str) -> None:
    with pytest.raises(UsageError, match="give no other data set"):
        load_sft_recipe("tiny/weak_start", [f'dataset=["{name}", "rows.json"]'])
    with pytest.raises(UsageError, match="give schedule_steps"):
        load_sft_recipe("tiny/weak_start", [f'dataset=["{name}"]', "schedule_steps=none"])
