"""What lmms-eval is known for stays outside: each trap is set by a task made here.

Every task's files are written for its test; whoever scores them the usual way falls into it.
"""

from __future__ import annotations

import random
from importlib.util import find_spec
from pathlib import Path

import pytest
from servers import ChatServer
from trapped import USUAL, always, make, run

if not find_spec("lmms_eval"):
    pytest.skip("lmms-eval has an environment of its own", allow_module_level=True)

from vsr1_bench.cli.main import main
from vsr1_bench.data.dataset import DataOptions, open_data
from vsr1_bench.errors import JudgeError, TaskError, UsageError
from vsr1_bench.pipeline.plan import RunOptions
from vsr1_bench.pipeline.run import generate
from vsr1_bench.registry import get_task, resolve_tasks
from vsr1_bench.scoring.runs import judge_and_score


def test_a_blank_line_is_no_stop_string_unless_the_task_says_so(tmp_path: Path) -> None:
    silent = "generation_kwargs:\n  max_new_tokens: 16\n  temperature: 0"
    for name, settings, wanted in (
        ("silent", silent, None),
        ("nothing", "", None),
        ("said", f"{silent}\n  until: ['\\n\\n', 'END']".replace("'", '"'), ["\n\n", "END"]),
    ):
        tasks = make(tmp_path, USUAL, settings, name)
        with ChatServer([]) as server:
            generate(
                RunOptions(
                    model="m",
                    tasks=f"lmms_eval/{name}",
                    output_path=tmp_path / "runs",
                    backend="openai",
                    base_url=server.url,
                    include_path=(tasks,),
                    progress=False,
                )
            )
        assert len(server.asked) == 4
        for asked in server.asked:
            assert asked.body.get("stop") == wanted
            if settings:
                assert asked.body["max_tokens"] == 16  # a bound, not a hint


def test_state_in_a_tasks_modules_ends_with_the_run(tmp_path: Path) -> None:
    # An absolute import is shared by all that one process scores; so is what it keeps.
    code = """
import json
SEEN = json.__dict__.setdefault("_seen_by_trap", [])

def to_text(doc, lmms_eval_specific_kwargs=None):
    return doc["question"]

def process(doc, results):
    SEEN.append(float(results[0] == doc["answer"]))
    return {"right": 0.0}

def aggregate(items):
    return sum(SEEN) / len(SEEN)
"""
    tasks = make(tmp_path, code)
    _, right = run(tmp_path, tasks, always("yes"), "right")
    _, wrong = run(tmp_path, tasks, always("no"), "wrong")
    values = [one["metrics"]["right"]["value"] for one in (right, wrong)]
    assert values == [1.0, 0.0]


def test_a_judges_cache_file_serves_no_other_model(tmp_path: Path) -> None:
    # As its HallusionBench: verdicts stand in a file named by the output folder alone.
    code = """
import json, os
CALLS = os.path.join(os.path.dirname(__file__), "calls")

def to_text(doc, lmms_eval_specific_kwargs=None):
    return doc["question"]

def process(doc, results):
    return {"right": {"said": results[0], "gold": doc["answer"]}}

def aggregate(items, args):
    path = os.path.join(args.output_path, "judged.json")
    verdicts = json.load(open(path)) if os.path.exists(path) else []
    for item in items[len(verdicts):]:
        with open(CALLS, "a") as file:
            file.write("called\\n")
        verdicts.append(item["said"] == item["gold"])
        json.dump(verdicts, open(path, "w"))
    open("by_working_folder.json", "w").write("x")
    return sum(verdicts) / len(verdicts)
"""
    tasks = make(tmp_path, code)
    calls = tmp_path / "tasks" / "trap" / "calls"
    first, right = run(tmp_path, tasks, always("yes"), "right")
    _, wrong = run(tmp_path, tasks, always("no"), "wrong")
    assert right["metrics"]["right"]["value"] == 1.0
    assert wrong["metrics"]["right"]["value"] == 0.0
    assert len(calls.read_text().splitlines()) == 8
    # The very same responses are not judged again: those calls were paid for.
    again = judge_and_score(first, None, (tasks,), progress=False)
    assert again["metrics"] == right["metrics"]
    assert len(calls.read_text().splitlines()) == 8
    assert not Path("by_working_folder.json").exists()


def test_a_scorer_that_raises_is_called_once_and_costs_its_document_alone(tmp_path: Path) -> None:
    code = USUAL.replace(
        "def process(doc, results):\n",
        "def process(doc, results):\n"
        "    import os\n"
        "    open(os.path.join(os.path.dirname(__file__), 'calls'), 'a').write('x')\n"
        "    if doc['question'] == '2?':\n"
        "        raise ValueError('no such judge')\n",
    )
    tasks = make(tmp_path, code)
    calls = tmp_path / "tasks" / "trap" / "calls"
    folder, document = run(tmp_path, tasks, always("yes"))
    assert calls.read_text() == "xxxx"
    assert document["rates"] | {"scored": 3, "total": 4, "ranked": False} == document["rates"]
    assert document["metrics"]["right"]["value"] == 1.0
    judged = folder.judgments(folder.judged()["lmms_eval"])
    reasons = [one.verdict.reason for one in judged.values() if one.verdict.reason]
    assert reasons == ["its scorer: ValueError: no such judge"]
    # Mended, the same command scores what was left open, and only that.
    (tmp_path / "tasks" / "trap" / "utils.py").write_text(USUAL)
    assert judge_and_score(folder, None, (tasks,), progress=False)["rates"]["scored"] == 4


def test_scored_documents_are_not_scored_again(tmp_path: Path) -> None:
    code = USUAL.replace(
        "def process(doc, results):\n",
        "def process(doc, results):\n"
        "    import os\n"
        "    open(os.path.join(os.path.dirname(__file__), 'calls'), 'a').write('x')\n",
    )
    tasks = make(tmp_path, code)
    folder, first = run(tmp_path, tasks, always("yes"))
    again = judge_and_score(folder, None, (tasks,), progress=False)
    assert again["metrics"] == first["metrics"]
    assert (tmp_path / "tasks" / "trap" / "calls").read_text() == "xxxx"


def test_an_unanswered_document_shifts_no_other(tmp_path: Path) -> None:
    # Filters walk responses and documents side by side.
    settings = """filter_list:
  - name: pick
    filter:
      - function: !function utils.Pick
"""
    code = (
        USUAL
        + """
class Pick:
    def apply(self, resps, docs):
        return [doc["question"] + r[0] for r, doc in zip(resps, docs)]

def process(doc, results):
    return {"right": float(results[0] == doc["question"] + "yes")}
"""
    )
    tasks = make(tmp_path, code, settings)
    lines = [{"id": "1", "error": "no luck"}, *always("yes")]
    _, document = run(tmp_path, tasks, lines)
    assert document["metrics"]["right,pick"]["value"] == 1.0
    assert document["metrics"]["right,pick"]["n"] == document["rates"]["scored"] == 3
    assert document["rates"]["failed"] == 0.25


def test_documents_that_changed_since_they_were_asked_are_not_scored(tmp_path: Path) -> None:
    # A row more at the top: every response would be compared with its neighbour's document.
    tasks = make(tmp_path, USUAL)
    folder, first = run(tmp_path, tasks, always("yes"))
    rows = Path(tasks, "trap", "rows.jsonl")
    kept = rows.read_text()
    rows.write_text('{"question": "new?", "answer": "no"}\n' + kept)
    with pytest.raises(JudgeError, match="lmms_eval/trap: its documents are not those that were"):
        judge_and_score(folder, None, (tasks,), progress=False)
    assert folder.scores() == [first]
    rows.write_text(kept)
    assert judge_and_score(folder, None, (tasks,), progress=False)["metrics"] == first["metrics"]


def test_a_task_that_shuffles_when_it_loads_is_scored_on_what_was_asked(tmp_path: Path) -> None:
    """By the global generator, as its gpqa; in each process, and whatever was drawn before."""
    code = (
        USUAL
        + """
import random

def shuffled(docs):
    return docs.select(random.sample(range(len(docs)), len(docs)))
"""
    )
    tasks = make(tmp_path, code, "process_docs: !function utils.shuffled", n=40)
    state = random.getstate()
    _, document = run(tmp_path, tasks, always("yes"))
    assert document["rates"]["scored"] == 40
    assert random.getstate() == state


def test_a_scorer_that_cannot_sum_up_is_an_error_in_one_line(tmp_path: Path) -> None:
    tasks = make(tmp_path, USUAL.replace("return sum", "return 1 / 0 or sum"))
    with pytest.raises(JudgeError, match=r"lmms_eval/trap: ZeroDivisionError.*utils.py:9"):
        run(tmp_path, tasks, always("yes"))


def test_a_scorer_that_ends_the_process_ends_no_more_than_its_part(tmp_path: Path) -> None:
    code = USUAL.replace(
        "def process(doc, results):\n",
        "def process(doc, results):\n"
        "    if doc['question'] == '2?':\n"
        "        raise SystemExit('no judge')\n",
    )
    folder, document = run(tmp_path, make(tmp_path, code), always("yes"))
    judged = folder.judgments(folder.judged()["lmms_eval"])
    reasons = [one.verdict.reason for one in judged.values() if one.verdict.reason]
    assert reasons == ["its scorer: SystemExit: no judge"]
    assert document["rates"]["scored"] == 3
    for name, end, wanted in (
        ("said", "raise SystemExit(0)", "SystemExit: 0"),
        ("unsaid", "__import__('os')._exit(0)", "ended before it had summed up"),
    ):
        tasks = make(tmp_path / name, USUAL.replace("return sum", f"{end}\n    return sum"))
        with pytest.raises(JudgeError, match=f"lmms_eval/trap: .*{wanted}"):
            run(tmp_path / name, tasks, always("yes"))
    tasks = make(tmp_path / "import", "raise SystemExit('pip install more')\n" + USUAL)
    with pytest.raises(TaskError, match="trap does not load: SystemExit: pip install more"):
        open_data(get_task("lmms_eval/trap", (tasks,)), DataOptions())


def test_a_key_that_is_wanted_at_import_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    tasks = make(tmp_path, "import openai\nCLIENT = openai.OpenAI()\n" + USUAL)
    with pytest.raises(TaskError, match=r"lmms_eval/trap wants a key.*set OPENAI_API_KEY"):
        open_data(get_task("lmms_eval/trap", (tasks,)), DataOptions())
    script = tmp_path / "s.jsonl"
    script.write_text('{"id": "*", "response": "yes"}\n')
    words = f"--model said --backend scripted --model_args script={script} --include_path {tasks}"
    code = main([*words.split(), "--tasks", "lmms_eval/trap", "-o", str(tmp_path / "runs")])
    told = capsys.readouterr().err
    assert code == 1
    assert "set OPENAI_API_KEY" in told
    assert "Traceback" not in told


def test_what_its_own_code_raises_is_not_blamed_on_the_rows(tmp_path: Path) -> None:
    code = USUAL + "\ndef boom(doc):\n    return doc.absent\n"
    tasks = make(tmp_path, code, "doc_to_messages: !function utils.boom")
    with pytest.raises(TaskError, match=r"its own code fails: AttributeError: .*'absent'$"):
        run(tmp_path, tasks, always("yes"))


def test_data_that_cannot_be_had_are_said_at_once_and_by_their_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    tries = []

    def unreachable(*args: object, **kwargs: object) -> None:
        tries.append(args)
        raise ConnectionError("the hub is away")

    tasks = make(tmp_path, USUAL)
    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(TaskError, match="trap does not load: ConnectionError: the hub is away"):
        open_data(get_task("lmms_eval/trap", (tasks,)), DataOptions())
    assert len(tries) == 1  # not five times, two seconds apart


def test_what_does_not_go_together_is_refused(tmp_path: Path) -> None:
    tasks = make(tmp_path, USUAL)
    with pytest.raises(UsageError, match="has no task 'trapp'; did you mean trap"):
        resolve_tasks("lmms_eval/trapp", (tasks,))
    with pytest.raises(UsageError, match=r"has no task like 'trapp\*'"):
        resolve_tasks("demo,lmms_eval/trapp*", (tasks,))
    blind = RunOptions("tiny", "lmms_eval/trap", include_path=(tasks,), blind=("drop",))
    with pytest.raises(UsageError, match="--blind"):
        generate(blind)
    file, kind = Path(tasks, "trap", "trap.yaml"), "generate_until_multi_round"
    file.write_text(file.read_text().replace("type: generate_until\n", f"type: {kind}\n"))
    with pytest.raises(TaskError, match=f"asks for '{kind}'"):
        open_data(get_task("lmms_eval/trap", (tasks,)), DataOptions())
