"""Identities of rule judges: code that decides is part of them, words and neighbours are not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tree import ROOT

from vsr1_bench.judging.identity import code_digest
from vsr1_bench.judging.open import open_judge

# Digests of every built-in rule judge after each edit of a copied tree, as JSON lines.
PROGRAM = """
import json, sys
from pathlib import Path
from vsr1_bench.judge import RuleJudge
from vsr1_bench.judging.open import RuleRunner
from vsr1_bench.registry import load_registry

registry = load_registry()
rules = {n: j for n, j in registry.judges.items() if isinstance(j, RuleJudge)}

def digests():
    return {n: RuleRunner(j, (), registry.homes[n]).identity for n, j in rules.items()}

first = digests()
for name, old, new in json.loads(sys.argv[1]):
    file = Path(name)
    text = file.read_text() if file.exists() else None
    assert old in (text or ""), name
    file.write_text((text or "").replace(old, new, 1) if old else (text or "") + new)
    after = digests()
    print(json.dumps(sorted(n for n in first if first[n] != after[n])))
    file.unlink() if text is None else file.write_text(text)
"""
JUDGES = "vsr1_bench/judges"
ANSWERS = "vsr1_bench/answers"
EVERY_RULE = ["math", "mathruler", "mathvista", "mmmu", "string_match", "vilp", "vlmsareblind"]
EDITS = {
    "a new judge": (f"{JUDGES}/newcomer.py", "", "JUDGE = None\n", []),
    "a new private module": (f"{JUDGES}/_newcomer.py", "", "VALUE = 1\n", []),
    "a docstring": (f"{JUDGES}/vilp.py", '"""ViLP', '"""For ViLP', []),
    "a function's docstring": (f"{JUDGES}/mmmu.py", '"""Whether two', '"""If two', []),
    "a value's docstring": (f"{JUDGES}/_formulas.py", '"""Relative', '"""A share', []),
    "a comment": (f"{JUDGES}/string_match.py", "", "\n# Nothing more.\n", []),
    "a comment on answers": (f"{ANSWERS}/numbers.py", "", "\n# Nothing more.\n", []),
    "layout": (f"{JUDGES}/mathruler.py", "\n\n\n", "\n\n\n\n", []),
    "one judge's code": (f"{JUDGES}/vilp.py", "", "\nMORE = 1\n", ["vilp"]),
    "what others import": (
        f"{JUDGES}/string_match.py",
        "return found.verdict(right)",
        "return found.verdict(not right)",
        ["math", "mathvista", "mmmu", "string_match", "vlmsareblind"],
    ),
    "a private module's code": (f"{JUDGES}/_formulas.py", "1e-6", "1e-5", ["math"]),
    "answers": (f"{ANSWERS}/numbers.py", "", "\nMORE = 1\n", EVERY_RULE),
    "a new rule of answers": (f"{ANSWERS}/newcomer.py", "", "MORE = 1\n", EVERY_RULE),
}


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The judges that each edit makes others, by the edit's name."""
    root = tmp_path_factory.mktemp("copy")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "vsr1_bench", root / "vsr1_bench", ignore=ignored)
    for folder in ("tasks", "judges"):
        shutil.copytree(ROOT / folder, root / "vsr1_bench" / folder, ignore=ignored)
    edits = json.dumps([edit[:3] for edit in EDITS.values()])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, edits],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(EDITS, map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("edit", EDITS)
def test_what_an_edit_of_this_tree_judges_anew(changed: dict[str, list[str]], edit: str) -> None:
    assert changed[edit] == EDITS[edit][3]


OWN = '''"""Own judge."""
from functools import partial
from vsr1_bench.judge import RuleJudge
from vsr1_bench.records import Verdict

{imports}

def grade(item, strict=False):
    """Say so."""
    return Verdict("correct")

JUDGE = RuleJudge("own", 1, {grade}, "for tests")
'''


def identity(folder: Path) -> str:
    return open_judge("own", [str(folder)]).identity


def write_own(folder: Path, *, imports: str = "", grade: str = "grade") -> Path:
    file = folder / "own.py"
    file.write_text(OWN.format(imports=imports, grade=grade))
    return file


def test_a_plug_in_is_known_by_its_own_code(tmp_path: Path) -> None:
    file = write_own(tmp_path)
    text, first = file.read_text(), identity(tmp_path)
    (tmp_path / "neighbour.py").write_text("VALUE = 1\n")
    assert identity(tmp_path) == first
    file.write_text(text.replace("Say so.", "Say another thing.") + "# The end.\n")
    assert identity(tmp_path) == first
    file.write_text(text.replace('"correct"', '"incorrect"'))
    assert identity(tmp_path) != first


def test_a_plug_in_s_helper_is_its_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    helper = tmp_path / "helping_hand.py"
    helper.write_text("VALUE = 1\n")
    write_own(tmp_path, imports="from helping_hand import VALUE")
    first = identity(tmp_path)
    helper.write_text('"""A constant."""\n\nVALUE = 1  # as before\n')
    assert identity(tmp_path) == first
    helper.write_text("VALUE = 2\n")
    assert identity(tmp_path) != first


def test_a_plug_in_over_a_built_in_grader_is_both(tmp_path: Path) -> None:
    """Where the grader comes from another module, what it is told stands in the judge's own."""
    imports = "from vsr1_bench.judges.string_match import grade as built_in"
    file = write_own(tmp_path, imports=imports, grade="partial(built_in)")
    first = identity(tmp_path)
    file.write_text(file.read_text() + "MORE = 1\n")
    assert identity(tmp_path) != first


def test_a_package_s_relative_imports_are_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "graders_of_ours"
    (package / "deep").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "deep/__init__.py").write_text("")
    (package / "unused.py").write_text("VALUE = 1\n")
    (package / "tables.py").write_text("VALUE = 1\n")
    (package / "deep/compare.py").write_text(
        "from vsr1_bench.records import Verdict\n\n"
        "def grade(item):\n    from ..tables import VALUE\n    return Verdict('correct')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    folder = tmp_path / "plugins"
    folder.mkdir()
    write_own(folder, imports="from graders_of_ours.deep import compare", grade="compare.grade")
    first = identity(folder)
    (package / "unused.py").write_text("VALUE = 2\n")
    assert identity(folder) == first
    (package / "tables.py").write_text("VALUE = 2\n")
    assert identity(folder) != first


SNIPPET = b'''
@d(1, *a, k=None, **b)
async def f(x: int = 1, /, y=..., *, z: "str" = u"s") -> None:
    """Doc."""
    match x:
        case {"a": [1, *_], **rest} if rest: yield f"{x!r:>{y}} {q}" f"{{}}{x=}"
    lambda: (0x10, 1e3, 2j, b"a", True, None, -1, not x, "")
class C(B, metaclass=M):
    "doc"
    A = 1
    """of A"""
try: pass
except* E as e: raise X from e
'''


def test_every_python_makes_the_same_digest() -> None:
    """Verdicts that were stored under one Python are read under another."""
    assert (
        code_digest(SNIPPET) == "b4027ed90f1abd4769471b5dc07281df62766830bcee19fbca565a1b6fa17385"
    )


@pytest.mark.parametrize(
    ("a", "b"),
    [(b"f('')", b"f()"), (b"x = None", b"x = ''"), (b"x = 1", b"x = 1.0"), (b"x = -1", b"x = +1")],
)
def test_other_code_has_another_digest(a: bytes, b: bytes) -> None:
    assert code_digest(a) != code_digest(b)


def test_a_file_that_is_no_python_is_its_bytes() -> None:
    assert code_digest(b"def f(:") != code_digest(b"def f(:  # more")
