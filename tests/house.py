"""The house as its imports show it: rooms, their order from the ground, and the diagram of both.

`python tests/house.py` prints the tables of docs/architecture.md and writes them there. The imports
are read from the source with `ast`, because import checkers do not see through the mapping of
`tasks`, `judges` and `train` into `vsr1_bench`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

from tree import MAPPED, ROOT, module_name, python_files

ORDER = (
    ("errors", "records"),
    ("_util", "answers"),
    ("prompts", "store"),
    ("task", "tiny"),
    ("generation", "harness"),
    ("judge", "data", "perception"),
    ("registry",),
    ("judging", "pipeline"),
    ("scoring",),
    ("publish", "leaderboard", "lmms_eval"),
    ("api",),
    ("imports", "compare", "audit", "calibration"),
    ("report",),
    ("train",),
    ("export", "tools"),
    ("cli", "tasks", "judges"),
)
"""Floors from the ground: a room imports only from floors below its own.

Nobody stands above `tasks` and `judges`, so nobody imports them: the registry finds them by name.
"""

LAZY_ABOUT_TRAIN = ("vsr1_bench.cli.train", "vsr1_bench.cli.loop")
"""The commands that start the training add-on, and only when they run; nobody else imports it."""

LIFE = (
    ("row", "is read from the hub, a mirror or a function", "data/rows.py", "Rows"),
    ("Sample", "the task maps the row", "data/dataset.py", "TaskData.placed_samples"),
    ("Request", "a prompt format words the question", "prompts/formats.py", "build_messages"),
    ("Completion", "the engine answers", "generation/base.py", "Generator"),
    ("Generation", "the answer is stored at once", "store/writer.py", "RunWriter.add"),
    ("Perception", "its description is read blind", "perception/second_pass.py", "SecondPass"),
    ("Judgment", "a judge decides and is stored", "judging/runs.py", "judge_run"),
    ("Score", "metrics over the verdicts", "scoring/score.py", "score_responses"),
    ("table", "scores of many runs side by side", "leaderboard/wide.py", "build_grid"),
)
"""The life of one sample: what it becomes, how, in which module, by what."""

FACE = "vsr1_bench"
"""The package itself: `__init__` and `__main__` stand before the house and are no room."""

CODE = python_files(FACE, *MAPPED)
Arrows = Mapping[tuple[str, str], list[str]]
"""(importing room, imported room) -> where, as `path:line`."""


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


def room_of(module: str) -> str | None:
    """The room that a module of this project stands in; None for the face and for others."""
    parts = module.split(".")
    return parts[1] if parts[0] == FACE and len(parts) > 1 and parts[1] != "__main__" else None


def rooms_imported(path: Path, source: str | None = None) -> Iterator[tuple[int, str]]:
    """Yield (line, room) for the imports of a file that lead into another room.

    Every import counts, wherever it stands: at the top, in a function, for a type checker only.
    A name that is taken from the package itself (`from vsr1_bench import evaluate`) is no room, and
    comes back as `FACE`: no room may look at the face.
    """
    me, known = room_of(module_name(path)), rooms()
    for line, name, _ in imports_of(path, source):
        room = room_of(name)
        if room is not None and room not in known:
            room = FACE
        if room is not None and room != me:
            yield line, room


@cache
def arrows() -> Arrows:
    """All imports from room to room, the face's own left out."""
    return arrows_of(CODE)


def arrows_of(files: Iterable[Path], source: str | None = None) -> Arrows:
    """The imports of these files from room to room, or of one file as if it had this source."""
    found: dict[tuple[str, str], list[str]] = {}
    for path in files:
        me = room_of(module_name(path))
        for line, room in rooms_imported(path, source) if me else ():
            places = found.setdefault((str(me), room), [])
            if f"{path}:{line}" not in places:
                places.append(f"{path}:{line}")
    return found


def upward(found: Arrows) -> Arrows:
    """The arrows that do not lead to a lower floor, those to the face included."""
    floor = {room: number for number, rooms in enumerate(ORDER) for room in rooms}
    return {
        (here, there): where
        for (here, there), where in found.items()
        if floor.get(there, len(ORDER)) >= floor.get(here, -1)
    }


def early_train(path: Path, source: str | None = None) -> list[str]:
    """Imports of the training add-on by others than its commands, or when those are only listed."""
    me = module_name(path)
    return [
        f"{path}:{line}: {me} imports {name}"
        for line, name, top in imports_of(path, source)
        if inside(name, f"{FACE}.train")
        and not inside(me, f"{FACE}.train")
        and (top or me not in LAZY_ABOUT_TRAIN)
    ]


def circles(found: Arrows) -> list[tuple[str, ...]]:
    """Circles among the arrows, each once and from its first room by name; no order is needed."""
    below: dict[str, set[str]] = {}
    for here, there in found:
        below.setdefault(here, set()).add(there)
    done: set[str] = set()
    seen = []

    def walk(room: str, way: list[str]) -> None:
        if room in way:
            ring = way[way.index(room) :]
            first = ring.index(min(ring))
            seen.append((*ring[first:], *ring[:first]))
        elif room not in done:
            for other in sorted(below.get(room, ())):
                walk(other, [*way, room])
            done.add(room)

    for room in sorted(below):
        walk(room, [])
    return sorted(set(seen))


def purpose(room: str) -> str:
    """The first paragraph of a room's docstring."""
    folder = ROOT / room if room in MAPPED else ROOT / FACE / room
    file = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    words = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return " ".join(words.partition("\n\n")[0].split())


@cache
def rooms() -> set[str]:
    """All rooms that are there: packages and loose modules."""
    return {room for path in CODE if (room := room_of(module_name(path)))}


def diagram() -> str:
    """The floors as a picture, and one line a room: its purpose, and what it imports."""
    here = rooms()
    floors = [[room for room in floor if room in here] for floor in ORDER]
    found = arrows()
    picture = ["   ".join(floor) for floor in reversed(floors)]
    lines = ["| Room | What it is for | Imports |", "|---|---|---|"]
    for room in (room for floor in reversed(floors) for room in floor):
        below = " ".join(f"`{r}`" for floor in floors for r in floor if (room, r) in found)
        lines.append(f"| `{room}` | {purpose(room)} | {below or 'nothing'} |")
    return "\n".join(["```", *picture, "```", "", *lines])


def life() -> str:
    """The life of one sample as a table."""
    lines = ["| It is a | How | Where |", "|---|---|---|"]
    lines += [f"| {what} | {how} | `{file}`: `{by}` |" for what, how, file, by in LIFE]
    return "\n".join(lines)


def written(page: str) -> str:
    """The page with what this module prints between its marks."""
    for mark, text in (("rooms", diagram()), ("life", life())):
        start, end = f"<!-- {mark}: python tests/house.py -->\n", f"\n<!-- end of {mark} -->"
        before, rest = page.split(start)
        page = before + start + text + end + rest.split(end)[1]
    return page


PAGE = ROOT / "docs" / "architecture.md"

if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(diagram(), life(), sep="\n\n")
