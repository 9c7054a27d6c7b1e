"""The order of the training add-on, from the ground: each part imports only what stands before it.

The imports are read from the source, those inside functions and those for type checkers too.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from tree import ROOT

PACKAGE = "vsr1_bench.train"
TRAINERS = {"sft", "grpo", "loop", "loop_summary", "plan"}
"""What a user runs: it may import every part."""
ORDER = ({"core"}, {"recipe"}, {"sft_recipe", "conversations"}, {"rl", "tiny_mixture"}, TRAINERS)


def part_of(path: Path) -> str:
    """The part of the add-on that a file belongs to: its room, or itself."""
    return path.parts[1] if len(path.parts) > 2 else path.stem


def imported(path: Path, source: str) -> set[str]:
    """Parts of the add-on that a file imports."""
    package = [*PACKAGE.split("."), *path.parts[1:-1]]
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names |= {f"{base}.{alias.name}" for alias in node.names}
    inside = (name.removeprefix(f"{PACKAGE}.") for name in names if name.startswith(f"{PACKAGE}."))
    return {name.partition(".")[0] for name in inside}


def breaches(path: Path, source: str) -> set[str]:
    """Parts that a file imports and that do not stand before its own."""
    part = part_of(path)
    place = next(i for i, parts in enumerate(ORDER) if part in parts)
    allowed = {part}.union(*ORDER[:place], TRAINERS if part in TRAINERS else ())
    return imported(path, source) - allowed


def files() -> list[Path]:
    found = sorted((ROOT / "train").rglob("*.py"))
    return [f.relative_to(ROOT) for f in found if f != ROOT / "train/__init__.py"]


@pytest.mark.parametrize("path", files(), ids=str)
def test_each_part_imports_what_stands_before_it(path: Path) -> None:
    assert breaches(path, (ROOT / path).read_text(encoding="utf-8")) == set()


def test_trainers_do_not_import_each_other_in_a_circle() -> None:
    sources = {part: (ROOT / f"train/{part}.py").read_text(encoding="utf-8") for part in TRAINERS}
    left = {p: imported(Path(f"train/{p}.py"), s) & TRAINERS for p, s in sources.items()}
    while ground := [part for part, needs in left.items() if not needs]:
        left = {part: needs - set(ground) for part, needs in left.items() if part not in ground}
    assert left == {}


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("train/core/metrics.py", "from ..rl.rollouts import Rollout"),
        ("train/core/engine.py", "from ..recipe import Recipe"),
        ("train/core/engine.py", "def f():\n    from .. import grpo"),
        ("train/core/session.py", "import vsr1_bench.train.sft"),
        ("train/rl/prompts.py", "from vsr1_bench.train.sft import main"),
        ("train/recipe.py", "from .rl import rewards"),
        ("train/sft.py", "from .rl.nowhere import X\nfrom .elsewhere import Y"),
    ],
)
def test_a_breach_of_the_order_is_seen(path: str, source: str) -> None:
    assert breaches(Path(path), source)


def test_the_add_on_imports_itself_relatively() -> None:
    """Import checkers do not see through the mapping of this folder into `vsr1_bench`."""
    absolute = [
        f"{path}: from {node.module}"
        for path in files()
        for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and not node.level and node.module
        if f"{node.module}.".startswith(f"{PACKAGE}.")
    ]
    assert absolute == []
