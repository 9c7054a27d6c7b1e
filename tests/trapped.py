"""Tasks of lmms-eval that tests write themselves, file by file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

YAML = """
task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: generate_until
doc_to_text: !function utils.to_text
doc_to_target: answer
process_results: !function utils.process
{settings}
metric_list:
  - metric: right
    aggregation: !function utils.aggregate
    higher_is_better: true
metadata:
  version: 1.5
"""
USUAL = """
def to_text(doc, lmms_eval_specific_kwargs=None):
    return doc["question"]

def process(doc, results):
    return {"right": float(results[0] == doc["answer"])}

def aggregate(items):
    return sum(items) / len(items)
"""


def make(folder: Path, code: str, settings: str = "", name: str = "trap", n: int = 4) -> str:
    """Write a task's files, with n rows; what `--include_path` names."""
    place = folder / "tasks" / name
    place.mkdir(parents=True, exist_ok=True)
    data = place / "rows.jsonl"
    rows = ({"question": f"{number}?", "answer": "yes"} for number in range(n))
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (place / "utils.py").write_text(code)
    (place / f"{name}.yaml").write_text(YAML.format(name=name, data=data, settings=settings))
    return str(folder / "tasks")


def run(folder: Path, tasks: str, lines: list[dict[str, Any]], model: str = "said") -> Any:
    """Generate by a script and score: (run folder, document)."""
    from vsr1_bench.pipeline.plan import RunOptions
    from vsr1_bench.pipeline.run import generate
    from vsr1_bench.scoring.runs import judge_and_score

    script = folder / f"{model}.jsonl"
    script.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (done,) = generate(
        RunOptions(
            model=model,
            tasks="lmms_eval/trap",
            output_path=folder / "runs",
            backend="scripted",
            model_args={"script": str(script)},
            include_path=(tasks,),
            progress=False,
        )
    )
    return done.folder, judge_and_score(done.folder, None, (tasks,), progress=False)


def always(text: str) -> list[dict[str, Any]]:
    return [{"id": "*", "response": text}]
