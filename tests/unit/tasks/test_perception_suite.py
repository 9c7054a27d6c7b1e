"""The suite `perception` with its second pass and blind runs, without a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cli import script
from judged import mirrored

from vsr1_bench.data.dataset import DataOptions
from vsr1_bench.pipeline.plan import RunOptions
from vsr1_bench.pipeline.run import generate
from vsr1_bench.registry import get_task
from vsr1_bench.scoring.runs import judge_and_score
from vsr1_bench.task import Row, Source, example_image
from vsr1_bench.tasks import mmvp, naturalbench, vlmsareblind

ROWS: dict[str, list[Row]] = {
    "naturalbench": [{**naturalbench.example(), "Index": n} for n in range(3)],
    "mmvp": [
        {**mmvp.example(), "Index": n, "Correct Answer": gold}
        for n, gold in enumerate(("(a)", "(b)"), start=1)
    ],
    "vlmsareblind": [{**vlmsareblind.example(), "task": "Circled Letter", "groundtruth": "a"}],
}


def mirror(root: Path) -> None:
    """Write the rows with their images as files."""
    for name, rows in ROWS.items():
        source = get_task(name).source
        assert isinstance(source, Source)
        files = dict.fromkeys(source.images, "image.png")
        written = [{**row, **files} for row in rows]
        path = mirrored(root, f"{source.hub_id}/{source.split}", written)
        (path.parent / "image.png").write_bytes(example_image().read())


def test_the_same_letter_for_every_image_is_right_by_half_and_in_no_group(tmp_path: Path) -> None:
    mirror(tmp_path)
    lines: list[dict[str, Any]] = [
        {"id": "*", "response": "<description>A dog.</description>\\boxed{A}"},
        {"id": "*", "stage": "reading", "response": "\\boxed{A}"},
    ]
    options = RunOptions(
        model="m",
        tasks="perception",
        backend="scripted",
        model_args={"script": str(script(tmp_path / "script.jsonl", *lines))},
        output_path=tmp_path / "runs",
        data=DataOptions(tmp_path),
        progress=False,
        perception="self",
        blind=("drop",),
    )
    found = {}
    for run in sorted(generate(options), key=lambda run: not run.blind):
        document = judge_and_score(run.folder, None, progress=False)
        if not run.blind:
            metrics = document["metrics"]
            found[document["task"]] = {name: metrics[name]["value"] for name in metrics}
    half = {"accuracy": 0.5, "self_contained": 0.5, "blind_accuracy[drop]": 0.5, "gain[drop]": 0.0}
    wanted = {
        "naturalbench": half | {"gAcc": 0.0, "qAcc": 0.0, "iAcc": 0.0},
        "mmvp": half | {"pair_accuracy": 0.0},
        "vlmsareblind": {"accuracy": 1.0, "task_mean": 1.0, "self_contained": 1.0},
    }
    assert {task: {m: found[task][m] for m in wanted[task]} for task in found} == wanted
