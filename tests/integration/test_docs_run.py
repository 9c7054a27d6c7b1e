"""README and docs: every block is run as it stands, or says why it is not.

The blocks of a page run in their order in one folder, by the command line's own `main`. What a
page takes for granted is given: stored runs, a mirror with a few rows of gsm8k, and an endpoint.
It answers at http://localhost:8000/v1 because the test names it as the proxy for HTTP.
"""

from __future__ import annotations

import ast
import glob
import io
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from bundles import made_run, mirror
from cli import here
from doc_blocks import PAGES, Block, blocks_of
from servers import Asked, ChatServer, Reply, chat
from tree import ROOT

from judges import CORRECT

pytest.importorskip("torch", reason="the embedded model is run by backend transformers")

RUN = [page for page in PAGES if any(not block.reason for block in blocks_of(page))]
STORED = {
    "README.md": ("model-a", "model-b"),
    "docs/commands.md": ("model-a",),
    "docs/exchange.md": ("my-model",),
    "docs/judges.md": ("model-a",),
    "docs/report.md": ("model-a",),
    "docs/tables.md": ("model-a", "model-b"),
}
"""Pages about runs that exist already, and these runs."""
ANSWERS = {"model-a": ("yes", "0", "A"), "model-b": ("no", "1", "A")}


def replies(number: int, asked: Asked) -> Reply:
    """Play a judge that agrees, or a model that answers one of three things to any question."""
    if "candidate" in asked.text.lower():
        return Reply(200, chat(CORRECT))
    said = ANSWERS.get(asked.body["model"], ("2",))
    answer = said[len(asked.text) % len(said)]
    return Reply(200, chat(f"<description>dots</description><think>so</think>\\boxed{{{answer}}}"))


@pytest.fixture
def endpoint(no_keys: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    """Whatever a block asks of a plain HTTP address is asked of this server."""
    with ChatServer(replies) as server:
        names = "model-a model-b my-model M Qwen/Qwen2.5-14B-Instruct".split()
        server.models = Reply(200, {"object": "list", "data": [{"id": name} for name in names]})
        for variable in ("http_proxy", "HTTP_PROXY"):
            monkeypatch.setenv(variable, server.root)
        yield server


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Filled by the first page that needs it."""
    return {}


@pytest.fixture
def folder(
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    stored: dict[str, Path],
    endpoint: ChatServer,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """The folder that a page's blocks run in, with `DATA`, and `given` beside it."""
    if not stored:
        given = tmp_path_factory.mktemp("given")
        stored["data"], stored["runs"] = mirror(given), given / "runs"
        monkeypatch.setenv("VSR1_DATA_ROOT", str(stored["data"]))
        for model in ANSWERS:
            flags = ["--tasks", "demo", "--limit", 40, "-o", stored["runs"]]
            flags += ["--perception"] if model == "model-a" else []
            done = here("--model", model, "--base_url", "http://localhost:8000/v1", *flags)
            assert done.returncode == 0, done.stderr
        made_run(given, "my-model")
    monkeypatch.setenv("VSR1_DATA_ROOT", str(stored["data"]))
    shutil.copytree(stored["data"], tmp_path / "DATA")
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Page:
    """Runs the blocks of a page, each after those before it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: dict[str, Any] = {}
        """What Python blocks have defined."""
        self.shown: list[Any] = []
        """Values of their lines that are expressions, as a notebook would show them."""
        self.printed = ""
        """Both streams of the last shell block."""

    def run(self, block: Block) -> None:
        if block.language == "python" and block.name:
            (self.folder / block.name).write_text(block.text, "utf-8")
        elif block.language == "bash":
            self.printed = "".join(map(self.command, commands(block.text)))
        elif block.language == "python":
            self.python(block.text)
        elif block.language == "text" and block.name == "files":
            self.files(block.text)
        elif block.language == "text":
            self.output(block.text)
        elif block.language in ("json", "toml", "yaml") and block.name:
            if block.language == "json":
                json.loads(block.text)
            path = self.folder / block.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, "utf-8")
        else:
            raise AssertionError("nothing here runs such a block: write why, or teach this test")

    def command(self, line: str) -> str:
        name, *words = shlex.split(line, comments=True)
        assert name == "vsr1-bench", f"not run here, and without a reason: {line}"
        target = None
        if ">" in words:
            *words, _, target = words
        assert not {"|", "&&", ";", "<"} & set(words), f"the shell's own words: {line}"
        expanded = [path for word in words for path in sorted(glob.glob(word)) or [word]]
        with pytest.MonkeyPatch.context() as patch:  # runs store the command that made them
            patch.setattr("sys.argv", [name, *expanded])
            done = here(*expanded)
        assert done.returncode == 0, f"{line}\nexit code {done.returncode}\n{done.stderr}"
        if target:
            (self.folder / target).write_text(done.stdout, "utf-8")
        return done.stdout + done.stderr

    def python(self, source: str) -> None:
        for statement in ast.parse(source).body:
            out, err = io.StringIO(), io.StringIO()
            with redirect_stdout(out), redirect_stderr(err):
                if isinstance(statement, ast.Expr):
                    expression = ast.Expression(statement.value)
                    value = eval(compile(expression, "block", "eval"), self.names)
                    self.shown.append(value)
                else:
                    exec(compile(ast.Module([statement], []), "block", "exec"), self.names)

    def output(self, text: str) -> None:
        """Each line was printed by the block before, with any numbers, and any text for `…`."""
        lines = [shape(line) for line in self.printed.splitlines()]
        for line in filter(None, map(str.strip, text.splitlines())):
            wanted = ".*".join(map(re.escape, shape(line).split("…")))
            assert any(re.search(wanted, printed) for printed in lines), f"not printed: {line}"

    def files(self, text: str) -> None:
        """The first line is a folder, the others are in it; `<…>` in a name is any text."""
        base, *names = (line for line in text.splitlines() if re.match(r"(?:  )?\S", line))
        for name in names:
            path = re.sub(r"<[^>]*>", "*", base.strip() + name.strip()).split()[0]
            assert any(self.folder.glob(path)), f"no such file: {path}"


def commands(text: str) -> list[str]:
    lines = text.replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


def shape(line: str) -> str:
    """A line of output with one sign for every number and one space for any white space."""
    return re.sub(r"\s+", " ", re.sub(r"\d+", "0", line)).strip()


@pytest.mark.parametrize("page", RUN, ids=str)
def test_blocks_run(page: Path, folder: Path, stored: dict[str, Path]) -> None:
    for model in STORED.get(str(page), ()):
        shutil.copytree(stored["runs"] / model, folder / "runs" / model)
    runner = Page(folder)
    for block in blocks_of(page):
        if not block.reason:
            try:
                runner.run(block)
            except Exception as error:
                raise AssertionError(f"{block}: {error}") from error
    if page == Path("docs/python.md"):
        check_python_page(folder, runner.shown)


def table(text: str) -> list[dict[str, str]]:
    """The rows of the first table of scores in a text."""
    lines = text[text.index("| model") :].partition("\n\n")[0].splitlines()
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return [dict(zip(head, row, strict=True)) for row in rows]


def test_make_demo_prints_the_table_of_readme(folder: Path) -> None:
    """Numbers may differ between machines, by less than the interval that is shown."""
    recipe = re.search(r"^demo:.*\n\t\$\(BIN\)/vsr1-bench (.*)$", read("Makefile"), re.MULTILINE)
    assert recipe
    done = here(*shlex.split(recipe[1]))
    assert done.returncode == 0, done.stderr
    for shown, printed in zip(table(read("README.md")), table(done.stdout), strict=True):
        assert list(shown) == list(printed)[: len(shown)]
        low, high = map(float, shown["95 % interval"].split(" to "))
        assert low <= float(printed["value"]) <= high
        for name in shown.keys() - {"value", "95 % interval"}:
            assert shown[name] == printed[name]


def read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def check_python_page(folder: Path, shown: list[Any]) -> None:
    """What the lines of the page compute is what the run has stored."""
    results, head, wrong, kinds, pivot, by_kind, difference = shown
    (score,) = folder.glob("runs/tiny/demo-*/scores/string_match.json")
    metrics = json.loads(score.read_text())["metrics"]
    accuracy = metrics["accuracy"]["value"]
    assert 0.3 < accuracy < 1
    assert pivot.to_numpy().tolist() == [[accuracy]]
    assert head["value"].tolist() == [accuracy] and head["metric"].tolist() == ["accuracy"]
    assert len(wrong) == round(100 * (1 - accuracy)) and len(kinds) == 4
    assert by_kind["value"].tolist() == [metrics["mean_by_kind"]["value"]]
    assert f"<td>{100 * accuracy:.1f}</td>" in results._repr_html_()
    assert difference[0] == 0.25


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("```bash\nmake demo\n```", "not run here, and without a reason"),
        ("```bash\nvsr1-bench ls nothing\n```", "exit code 2"),
        ("```bash\nvsr1-bench ls recipes | head\n```", "the shell's own words"),
        ("```bash\nvsr1-bench ls recipes\n```\n```text\nno such recipe\n```", "not printed"),
        ("```text files\nruns/\n  none.json\n```", "no such file"),
        ("```toml\na = 1\n```", "nothing here runs such a block"),
    ],
)
def test_a_wrong_block_is_seen(tmp_path: Path, text: str, wrong: str) -> None:
    page = Page(tmp_path)
    with pytest.raises(AssertionError, match=wrong):
        for block in blocks_of(Path("page.md"), text):
            page.run(block)


def test_a_reason_belongs_to_the_next_block_only() -> None:
    text = "<!-- not run: needs a GPU -->\n<!-- a table -->\n```bash\na\n```\n\n```bash\nb\n```\n"
    assert [block.reason for block in blocks_of(Path("p.md"), text)] == ["needs a GPU", ""]
