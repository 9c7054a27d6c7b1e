"""MM-Vet: grades from 0 to 1, by capability."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from judged import load, mirrored

from vsr1_bench.records import EncodedImage
from vsr1_bench.registry import get_task
from vsr1_bench.scoring import score_responses
from vsr1_bench.scoring.metrics import Response

TASK = get_task("mmvet")


def row(**changes: Any) -> dict[str, Any]:
    plain = {"question_id": "v1_3", "question": "What is it?", "answer": "a <AND> b"}
    return plain | {"image": EncodedImage(data=b"x"), "capability": "rec, ocr"} | changes


def sample(**changes: Any) -> Any:
    return TASK.to_sample(row(**changes))


def test_a_row_with_and_without_an_image() -> None:
    found = sample()
    assert (found.id, found.answer, found.answer_type) == ("v1_3", "a <AND> b", "text")
    assert found.groups == {"capabilities": "ocr,rec", "ocr": "yes", "rec": "yes"}
    assert len(found.images) == 1 and found.question_text == "What is it?"
    assert sample(image=None).images == ()


def test_the_papers_copy_is_graded_alike_and_names_no_capabilities(tmp_path: Path) -> None:
    rows = [
        {"problem": "What are x and y?\n(A) 1 (B) 2", "answer": "-1 <AND> 5"},
        {"problem": "How many gallons?", "answer": "7"},
        {"problem": "Which one?", "answer": "A"},
    ]
    mirrored(tmp_path, "zli12321/mm-vet/test", [r | {"images": None} for r in rows])
    found = load("mmvet", tmp_path, "paper")
    assert [(s.answer, s.answer_type, s.choices, s.groups) for s in found] == [
        (r["answer"], "text", None, {}) for r in rows
    ]
    assert len({s.id for s in found}) == 3 and "(A) 1 (B) 2" in found[0].question_text
    responses = [Response(s.id, s.groups, 0.5) for s in found]
    score = score_responses(responses, TASK.metrics, cluster=None, per_sample=1)
    assert score.metrics["graded_mean"].value == 0.5 and score.metrics["rec"].n == 0


def test_a_model_grades_it_with_its_own_prompt() -> None:
    prompt = TASK.judge_prompt
    assert TASK.judge == "gemini" and TASK.judge_fallback is None
    assert prompt is not None and prompt.graded
    text = prompt.write("q", "a <AND> b", "c", structured=True)
    assert "<AND> in the reference" in text and "a <AND> b" in text and '{"score"' in text


def test_means_over_all_and_by_capability() -> None:
    graded = [("rec", 1.0), ("rec,ocr", 0.5), ("ocr", 0.0), ("math", None), ("gen,math", 0.2)]
    responses = [
        Response(str(n), sample(capability=named).groups, score)
        for n, (named, score) in enumerate(graded)
    ]
    score = score_responses(responses, TASK.metrics, cluster=None, per_sample=1)
    values = {name: value.value for name, value in score.metrics.items()}
    assert values["graded_mean"] == pytest.approx(1.7 / 4)
    assert values["rec"] == pytest.approx(0.75) and values["ocr"] == pytest.approx(0.25)
    assert values["math"] == pytest.approx(0.2) and values["spat"] is None
    assert values["accuracy_strict"] == pytest.approx(1.7 / 5)
    assert score.rates.scored == 4
