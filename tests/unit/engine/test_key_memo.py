"""Keys remembered between runs: a resumed run reads fewer rows, and asks what is missing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from vsr1_bench.errors import GenerationError
from vsr1_bench.pipeline import key_memo
from vsr1_bench.pipeline.key_memo import CHECKED, KeyMemo
from vsr1_bench.pipeline.plan import RunOptions
from vsr1_bench.pipeline.run import generate
from vsr1_bench.pipeline.stream import TaskRun

ROWS = 200
PLUGIN = """
import os
from pathlib import Path

from vsr1_bench.records import Sample
from vsr1_bench.task import Procedural, Task

READ = Path({log!r})
WORDS = Path({words!r})


def to_sample(row):
    with READ.open("a") as file:
        file.write(f"{{row['n']}}\\n")
    question = f"{{WORDS.read_text()}} {{row['n']}}: how many?"
    return Sample(f"s{{row['n']}}", (question,), "7", "number")


TASK = Task("memo", 1, Procedural(lambda n: {{"n": n}}, {rows}, "memo"), to_sample,
            "number", "Apache-2.0", "numbers", per_row=1)
"""


class Runs:
    """Runs of one small task, and the rows that each of them reads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log, self.words = folder / "read", folder / "words"
        self.words.write_text("Case")
        (folder / "plugins").mkdir()
        self.plugin = folder / "plugins" / "numbers.py"
        self.plugin.write_text(PLUGIN.format(log=str(self.log), words=str(self.words), rows=ROWS))
        self.answer()

    def answer(self, **more: object) -> None:
        line = more or {"response": "\\boxed{7}"}
        line = {"id": "*", **line}
        (self.folder / "script.jsonl").write_text(json.dumps(line) + "\n")

    def run(self, **told: object) -> tuple[TaskRun, int]:
        """Run; return the run and how many rows were read."""
        self.log.write_text("")
        options = RunOptions(
            model="m",
            tasks="memo",
            backend="scripted",
            model_args={"script": str(self.folder / "script.jsonl")},
            output_path=self.folder / "runs",
            include_path=(str(self.plugin.parent),),
            progress=False,
            **told,  # type: ignore[arg-type]
        )
        (run,) = generate(options)
        return run, len(self.log.read_text().splitlines())

    def journal(self) -> Path:
        (path,) = (self.folder / "runs").glob("*/*/generations.jsonl")
        return path

    def lines(self) -> list[bytes]:
        return self.journal().read_bytes().splitlines(keepends=True)

    def memo(self) -> Path:
        return self.journal().with_name(".keys")


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path)


def test_a_resumed_run_reads_only_what_it_checks(runs: Runs) -> None:
    assert runs.run()[1] == ROWS
    run, read = runs.run()
    assert 0 < read <= CHECKED + 2
    assert (run.answers.finished, run.answers.failed, len(runs.lines())) == (ROWS, 0, ROWS)


@pytest.mark.parametrize("gone", [[0], [5, 6, 150], [ROWS - 1], list(range(0, ROWS, 2))])
def test_what_is_missing_is_asked_and_nothing_else(runs: Runs, gone: list[int]) -> None:
    runs.run()
    lines = runs.lines()
    runs.journal().write_bytes(b"".join(line for n, line in enumerate(lines) if n not in gone))
    run, read = runs.run()
    assert len(gone) <= read <= len(gone) + CHECKED + 2
    assert run.answers.finished == ROWS
    texts = lambda found: sorted(json.loads(line)["key"] for line in found)  # noqa: E731
    assert texts(runs.lines()) == texts(lines)


def test_failed_responses_are_asked_again(runs: Runs) -> None:
    runs.run(limit=150)
    lines = [json.loads(line) for line in runs.lines()]
    for line in lines[10:20]:
        line.update(text="", finish_reason="error", error="no luck")
    runs.journal().write_text("".join(json.dumps(line) + "\n" for line in lines))
    run, read = runs.run(limit=150)
    assert (run.answers.finished, run.answers.failed) == (150, 0)
    assert len(runs.lines()) == 160 and read <= 10 + CHECKED + 2


def test_a_higher_limit_and_a_lower_one(runs: Runs) -> None:
    runs.run(limit=50)
    run, read = runs.run(limit=120)
    assert run.answers.finished == 120 and 70 <= read <= 70 + CHECKED + 2
    assert runs.run(limit=20)[0].answers.finished == 20
    assert runs.run()[0].answers.finished == ROWS
    assert len(runs.lines()) == ROWS


def test_several_responses_a_sample(runs: Runs) -> None:
    runs.run(gen_kwargs={"n": 3, "temperature": 1.0})
    lines = runs.lines()
    runs.journal().write_bytes(b"".join(lines[:100] + lines[101:]))
    run, read = runs.run(gen_kwargs={"n": 3, "temperature": 1.0})
    assert run.answers.finished == 3 * ROWS and read <= 1 + CHECKED + 2
    assert len(runs.lines()) == 3 * ROWS


def test_shards_remember_their_own(runs: Runs) -> None:
    for shard in ((0, 2), (1, 2)):
        runs.run(shard=shard)
        run, _ = runs.run(shard=shard)
        assert run.answers.finished == ROWS // 2
    names = {path.name for path in (runs.folder / "runs").glob("*/*/.keys*")}
    assert names == {".keys.0-of-2", ".keys.1-of-2"}
    run, _ = runs.run()
    assert run.answers.finished == ROWS and runs.lines() == []


# --- what is asked has changed, and nothing but the code says so ---


def test_other_words_in_the_tasks_own_code_are_asked_anew(runs: Runs) -> None:
    runs.run()
    runs.plugin.write_text(runs.plugin.read_text().replace("how many?", "how many, then?"))
    from vsr1_bench.registry import _load

    _load.cache_clear()
    run, read = runs.run()
    assert read == ROWS and run.answers.finished == ROWS and len(runs.lines()) == 2 * ROWS
    _load.cache_clear()


def test_other_words_from_elsewhere_are_noticed(runs: Runs) -> None:
    """From a file that nobody knows of: the keys that are made again differ."""
    runs.run()
    runs.words.write_text("Problem")
    run, _ = runs.run()
    assert run.answers.finished == ROWS and len(runs.lines()) == 2 * ROWS
    assert runs.run()[1] <= CHECKED + 2


def test_a_journal_that_is_gone_is_made_again_whatever_is_remembered(runs: Runs) -> None:
    runs.run()
    runs.journal().unlink()
    run, read = runs.run()
    assert read == ROWS and len(runs.lines()) == ROWS and run.answers.finished == ROWS


def flip(data: bytes) -> bytes:
    return data[:50] + bytes([data[50] ^ 4]) + data[51:]


@pytest.mark.parametrize(
    "harm",
    [
        lambda data: b"",
        lambda data: data[:20],
        lambda data: data[:-7],
        lambda data: data + b"torn",
        lambda data: os.urandom(len(data)),
        flip,
        lambda data: data[:32] + b"\0" * (len(data) - 32),
    ],
)
def test_a_damaged_memo_costs_time_alone(runs: Runs, harm: Callable[[bytes], bytes]) -> None:
    runs.run()
    lines = runs.lines()
    runs.journal().write_bytes(b"".join(lines[:-3]))
    runs.memo().write_bytes(harm(runs.memo().read_bytes()))
    run, _ = runs.run()
    assert run.answers.finished == ROWS and len(runs.lines()) == ROWS
    assert runs.run()[1] <= CHECKED + 2


def test_a_start_without_an_answer_leaves_no_memo(runs: Runs) -> None:
    runs.answer(error="no luck")
    with pytest.raises(GenerationError, match="all failed"):
        runs.run()
    assert not runs.memo().exists()


def test_a_memo_that_cannot_be_written_is_done_without(runs: Runs) -> None:
    runs.run(limit=10)
    runs.memo().unlink()
    runs.memo().mkdir()
    assert runs.run()[0].answers.finished == ROWS
    assert runs.run()[1] == ROWS


def test_an_id_that_stands_twice_is_refused_behind_what_is_passed_over(runs: Runs) -> None:
    runs.run(limit=100)
    text = runs.plugin.read_text().replace("f\"s{row['n']}\"", "f\"s{row['n'] % 100}\"")
    memo = KeyMemo.__init__

    def believed(self: KeyMemo, path: Path, digest: str, per_sample: int) -> None:
        memo(self, path, "the same code", per_sample)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(key_memo.KeyMemo, "__init__", believed)
        runs.run(limit=100)
        runs.plugin.write_text(text)
        from vsr1_bench.registry import _load

        _load.cache_clear()
        answers = runs.run()[0].answers
    assert (answers.finished, answers.failed) == (100, ROWS - 100)
    assert all("occurs twice" in reason for reason in answers.reasons)
    _load.cache_clear()


def test_entries_come_back_the_last_one_counting(tmp_path: Path) -> None:
    def key(n: int) -> str:
        return f"{n:032x}"

    with KeyMemo(tmp_path / "m", "d", 1) as memo:
        for place in range(2500):
            memo.note(place, [key(place)])
        memo.note(7, [key(9999)])
    finished = {key(n) for n in range(0, 2500, 2)} | {key(9999)}
    with KeyMemo(tmp_path / "m", "d", 1) as memo:
        done = memo.complete(3000, finished, lambda place: [key(9999 if place == 7 else place)])
    assert [n for n in range(3000) if done[n]] == sorted([*range(0, 2500, 2), 7])
    with KeyMemo(tmp_path / "m", "another", 1) as memo:
        assert not any(memo.complete(3000, finished, lambda place: [key(place)]))
