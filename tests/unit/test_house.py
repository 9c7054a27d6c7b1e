"""The borders of the house: who may import whom, what stays light, what stays small.

The rules are read from the source with `ast`, because import checkers do not see through the
mapping of `tasks`, `judges` and `train` into `vsr1_bench`.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli import loaded
from tree import MAPPED, ROOT, module_name, python_files, repository_files

HEAVY = {
    "accelerate",
    "datasets",
    "deepspeed",
    "matplotlib",
    "pandas",
    "scipy",
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
# These commands start the training add-on, and only when they run.
LAZY_ABOUT_TRAIN = {"vsr1_bench.cli.train", "vsr1_bench.cli.loop"}
MAX_MODULE_LINES = 450
MAX_PLUGIN_LINES = 60
"""Of code: docstrings, comments, blank lines and `example()` are not counted."""

NO_CODE = (
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
)

CODE = python_files("vsr1_bench", *MAPPED)


def inside(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def imports_of(path: Path, source: str | None = None) -> Iterator[tuple[int, str, bool]]:
    """Yield (line, absolute module name, whether it runs at import) for each import statement.

    `from a import b` yields both `a` and `a.b`, since b may be a module. Imports that only a type
    checker sees do not run.
    """
    tree = ast.parse(source if source is not None else (ROOT / path).read_text(encoding="utf-8"))
    here = module_name(path).split(".")
    package = here if path.name == "__init__.py" else here[:-1]

    def walk(node: ast.AST, top: bool) -> Iterator[tuple[int, str, bool]]:
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield node.lineno, base, top
            yield from ((node.lineno, f"{base}.{alias.name}", top) for alias in node.names)
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            for child in node.body:
                yield from walk(child, False)
            for child in node.orelse:
                yield from walk(child, top)
        else:
            deferred = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            for child in ast.iter_child_nodes(node):
                yield from walk(child, top and not deferred)

    yield from walk(tree, True)


def border_breaches(path: Path, source: str | None = None) -> list[str]:
    me = module_name(path)
    home = next((f for f in MAPPED if inside(me, f"vsr1_bench.{f}")), None)
    breaches = []
    for line, name, top in imports_of(path, source):
        folder = next((f for f in MAPPED if inside(name, f"vsr1_bench.{f}")), None)
        if folder is None or folder == home:
            continue
        if folder == "train" and me in LAZY_ABOUT_TRAIN and not top:
            continue
        breaches.append(f"{path}:{line}: {me} imports {name}; go through vsr1_bench.registry")
    return breaches


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


def test_arrows_point_inward() -> None:
    assert CODE
    assert [breach for path in CODE for breach in border_breaches(path)] == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("vsr1_bench/pipeline/run.py", "import vsr1_bench.tasks.demo"),
        ("vsr1_bench/pipeline/run.py", "def f():\n    from vsr1_bench import judges"),
        ("vsr1_bench/pipeline/run.py", "from . import tasks"),
        ("vsr1_bench/cli/run.py", "from ..tasks.demo import TASK"),
        ("vsr1_bench/cli/train.py", "from vsr1_bench.train import grpo"),
        ("tasks/demo.py", "from vsr1_bench.judges.math import JUDGE"),
        ("judges/math.py", "from ..tasks import demo"),
        ("train/grpo.py", "import vsr1_bench.judges"),
    ],
)
def test_a_breach_of_the_border_is_seen(path: str, source: str) -> None:
    assert border_breaches(Path(path), source)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("vsr1_bench/cli/train.py", "def f():\n    from vsr1_bench.train import grpo"),
        ("tasks/demo.py", "from vsr1_bench.task import Task"),
        ("vsr1_bench/cli/ls.py", "from vsr1_bench.task import Task\nimport vsr1_bench.judge"),
    ],
)
def test_the_ways_that_are_open(path: str, source: str) -> None:
    assert border_breaches(Path(path), source) == []


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
    assert loaded(program, *HEAVY) == ([], [])


@pytest.mark.parametrize("folder", MAPPED)
def test_bare_names_are_refused_in_one_line(folder: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import {folder}"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode != 0
    said = done.stderr.strip().splitlines()[-1]
    assert said.startswith("ImportError:")
    assert f"vsr1_bench.{folder}" in said


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
