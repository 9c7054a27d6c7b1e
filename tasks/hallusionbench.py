"""HallusionBench (arXiv:2310.14566): yes/no questions on figures, edited figures and no figure."""

from __future__ import annotations

from vsr1_bench.data.problem_rows import problem_copy
from vsr1_bench.records import EncodedImage, Outcome, Sample
from vsr1_bench.task import Copy, Group, Metric, Row, Source, Task, example_image, interleave

GOLDS = {"0": "no", "1": "yes"}


def to_sample(row: Row) -> Sample:
    """Map a row; a missing image fails its sample. Some subcategories end with a space."""

    def cell(name: str) -> str:
        return str(row[name]).strip()

    category, subcategory = cell("category"), cell("subcategory")
    figure, number = cell("figure_id"), cell("question_id")
    unit = f"{category}/{subcategory}/{cell('set_id')}"
    visual_input = cell("visual_input")
    image = None if visual_input == "0" else (row.get("image") or EncodedImage(),)
    question, images = interleave(row["question"], image)
    return Sample(
        id=f"{unit}/{figure}/{number}",
        question=question,
        answer=GOLDS[cell("gt_answer")],
        answer_type="yes_no",
        images=images,
        groups={
            "category": category,
            "subcategory": subcategory,
            "visual_input": visual_input,
            "set": unit,
            "question": f"{unit}/q{number}",
            "figure": f"{unit}/f{figure}",
            "shown": "no" if (category, figure) == ("VS", "0") else "yes",
        },
    )


def verdict_of_label(sample: Sample, label: str) -> Outcome | None:
    """Read `unclear` as the authors do: correct if no figure is shown; other labels as usual."""
    if label != "unclear":
        return None
    return "correct" if sample.groups.get("shown") == "no" else "incorrect"


def example() -> Row:
    """A generated row in the true columns."""
    return {
        "category": "1",
        "subcategory": "1",
        "set_id": "1",
        "figure_id": "1",
        "question_id": "1",
        "visual_input": "1",
        "question": "Is A bigger?",
        "gt_answer": "1",
        "image": example_image(),
    }


def _task(split: str, n: int, **copies: Copy) -> Task:
    return Task(
        name=f"hallusionbench_{split}",
        title=f"HallusionBench ({split.replace('_', '-')})",
        version="1.1",
        source=Source("lmms-lab/HallusionBench", split, images=("image",), n=n),
        to_sample=to_sample,
        answer_type="yes_no",
        license="BSD-3-Clause",
        description=f"yes/no questions, {split}; official numbers: group hallusionbench",
        suites=("paper", "hallucination"),
        cluster="set",
        citation="arXiv:2310.14566",
        native_prompt="",
        verdict_of_label=verdict_of_label,
        example=example,
        copies=copies,
    )


IMAGE = _task("image", 951, paper=problem_copy("zli12321/hallusionbench"))
TEXT = _task("non_image", 178)
QACC = Metric("qAcc", "all_correct_by", ("question",))
FACC = Metric("fAcc", "all_correct_by", ("figure",), only=(("shown", ("yes",)),))
EASY = Metric("easy", "all_correct_by", ("question",), only=(("visual_input", ("0", "1")),))
HARD = Metric("hard", "all_correct_by", ("question",), only=(("visual_input", ("2",)),))
METRICS = (Metric("aAcc"), QACC, FACC, EASY, HARD)
GROUP = Group("hallusionbench", (IMAGE.name, TEXT.name), (), METRICS, "HallusionBench")
