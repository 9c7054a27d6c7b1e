"""HallusionBench (arXiv:2310.14566): yes or no, about figures, edited figures, and no figure."""

from __future__ import annotations

from vsr1_bench.data.problem_rows import problem_copy
from vsr1_bench.records import EncodedImage, Outcome, Sample
from vsr1_bench.task import Copy, Group, Metric, Row, Source, Task, example_image, interleave

NAMES = ("category", "subcategory", "set_id", "figure_id", "question_id", "visual_input")
EXAMPLE = dict.fromkeys(NAMES, "1") | {"question": "Is A bigger?", "gt_answer": "1"}


def to_sample(row: Row) -> Sample:
    """Map a row; an image that is missing fails its sample. Some subcategories end in a space."""
    kind, topic, number, figure, asked, visual = (str(row[name]).strip() for name in NAMES)
    given = None if visual == "0" else (row.get("image") or EncodedImage(),)
    question, images = interleave(row["question"], given)
    unit, gold = f"{kind}/{topic}/{number}", {"0": "no", "1": "yes"}[str(row["gt_answer"]).strip()]
    groups = {"category": kind, "subcategory": topic, "visual_input": visual, "set": unit}
    groups |= {"question": f"{unit}/q{asked}", "figure": f"{unit}/f{figure}"}
    groups["shown"] = "no" if (kind, figure) == ("VS", "0") else "yes"
    return Sample(f"{unit}/{figure}/{asked}", question, gold, "yes_no", images, groups=groups)


def verdict_of_label(sample: Sample, label: str) -> Outcome | None:
    """Read `unclear` as the authors do: right where no figure is shown; other labels as usual."""
    if label != "unclear":
        return None
    return "correct" if sample.groups.get("shown") == "no" else "incorrect"


def _task(split: str, n: int, **copies: Copy) -> Task:
    return Task(
        name=f"hallusionbench_{split}",
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
        example=lambda: EXAMPLE | {"image": example_image()},
        copies=copies,
    )


IMAGE = _task("image", 951, paper=problem_copy("zli12321/hallusionbench"))
TEXT = _task("non_image", 178)
QACC = Metric("qAcc", "all_correct_by", ("question",))
FACC = Metric("fAcc", "all_correct_by", ("figure",), only=(("shown", ("yes",)),))
EASY = Metric("easy", "all_correct_by", ("question",), only=(("visual_input", ("0", "1")),))
HARD = Metric("hard", "all_correct_by", ("question",), only=(("visual_input", ("2",)),))
ALL = (Metric("aAcc"), QACC, FACC, EASY, HARD)
GROUP = Group("hallusionbench", (IMAGE.name, TEXT.name), metrics=ALL)
