"""A small copy of the authors' repository of raw outputs, and of the sets that it answers.

Thirteen runs, a dozen rows a set. What the published judge said holds each of its faults: a call
that failed ("error"), an empty reply, and one without a verdict, all of which its authors count as
correct.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hub import Repositories

from vsr1_bench.imports.vision_sr1 import JUDGED, REPOSITORY, RUNS
from vsr1_bench.task import example_image

PARTS = ("mmmu-pro", "clevr_count_70k", "mm-vet", "mathverse", "mathvista", "mathvision")
PARTS += ("realWorldQA",)
CHOICES = ("mmmu_pro_10options", "mmmu-pro-vision", "MMMU", "visnumbench")
FAULTS = ("error", "", "The two do not agree.")
EACH = 4
"""Rows of a part of MLLM_test."""
N = 12
"""Rows of the other sets."""


def rows_of(name: str) -> list[dict[str, Any]]:
    """The rows of a set in the columns of the authors' copies."""
    if name == "MLLM_test":
        return [
            {
                "problem": f"<image>How many dots has picture {n} of {part}?",
                "answer": str(n + 2),
                "images": (example_image(56 + n, 56),),
                "file_name": part,
            }
            for part in PARTS
            for n in range(EACH)
        ]
    rows = []
    for n in range(N):
        yes_no = name == "hallusionbench"
        problem = f"<image>Is line {n} longer?" if yes_no else f"<image>Which {n}?\nA. x\nB. y"
        gold = ("yes", "no")[n % 2] if yes_no else "AB"[n % 2]
        row = {"problem": problem, "answer": gold, "images": (example_image(56, 56 + n),)}
        if name == "MMMU":
            row |= {"id": f"validation_Art_{n}", "question_type": "multiple-choice"}
        rows.append(row)
    return rows


SETS = ("MLLM_test", *CHOICES, "hallusionbench")


def write_sets(repositories: Repositories) -> None:
    for name in SETS:
        repositories.add(f"zli12321/{name}", None, "test", rows_of(name))


def right(run: str, row: int) -> bool:
    """Whether a run answers a row rightly: the n-th run errs at every row that n + 2 divides."""
    return bool((row + 1) % (RUNS.index(run) + 2))


def response_of(run: str, gold: str, row: int) -> str:
    said = gold if right(run, row) else ("B" if gold == "A" else "A" if gold in "BCD" else "no")
    if said == gold == "no":
        said = "no" if right(run, row) else "yes"
    if "By Huang" in run:
        return f"<think>maybe \\boxed{{17}}</think><answer>So. Final Answer: {said}</answer>"
    return f"<description>d</description><think>t</think>\\boxed{{{said}}}"


def judged_line(run: str, line: dict[str, Any], gold: str, row: int) -> dict[str, Any]:
    """A line as `LLM_eval.py` writes it: the LLM is asked where the rule says wrong."""
    if right(run, row) and "By Huang" not in run:
        return line | {
            "gold_answer": gold,
            "accuracy_output": "correct",
            "accuracy_judgment": "correct",
        }
    elif right(run, row):
        said, word = "<judgment>correct</judgment>", "correct"
    elif row % 2:
        said = word = FAULTS[row // 2 % len(FAULTS)]
    else:
        said, word = "<judgment>Incorrect</judgment>", "incorrect"
    return line | {
        "gold_answer": gold,
        "accuracy_output": said,
        "accuracy_judgment": word.lower(),
    }


def write_raw(served: Path, runs: tuple[str, ...] = RUNS) -> Path:
    """Write the repository; returns the folder of its newest commit."""
    folder = served / "datasets" / REPOSITORY / "main"
    for run in runs:
        for name in SETS:
            golds = [row["answer"] for row in rows_of(name)]
            lines = [{"response": response_of(run, gold, n)} for n, gold in enumerate(golds)]
            write_lines(folder / run / f"{name}.jsonl", lines)
            if name == "MLLM_test":
                judged = [
                    judged_line(run, line, gold, n)
                    for n, (line, gold) in enumerate(zip(lines, golds, strict=True))
                ]
                write_lines(folder / JUDGED / run / f"{name}.jsonl", judged)
        write_lines(folder / run / "unheard-of.jsonl", [{"response": "x"}])
    (folder / "README.md").write_text("# Raw outputs\n")
    return folder


def write_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def write_one_set(served: Path, values: dict[str, float], n: int = 200) -> None:
    """A repository with the VisNumBench files of some runs, each with so many percent right."""
    image = example_image(56, 56)
    rows = [
        {
            "problem": f"<image>Which of the two, {row}?\nA. x\nB. y",
            "answer": "AB"[row % 2],
            "images": (image,),
        }
        for row in range(n)
    ]
    repositories = Repositories(served)
    repositories.add("zli12321/visnumbench", None, "test", rows)
    folder = repositories.write() / "datasets" / REPOSITORY / "main"
    for run, percent in values.items():
        right = round(percent * n / 100)
        said = ["AB"[(row + (row >= right)) % 2] for row in range(n)]
        write_lines(
            folder / run / "visnumbench.jsonl", [{"response": f"\\boxed{{{s}}}"} for s in said]
        )
