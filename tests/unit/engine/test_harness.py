"""Tasks of another harness, by a harness that an installed package brings."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from stored import SPEC, folder
from tree import ROOT, python_files

from vsr1_bench import harness
from vsr1_bench.cli.main import main
from vsr1_bench.data.dataset import DataOptions, open_data
from vsr1_bench.errors import UsageError
from vsr1_bench.harness import find_harness, harness_names, harness_of, scorer_of
from vsr1_bench.judging.choose import choose_judges
from vsr1_bench.judging.open import JudgePool
from vsr1_bench.judging.runs import estimate_run
from vsr1_bench.pipeline.plan import RunOptions, check_external
from vsr1_bench.pipeline.run import generate
from vsr1_bench.registry import get_task, resolve_tasks
from vsr1_bench.scoring.groups import score_groups
from vsr1_bench.scoring.runs import score_run, score_unjudged
from vsr1_bench.store.run_folder import find_runs
from vsr1_bench.task import ExternalTask

PLUGIN = """
import fnmatch
from dataclasses import asdict

from vsr1_bench.harness import Entry, ExternalData, TaskOverrides
from vsr1_bench.records import Judgment, Sample, Verdict
from vsr1_bench.scoring import score_responses
from vsr1_bench.scoring.join import join_responses
from vsr1_bench.store.journal import Journal
from vsr1_bench.store.run_folder import utc_now
from vsr1_bench.store.spec import DataSpec
from vsr1_bench.task import ExternalTask, Metric, Task

KNOWN = ("doubles", "squares")
ANSWER = {"doubles": lambda n: 2 * n, "squares": lambda n: n * n}
LACK = []


class Sums:
    name = "sums"

    def task(self, name, include_path=()):
        source = ExternalTask("sums", name.removeprefix("sums/"), tuple(include_path), n=3)
        return Task(name, 1, source, None, "text", "MIT", "of sums", judge="sums")

    def tasks(self, pattern, include_path=()):
        names = fnmatch.filter(KNOWN, pattern.removeprefix("sums/"))
        return [self.task(f"sums/{name}", include_path) for name in names]

    def entries(self, include_path=()):
        return [Entry(name, "task") for name in KNOWN] + [Entry("both", "tag", KNOWN)]

    def missing(self):
        return LACK[0] if LACK else None

    def open(self, source, *, offline=False):
        def sample(number):
            answer = str(ANSWER[source.name](number))
            return Sample(f"d{number}", (f"{source.name} {number}?",), answer, "text")

        overrides = TaskOverrides(f"hash of {source.name}", {"max_tokens": 77, "n": 1})
        spec = DataSpec(
            id="made", config=None, split="test", revision=None, fingerprint=f"all {source.name}"
        )
        return ExternalData(spec, 3, sample, overrides)

    def score(self, run, task, *, progress=True):
        path = run.judgment_path("sums", "00000000")
        with Journal(path) as lines:
            for one in run.generations().values():
                gold = str(ANSWER[task.source.name](int(one.sample_id[1:])))
                verdict = Verdict("correct" if one.text == gold else "incorrect")
                judgment = Judgment(one.key, one.sample_id, one.index, verdict, created=utc_now())
                lines.append(asdict(judgment))
        score = score_responses(
            join_responses(run, path), (Metric("accuracy"),), cluster=None, per_sample=1
        )
        spec = run.spec()
        document = {
            "schema": 1, "model": spec.model.id, "task": task.name, "version": "1 (sums 3.2)",
            "judge": "sums", "prompt": spec.prompt.format, "variant": spec.variant,
            "spec_hash": spec.digest(), "verdicts": path.name, "judging": None,
            **score.document(),
        }
        run.write_scores("sums", document)
        return document

    def groups(self, runs, judges=None):
        ours = [run for run in runs if run.spec().task.name.startswith("sums/")]
        if judges is not None and "sums" not in judges or len(ours) != len(KNOWN):
            return []
        found = [document for run in ours for document in run.scores()]
        return [({**found[0], "task": "sums/both"}, tuple(ours))]


HARNESS = Sums()
"""


@pytest.fixture
def offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Install a package in which the entry points of a group and a module stand."""
    place = tmp_path / "site"

    def install(points: str, code: str = PLUGIN) -> None:
        (place / "sums-3.2.dist-info").mkdir(parents=True)
        (place / "sums-3.2.dist-info/METADATA").write_text("Name: sums\nVersion: 3.2\n")
        (place / "sums-3.2.dist-info/entry_points.txt").write_text(
            f"[vsr1_bench.harnesses]\n{points}\n"
        )
        (place / f"{module}.py").write_text(code)
        harness._known.cache_clear()

    # A module that was imported stays: each test has one of its own.
    module = f"sums_{tmp_path.name}"
    monkeypatch.syspath_prepend(str(place))
    yield lambda points, code=PLUGIN: install(points.format(module=module), code)
    harness._known.cache_clear()
    find_harness.cache_clear()


def test_no_other_module_imports_a_harness_of_ours() -> None:
    rooms = {n for n in harness_names() if (ROOT / "vsr1_bench" / n / "harness.py").is_file()}
    assert rooms == {"lmms_eval"}
    breaches = []
    for path in python_files("vsr1_bench", "tasks", "judges", "train"):
        if path.parts[1] in rooms:
            continue
        for node in ast.walk(ast.parse((ROOT / path).read_text("utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            breaches += [
                f"{path}: {name}"
                for name in names
                if any(name.startswith(f"vsr1_bench.{room}") for room in rooms)
            ]
    assert breaches == []


def test_a_harness_of_ours_is_found_by_its_room_and_is_no_other_names() -> None:
    found = find_harness("lmms_eval")
    assert found.name == "lmms_eval" and harness_of("lmms_eval/mmmu_val") is found
    assert harness_of("lmms_eval") is None and harness_of("lmms/x") is None
    assert harness_of("lmms_evals/x") is None and harness_of("data/x") is None
    task = get_task("lmms_eval/both/one", ["here"])
    assert task.source == ExternalTask("lmms_eval", "both/one", ("here",))
    with pytest.raises(UsageError, match="unknown harness 'lmms_evall'; did you mean lmms_eval"):
        find_harness("lmms_evall")


def test_a_harness_scores_its_own_tasks_and_no_others() -> None:
    external, own = get_task("lmms_eval/x"), get_task("gsm8k")
    assert scorer_of(external) is scorer_of(external, "lmms_eval") is find_harness("lmms_eval")
    assert scorer_of(external, "math") is None and scorer_of(own) is None
    with pytest.raises(UsageError, match="'lmms_eval' scores tasks named lmms_eval/…, not 'gsm8k'"):
        scorer_of(own, "lmms_eval")
    with JudgePool() as pool, pytest.raises(UsageError, match="scores tasks named lmms_eval/"):
        choose_judges([own], "lmms_eval", pool)


def test_a_harness_of_a_package_runs_from_its_name_to_its_groups_number(
    offered: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    offered("sums = {module}:HARNESS")
    assert harness_names() == ("lmms_eval", "sums")
    assert [t.name for t in resolve_tasks("sums/*,sums/doubles")] == [
        "sums/doubles",
        "sums/squares",
    ]
    assert main(["ls", "tasks", "--source", "sums"]) == 0
    listed = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["sums/squares", "task", "–"] in listed
    assert ["sums/both", "tag", "doubles", "squares"] in listed

    data = open_data(get_task("sums/squares"), DataOptions())
    assert [(s.id, s.question, s.answer) for s in data.samples()] == [
        ("d0", ("squares 0?",), "0"), ("d1", ("squares 1?",), "1"), ("d2", ("squares 2?",), "4"),
    ]  # fmt: skip
    assert (data.spec.id, data.spec.fingerprint) == ("made", "all squares")

    lines = [{"id": "d0", "response": "0"}, {"id": "*", "response": "4"}]
    script = tmp_path / "said.jsonl"
    script.write_text("".join(json.dumps(line) + "\n" for line in lines))
    options = RunOptions(
        *("said", "sums/*", tmp_path / "runs"),
        backend="scripted",
        model_args={"script": str(script)},
        progress=False,
    )
    generate(options)
    runs = sorted(find_runs(tmp_path / "runs"), key=lambda run: run.spec().task.name)
    specs = [run.spec() for run in runs]
    assert [spec.prompt.hash for spec in specs] == ["hash of doubles", "hash of squares"]
    assert {(s.prompt.format, s.sampling and s.sampling.max_tokens) for s in specs} == {("own", 77)}

    with JudgePool() as pool:
        assert estimate_run(runs[0], None, pool)[0] == "sums"
        chosen = choose_judges(resolve_tasks("sums/*"), None, pool)
    assert {(one.spec, one.usable) for one in chosen.values()} == {("sums", True)}
    assert main(["judge", str(tmp_path / "runs")]) == 0
    assert "sums/both" in capsys.readouterr().out
    for run in runs:
        (document,) = run.scores()
        assert document["judge"] == "sums" and document["version"] == "1 (sums 3.2)"
        assert document["metrics"]["accuracy"]["value"] == pytest.approx(2 / 3)
        assert score_unjudged(run, "sums") == document
    ((group,), none) = score_groups(runs), score_groups(runs, judges={"math"})
    assert (group["task"], none) == ("sums/both", [])
    with pytest.raises(UsageError, match="sums/doubles: --blind"):
        check_external(resolve_tasks("sums/doubles"), changed=True)


def test_what_a_harness_lacks_is_said_before_it_is_paid_for(offered: Callable[..., None]) -> None:
    offered("sums = {module}:HARNESS", PLUGIN.replace("LACK = []", "LACK = ['no abacus']"))
    with JudgePool() as pool:
        (chosen,) = choose_judges([get_task("sums/doubles")], None, pool).values()
    assert not chosen.usable and str(chosen.warning).startswith("task 'sums/doubles': no abacus; ")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import nothing_of_this_name", "does not import: ModuleNotFoundError"),
        ("HARNESS = object()", "wanted an object like vsr1_bench.harness.Harness"),
        (PLUGIN.replace('name = "sums"', 'name = "other"'), "whose name is 'sums'"),
    ],
)
def test_a_broken_harness_stops_its_own_tasks_alone(
    code: str, said: str, offered: Callable[..., None]
) -> None:
    offered("sums = {module}:HARNESS", code)
    assert resolve_tasks("gsm8k")[0].name == "gsm8k"
    assert get_task("lmms_eval/x").name == "lmms_eval/x"
    with pytest.raises(UsageError, match=f"harness 'sums'.*{said}"):
        resolve_tasks("sums/doubles")


def test_a_taken_name_is_refused(offered: Callable[..., None]) -> None:
    offered("lmms_eval = {module}:HARNESS")
    with pytest.raises(UsageError, match=r"'lmms_eval' \(.*:HARNESS\) is defined already by vsr1_"):
        get_task("lmms_eval/x")


def test_a_package_that_is_seen_twice_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    twice = [EntryPoint("sums", "m:HARNESS", harness.HARNESSES) for _ in range(2)]
    monkeypatch.setattr(harness, "entry_points", lambda group: twice)
    harness._known.cache_clear()
    try:
        assert harness_names() == ("lmms_eval", "sums")
    finally:
        harness._known.cache_clear()


def test_a_run_of_a_harness_that_is_gone_names_it(tmp_path: Path) -> None:
    task = SPEC.task.model_copy(update={"name": "sums/doubles"})
    run = folder(tmp_path, SPEC.model_copy(update={"task": task}))
    assert score_groups([run]) == []
    with pytest.raises(UsageError, match="unknown task 'sums/doubles'"):
        score_run(run, "sums")


def test_folders_of_the_environment_reach_a_harness(
    offered: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    offered("sums = {module}:HARNESS")
    monkeypatch.setenv("VSR1_INCLUDE_PATH", str(tmp_path))
    (more := tmp_path / "more").mkdir()
    for task in (get_task("sums/doubles", [more]), *resolve_tasks("sums/doubles", [more])):
        assert isinstance(task.source, ExternalTask)
        assert task.source.include_path == (str(tmp_path), str(more))
