"""The order of the house: who may import whom, what stays light, what stays small.

A room imports only from floors below its own (`house.ORDER`). Every import counts, wherever it
stands: at the top, inside a function, or for a type checker only.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections import Counter
from pathlib import Path

import house
import pytest
from cli import loaded
from house import CODE, imports_of, inside
from tree import MAPPED, ROOT, module_name, python_files, repository_files

HEAVY = {
    "accelerate",
    "datasets",
    "deepspeed",
    "matplotlib",
    "pandas",
    "scipy",
    "sklearn",
    "statsmodels",
    "sympy",
    "torch",
    "torchvision",
    "transformers",
    "vllm",
}
# `ls`, `--help` and listing tasks import these: they answer in a fraction of a second.
LIGHT_MODULES = ("vsr1_bench.registry", "vsr1_bench.task", "vsr1_bench.judge")
LIGHT_MODULES += ("vsr1_bench.records", "vsr1_bench.cli", "vsr1_bench.tasks", "vsr1_bench.judges")
MAX_MODULE_LINES = 450
MAX_PLUGIN_LINES = 60
"""Of code: docstrings, comments, blank lines and `example()` are not counted."""
MAX_LOOSE_MODULES = 9
"""With `__init__` and `__main__`."""

NO_CODE = (
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
)


def heavy_imports(path: Path, source: str | None = None) -> list[str]:
    return [
        f"{path}:{line}: {name} is heavy: import it inside the function that needs it"
        for line, name, top in imports_of(path, source)
        if top and name.split(".")[0] in HEAVY
    ]


def too_long(path: Path, source: str) -> str | None:
    # The registry lists files without a leading underscore: each is one benchmark or judge.
    plugin = path.parts[0] in ("tasks", "judges") and not path.name.startswith("_")
    lines = len(code_lines(source)) if plugin else len(source.splitlines())
    most = MAX_PLUGIN_LINES if plugin else MAX_MODULE_LINES
    what = "lines of code" if plugin else "lines"
    return f"{path}: {lines} {what}, at most {most}" if lines > most else None


def code_lines(source: str) -> set[int]:
    """Numbers of the lines that hold code, without docstrings and a module's `example()`.

    An import is one line, however many the formatter makes of it.
    """
    tree = ast.parse(source)
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    lines = {
        line
        for token in tokens
        if token.type not in NO_CODE
        for line in range(token.start[0], token.end[0] + 1)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            lines -= lines_of(node) - {node.lineno}
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            lines -= lines_of(node) if isinstance(node.value.value, str) else set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == "example":
            lines -= lines_of(node)
    return lines


def lines_of(node: ast.stmt) -> set[int]:
    return set(range(node.lineno, (node.end_lineno or node.lineno) + 1))


def test_every_room_has_its_place_in_the_order() -> None:
    order = [room for floor in house.ORDER for room in floor]
    assert len(order) == len(set(order))
    assert house.rooms() <= set(order)
    assert set(order) - house.rooms() <= {"harness"}  # may be part of `task`


def test_no_arrow_points_upward() -> None:
    found = house.arrows()
    assert len(found) > 100
    assert house.upward(found) == {}


def test_no_rooms_import_each_other_in_a_circle() -> None:
    assert house.circles(house.arrows()) == []
    ring = {("b", "c"): ["x"], ("c", "a"): ["x"], ("a", "b"): ["x"], ("a", "d"): ["x"]}
    assert house.circles(ring) == [("a", "b", "c")]


def test_few_modules_lie_loose_at_the_top() -> None:
    loose = [path for path in CODE if path.parts[0] == house.FACE and len(path.parts) == 2]
    assert len(loose) <= MAX_LOOSE_MODULES


def test_only_its_commands_start_the_training_add_on() -> None:
    assert [breach for path in CODE for breach in house.early_train(path)] == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("vsr1_bench/pipeline/run.py", "import vsr1_bench.tasks.demo"),
        ("vsr1_bench/pipeline/run.py", "def f():\n    from vsr1_bench import judges"),
        ("vsr1_bench/pipeline/run.py", "from .. import tasks"),
        (
            "vsr1_bench/pipeline/run.py",
            "from . import stream\nimport vsr1_bench.cli",
        ),
        ("vsr1_bench/pipeline/run.py", "from vsr1_bench import evaluate"),
        ("vsr1_bench/pipeline/run.py", "from vsr1_bench.judging.open import open_judge"),
        ("vsr1_bench/data/rows.py", "if TYPE_CHECKING:\n    from vsr1_bench.scoring import Score"),
        ("vsr1_bench/records.py", "from vsr1_bench.errors import BenchError"),
        ("vsr1_bench/cli/run.py", "from ..tasks.demo import TASK"),
        ("vsr1_bench/cli/train.py", "from vsr1_bench.train import grpo"),
        ("vsr1_bench/tools/doctor.py", "def f():\n    from vsr1_bench.train import grpo"),
        ("tasks/demo.py", "from vsr1_bench.judges.math import JUDGE"),
        ("tasks/demo.py", "def f():\n    from vsr1_bench.train.rl import rewards"),
        ("judges/math.py", "from ..tasks import demo"),
        ("train/grpo.py", "import vsr1_bench.judges"),
        ("train/core/engine.py", "from ...cli import main"),
    ],
)
def test_a_breach_of_the_order_is_seen(path: str, source: str) -> None:
    file = Path(path)
    assert house.upward(house.arrows_of([file], source)) or house.early_train(file, source)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("vsr1_bench/cli/train.py", "def f():\n    from vsr1_bench.train import grpo"),
        ("tasks/demo.py", "from vsr1_bench.task import Task"),
        ("vsr1_bench/cli/ls.py", "from vsr1_bench.task import Task\nimport vsr1_bench.judge"),
        ("vsr1_bench/pipeline/run.py", "from vsr1_bench import answers\nfrom . import stream"),
        ("vsr1_bench/__init__.py", "from vsr1_bench.api import evaluate"),
        ("train/grpo.py", "from .rl import rewards\nfrom ..errors import BenchError"),
    ],
)
def test_the_ways_that_are_open(path: str, source: str) -> None:
    file = Path(path)
    assert not house.upward(house.arrows_of([file], source)) and not house.early_train(file, source)


def test_the_page_shows_the_house_as_it_is() -> None:
    page = house.PAGE.read_text(encoding="utf-8")
    assert page == house.written(page), "run: python tests/house.py"


def test_the_life_of_a_sample_names_what_is_there() -> None:
    for *_, file, names in house.LIFE:
        body = ast.parse((ROOT / house.FACE / file).read_text(encoding="utf-8")).body
        for name in names.split("."):
            here = [n for n in body if isinstance(n, ast.ClassDef | ast.FunctionDef)]
            body = next(n.body for n in here if n.name == name)


def test_light_modules_import_nothing_heavy() -> None:
    light = [p for p in CODE if any(inside(module_name(p), m) for m in LIGHT_MODULES)]
    assert light
    assert [found for path in light for found in heavy_imports(path)] == []


def test_heavy_imports_are_seen_only_where_they_run() -> None:
    path = Path("vsr1_bench/task.py")
    assert heavy_imports(path, "try:\n    import torch\nexcept ImportError:\n    pass")
    assert not heavy_imports(path, "def f():\n    import torch")
    assert not heavy_imports(path, "if TYPE_CHECKING:\n    import pandas as pd")


def test_listing_loads_nothing_heavy() -> None:
    """What is imported indirectly counts too: look at a fresh interpreter."""
    program = (
        "import importlib, pkgutil\n"
        "import vsr1_bench.cli.main, vsr1_bench.tasks, vsr1_bench.judges\n"
        "for package in (vsr1_bench.tasks, vsr1_bench.judges):\n"
        "    for found in pkgutil.iter_modules(package.__path__, package.__name__ + '.'):\n"
        "        importlib.import_module(found.name)\n"
    )
    assert loaded(program, *HEAVY, "pydantic") == ([], [])


@pytest.mark.parametrize("command", ["grade", "grade_in_the_worker"])
def test_grading_plain_answers_loads_nothing_heavy(command: str, tmp_path: Path) -> None:
    """Nor what only runs need: their spec takes as long to load as the whole grading."""
    (tmp_path / "in.jsonl").write_text(r'{"id": 1, "response": "\\boxed{2}", "answer": "2"}')
    if command == "grade":
        words = ["grade", "in.jsonl", "--judge", "math", "--output", "out.jsonl"]
        program = f"import os; os.chdir({str(tmp_path)!r})\n"
        program += f"from vsr1_bench.cli.main import main\nmain({words!r})\n"
    else:
        program = "import vsr1_bench.judging.worker_child\n"
        program += "from vsr1_bench.judge import Item\n"
        program += "from vsr1_bench.registry import get_judge\n"
        program += "get_judge('math').grade(Item('1', '2', '2', 'math'))\n"
    spec = "vsr1_bench.store.spec"
    assert loaded(program, *HEAVY, "math_verify", "vsr1_bench.data.dataset", spec) == ([], [])


@pytest.mark.parametrize("folder", MAPPED)
def test_bare_names_are_refused_in_one_line(folder: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import {folder}"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode != 0
    said = done.stderr.strip().splitlines()[-1]
    assert said.startswith("ImportError:")
    assert f"vsr1_bench.{folder}" in said


def test_a_name_of_the_tests_or_scripts_means_one_file() -> None:
    # They are imported by their bare names, in one process: the first of two would win.
    files = python_files("tests", "scripts")
    names = Counter(p.stem for p in files if not p.stem.startswith(("__", "test_", "conftest")))
    assert [name for name, times in names.items() if times > 1] == []


def test_files_stay_small() -> None:
    counted = (too_long(path, (ROOT / path).read_text(encoding="utf-8")) for path in CODE)
    assert [said for said in counted if said] == []
    assert too_long(Path("tasks/demo.py"), "x = 1\n" * 61)
    assert not too_long(Path("tasks/demo.py"), "x = 1\n\n# Why.\n" * 60)
    assert too_long(Path("vsr1_bench/store/run_folder.py"), "# Why.\n" * 451)
    assert not too_long(Path("vsr1_bench/store/run_folder.py"), "x = 1\n" * 450)


def test_a_plug_in_s_words_are_no_code() -> None:
    lines = [
        '"""Docs,',  # not counted
        'of several lines."""',
        "",
        "# A comment.",
        "from re import (  # code",
        "    escape,",
        ")",
        'WORDS = """a',
        'b""".split()',
        '"""The docstring of a value."""',
        "def to_sample(row):",
        '    """Docs."""',
        "    return (",
        "        row",
        "    )",
        "def example():",
        "    row = {}",
        "    return row",
    ]
    assert code_lines("\n".join(lines)) == {5, 8, 9, 11, 13, 14, 15}


# Written in pieces, so that this file does not find itself.
MACHINE = re.compile(
    "|".join(
        (
            r"(?<![\w.~/])/(?:wo" + r"rk|ro" + r"ot|ho" + r"me/\w+|Use" + r"rs/\w+)/",
            r"/opt/(?:py" + r"pi|whe" + r"els)",
            r"files\.python" + r"hosted|(?:test\.)?py" + r"pi\.org/sim" + r"ple",
            r"--(?:extra-)?index" + r"-url|--find" + r"-links|fi" + r"le:///",
        )
    )
)


def test_no_machine_paths_and_no_registry_hosts() -> None:
    found = []
    for path in repository_files():
        content = (ROOT / path).read_bytes()
        if b"\0" in content:
            continue
        for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
            if hit := MACHINE.search(line):
                found.append(f"{path}:{number}: {hit.group(0)}")
    assert found == []


@pytest.mark.parametrize("text", ["see /wo" + "rk/main/x", "'/ho" + "me/ann/data/'"])
def test_machine_paths_are_seen(text: str) -> None:
    assert MACHINE.search(text)
