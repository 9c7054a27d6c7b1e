"""A run's identity holds the definition of its task, wherever the files of that definition lie."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from trapped import USUAL, make

if not find_spec("lmms_eval"):
    pytest.skip("lmms-eval has an environment of its own", allow_module_level=True)

from vsr1_bench.data.dataset import DataOptions, open_data
from vsr1_bench.pipeline.plan import RunOptions
from vsr1_bench.pipeline.run import generate
from vsr1_bench.registry import get_task, resolve_tasks
from vsr1_bench.scoring.runs import judge_and_score

SCORER = """
def process(doc, results):
    return {"right": float(results[0] == doc["answer"])}
"""


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    """A task whose settings and scorer come from another folder, and its usual neighbour."""
    make(tmp_path, USUAL, name="plain")
    folder = Path(make(tmp_path, USUAL))
    common, file = folder / "common", folder / "trap" / "trap.yaml"
    common.mkdir()
    (common / "scorer.py").write_text(SCORER)
    (common / "settings_yaml").write_text("generation_kwargs:\n  max_new_tokens: 16\n")
    text = file.read_text().replace("utils.process", "../common/scorer.process")
    file.write_text(f"include: ../common/settings_yaml\n{text}")
    return folder


def identity(tasks: Path, name: str = "trap") -> str:
    own = open_data(get_task(f"lmms_eval/{name}", (str(tasks),)), DataOptions()).own
    assert own is not None
    return own.prompt_hash


def change(file: str, old: str, new: str) -> Callable[[Path], None]:
    def edit(tasks: Path) -> None:
        path = tasks / file
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    return edit


@pytest.mark.parametrize(
    "edit",
    [
        change("trap/trap.yaml", "version: 1.5", "version: 1.6"),
        change("trap/utils.py", "return sum(items)", "return 2 * sum(items)"),
        change("common/settings_yaml", "16", "17"),
        change("common/scorer.py", "float(", "1 - float("),
    ],
    ids=["its file", "its module", "a file that it includes", "a module of another folder"],
)
def test_an_edit_of_the_definition_is_another_run(
    tasks: Path, edit: Callable[[Path], None]
) -> None:
    before = identity(tasks)
    assert identity(tasks) == before
    edit(tasks)
    assert identity(tasks) != before


def test_functions_that_others_have_made_are_told_apart(tasks: Path) -> None:
    code = USUAL.replace("process(doc", "of(right, doc").replace("float(", "right * float(")
    code += """
import functools

def make(right):
    def process(doc, results):
        return of(right, doc, results)
    return process

one, two = make(1.0), make(2.0)
part_one, part_two = functools.partial(of, 1.0), functools.partial(of, 2.0)
"""
    (tasks / "plain" / "utils.py").write_text(code)
    names, old = ("one", "two", "part_one", "part_two"), "process"
    found = set()
    for name in names:
        change("plain/plain.yaml", f"utils.{old}\n", f"utils.{name}\n")(tasks)
        found.add(identity(tasks, "plain"))
        old = name
    assert len(found) == len(names)


def test_what_is_no_part_of_the_definition_changes_nothing(tasks: Path, tmp_path: Path) -> None:
    before = identity(tasks)
    change("trap/trap.yaml", "task: trap", "# a comment\ntask: trap")(tasks)
    (tasks / "trap" / "other.yaml").write_text("include: trap.yaml\ntask: other\n")
    change("plain/plain.yaml", "version: 1.5", "version: 1.6")(tasks)
    assert identity(tasks) == before
    # Nor is the place of the files: the same folder elsewhere goes on with the same runs.
    moved = shutil.copytree(tasks, tmp_path / "moved")
    file = moved / "trap" / "trap.yaml"
    file.write_text(file.read_text().replace(str(tasks), str(moved)))
    assert identity(moved) == before


def test_a_groups_member_in_another_folder_and_what_the_group_says_of_it(tasks: Path) -> None:
    group = tasks / "both" / "both.yaml"
    group.parent.mkdir()
    group.write_text(
        "group: both\ntask:\n  - trap\n  - task: plain\n    description: Look.\n"
        "aggregate_metric_list:\n  - metric: right\n    weight_by_size: true\n"
    )
    names = [task.name for task in resolve_tasks("lmms_eval/both", (str(tasks),))]
    assert names == ["lmms_eval/both/trap", "lmms_eval/both/plain"]

    def both() -> list[str]:
        return [identity(tasks, f"both/{name}") for name in ("trap", "plain")]

    trap, plain = both()
    change("common/settings_yaml", "16", "17")(tasks)
    changed = both()
    assert changed[0] != trap and changed[1] == plain
    change("both/both.yaml", "Look.", "Look twice.")(tasks)
    assert both()[0] == changed[0] and both()[1] != plain


def test_a_resumed_run_mixes_no_two_definitions(tasks: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.jsonl"
    script.write_text('{"id": "*", "response": "yes"}\n')

    def run() -> tuple[Path, str]:
        (done,) = generate(
            RunOptions(
                model="said",
                tasks="lmms_eval/trap",
                output_path=tmp_path / "runs",
                backend="scripted",
                model_args={"script": str(script)},
                include_path=(str(tasks),),
                progress=False,
            )
        )
        document = judge_and_score(done.folder, None, (str(tasks),), progress=False)
        assert document["footnote"] is None
        assert document["metrics"]["right"]["value"] == 1.0
        return done.folder.path, document["verdicts"]

    first, verdicts = run()
    assert run() == (first, verdicts)
    change("common/settings_yaml", "16", "17")(tasks)
    second, _ = run()
    assert second != first
    # The responses of the first, scored by another definition: their verdicts stand apart.
    (folder,) = [one for one in (tmp_path / "runs").glob("*/*") if one == first]
    from vsr1_bench.store.run_folder import RunFolder

    document = judge_and_score(RunFolder(folder), None, (str(tasks),), progress=False)
    assert document["footnote"] and document["verdicts"] != verdicts
