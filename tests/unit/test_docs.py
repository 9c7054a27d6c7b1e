"""README and docs: links lead somewhere, and the commands that they show are accepted."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import subprocess
from pathlib import Path

import doc_blocks
import pytest
from doc_blocks import blocks_of, indented
from tree import ROOT, load_script, python_files, repository_files

import vsr1_bench
from vsr1_bench.cli.main import parse
from vsr1_bench.errors import UsageError

PAGES = [path for path in repository_files() if path.suffix == ".md" and path.parts[0] != "results"]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))


def text_of(page: Path) -> str:
    return (ROOT / page).read_text("utf-8")


def anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.strip().lower()).replace(" ", "-")


def broken_links(page: Path, text: str) -> list[str]:
    """Relative links of a page whose file, or whose heading in it, does not exist."""
    broken = []
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text):
        name, _, heading = link.partition("#")
        target = (ROOT / page).parent / name if name else ROOT / page
        if not target.exists():
            broken.append(link)
        elif heading:
            headings = re.findall(r"^#+ (.*)$", target.read_text("utf-8"), re.MULTILINE)
            if heading not in map(anchor, headings):
                broken.append(link)
    return broken


def commands(text: str) -> list[str]:
    """The lines of shell blocks, continued lines joined."""
    blocks = [block.text for block in blocks_of(Path(), text) if block.language == "bash"]
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines]


def arguments(line: str) -> list[str]:
    """The words after `vsr1-bench`, as the shell hands them over."""
    words = shlex.split(re.sub(r"\[[^\]]*\]|…", "", line), comments=True)
    end = next((i for i, word in enumerate(words) if word in ("&&", "|", ">", ";")), len(words))
    return words[1:end]


SHOWN = sorted(
    {
        line
        for page in PAGES
        for line in commands(text_of(page))
        if line.startswith(("vsr1-bench ", ".venv/bin/vsr1-bench "))
    }
)


@pytest.mark.parametrize("line", SHOWN)
def test_commands_are_accepted(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for block in (block for page in PAGES for block in blocks_of(page)):
        if block.language == "yaml" and block.name and block.name in line:
            Path(block.name).write_text(block.text)
    parse(arguments(line))


@pytest.mark.parametrize("line", ["vsr1-bench table --colums lsr", "vsr1-bench plot # --output A"])
def test_a_wrong_command_is_seen(line: str) -> None:
    with pytest.raises(UsageError):
        parse(arguments(line))


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    assert broken_links(page, text_of(page)) == []


def test_broken_links_are_seen() -> None:
    text = "[a](docs/none.md) [b](docs/faq.md#training) [c](docs/faq.md#no-such) [d](https://x.y)"
    assert broken_links(Path("README.md"), text) == ["docs/none.md", "docs/faq.md#no-such"]


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_make_targets_exist(page: Path) -> None:
    named = re.findall(r"(?:^|`)make ([a-z]+(?:-[a-z]+)*)\b", text_of(page), re.MULTILINE)
    assert set(named) <= TARGETS


def test_make_constraints_keeps_pins_unless_it_is_told_to_upgrade() -> None:
    def shown(*words: str) -> str:
        command = ["make", "--dry-run", "constraints", *words]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert shown().count("pip compile") == 2 and "--upgrade" not in shown()
    assert shown("UPGRADE=1").count("--upgrade") == 2


def test_every_page_is_in_the_index() -> None:
    index = text_of(Path("docs/README.md"))
    pages = {path.name for path in PAGES if path.parent == Path("docs")} - {"README.md"}
    assert {name for name in pages if f"({name})" not in index} == set()


@pytest.mark.parametrize("page", doc_blocks.PAGES, ids=str)
def test_blocks_are_fenced(page: Path) -> None:
    """Those of README and docs are run, or say why not: `test_docs_run` walks over the fences."""
    assert indented(text_of(page)) == []


def test_an_indented_block_is_seen() -> None:
    assert indented("Run\n\n    make demo\n\n```bash\n\n    more\n```\n") == ["    make demo"]


def public_names() -> dict[str, set[str]]:
    """Module -> names, as docs/python.md lists them."""
    rows = re.findall(
        r"^\| `(vsr1_bench[\w.]*)` \| (`.*) \|$", text_of(Path("docs/python.md")), re.M
    )
    return {module: set(re.findall(r"`(\w+)`", names)) for module, names in rows}


def imported(source: str) -> set[tuple[str, str]]:
    """(module, name) of every import from the package."""
    return {
        (node.module, alias.name)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("vsr1_bench")
        for alias in node.names
    }


def test_the_public_api_is_what_the_page_lists() -> None:
    public = public_names()
    assert public["vsr1_bench"] == set(vsr1_bench.__all__)
    for module, names in public.items():
        assert {
            name for name in names if not hasattr(importlib.import_module(module), name)
        } == set()


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/python.md"])
def test_examples_import_public_names(page: str) -> None:
    public = public_names()
    blocks = [block.text for block in blocks_of(Path(page)) if block.language == "python"]
    names = set().union(*map(imported, blocks))
    assert names and {f"{m}.{n}" for m, n in names if n not in public.get(m, ())} == set()


def test_what_built_in_files_need_of_the_interfaces_is_public() -> None:
    public = public_names()
    needed = set().union(
        *(imported((ROOT / p).read_text()) for p in python_files("tasks", "judges"))
    )
    interfaces = {"vsr1_bench.task", "vsr1_bench.judge", "vsr1_bench.records"}
    hidden = {f"{m}.{n}" for m, n in needed if m in interfaces and n not in public[m]}
    assert hidden == set()


def test_the_page_of_settings_is_what_the_code_has() -> None:
    text = text_of(Path("docs/settings.md"))
    assert text == load_script("settings_page").page(), "write it: python scripts/settings_page.py"
    assert [line for line in text.splitlines() if line.endswith("|  |")] == []  # no meaning


def test_a_trainers_help_shows_its_keys(capsys: pytest.CaptureFixture[str]) -> None:
    for action, own in (("grpo", "samples_per_prompt"), ("sft", "group_batches")):
        with pytest.raises(SystemExit):
            parse(["train", action, "--help"])
        shown = capsys.readouterr().out
        assert f"  {own}: whole number ≥ " in shown and "  lora_rank: " in shown
    with pytest.raises(SystemExit):
        parse(["train", "--help"])
    assert "lora_rank" not in capsys.readouterr().out
