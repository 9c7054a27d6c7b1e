"""MM-Vet (arXiv:2308.02490): open questions, each on some of six capabilities, graded 0 to 1.

`<AND>` and `<OR>` in the gold answer are for the judge, whose prompt explains them. The paper's
copy does not name the capabilities, so it has only the overall mean.
"""

from __future__ import annotations

from vsr1_bench.data.problem_rows import problem_copy
from vsr1_bench.prompts.judge_prompts import GRADED
from vsr1_bench.records import Sample
from vsr1_bench.task import Copy, Metric, Row, Source, Task, example_image, interleave

CAPABILITIES = ("rec", "ocr", "know", "gen", "spat", "math")
LMMS_EVAL = Source("lmms-lab-encoder/MMVet", split="test", images=("image",))


def to_sample(row: Row) -> Sample:
    """Map a row; the combination of capabilities is a group, and so is each capability."""
    image = row.get("image")
    question, images = interleave(row["question"], (image,) if image is not None else ())
    needed = sorted({name.strip() for name in row["capability"].split(",") if name.strip()})
    return Sample(
        id=str(row["question_id"]),
        question=question,
        answer=row["answer"],
        answer_type="text",
        images=images,
        groups={"capabilities": ",".join(needed)} | dict.fromkeys(needed, "yes"),
    )


def example() -> Row:
    """A generated row in the true columns."""
    return {
        "question_id": "v1_0",
        "question": "What is x?",
        "answer": "-1 <AND> -5",
        "image": example_image(),
        "capability": "ocr,math",
    }


TASK = Task(
    name="mmvet",
    title="MM-Vet",
    version=1,
    source=Source("whyu/mm-vet", split="test", images=("image",)),
    to_sample=to_sample,
    answer_type="text",
    judge="gemini",
    judge_prompt=GRADED,
    metrics=(
        Metric("graded_mean", "graded_mean"),
        *(Metric(name, "graded_mean", only=((name, ("yes",)),)) for name in CAPABILITIES),
    ),
    license="CC-BY-NC-4.0",
    description="open questions on six capabilities, graded 0 to 1 by a model",
    citation="arXiv:2308.02490",
    example=example,
    copies={
        "lmms_eval": Copy(LMMS_EVAL, to_sample),
        "paper": problem_copy("zli12321/mm-vet", wants="text"),
    },
)
