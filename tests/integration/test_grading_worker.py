"""The killable worker: whatever a judge does, the other items get their verdicts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from vsr1_bench.errors import JudgeError
from vsr1_bench.judge import Item, RuleJudge
from vsr1_bench.judging.worker import Grader, grade_all
from vsr1_bench.records import Verdict
from vsr1_bench.registry import get_judge

# One plug-in whose behaviour is chosen by the response; `echo` shows that the next item is fine.
PLUGIN = """
import ctypes, os, signal, subprocess, sys, time
from vsr1_bench.judge import Item, RuleJudge
from vsr1_bench.records import Verdict


def grade(item: Item) -> Verdict:
    act = item.response
    if act == "hang":
        while True:
            time.sleep(1)
    if act == "hang in C":
        9**(9**9)  # holds the interpreter lock
    if act == "hang with a child":
        sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        open(item.answer, "w").write(str(sleeper.pid))
        time.sleep(600)
    if act == "stop":  # as Ctrl-Z or a scheduler does; the test lets it go on
        os.kill(os.getpid(), signal.SIGSTOP)
    if act == "compute":
        end = time.process_time() + 0.6
        while time.process_time() < end:
            pass
    if act == "exit":
        os._exit(0)
    if act == "sys.exit":
        sys.exit(0)
    if act == "segfault":
        ctypes.string_at(0)
    if act == "eat":
        bytearray(8 << 30)
    if act == "print":
        print("\\0\\0\\0\\2{}" * 1000, flush=True)
        os.system("echo from a shell")
    if act == "read":
        sys.stdin.read()
    if act == "raise":
        raise ValueError("odd\\n" * 500)
    if act == "raise strange":
        class Strange(Exception):
            def __str__(self):
                raise RuntimeError
        raise Strange
    if act == "nothing":
        return None
    if act == "not JSON":
        return Verdict("correct", extracted=object())
    if act == "recurse":
        return grade(item)
    if act == "pid":
        return Verdict("correct", extracted=str(os.getpid()))
    return Verdict("correct", extracted=item.response, label=item.answer, score=0.5)


def warm_up() -> None:
    time.sleep(1.5)


UNBOUNDED = RuleJudge("acts_here", 1, grade, "", seconds=1)
BOUNDED = RuleJudge("acts", 1, grade, "", bounded=True, seconds=1.0, warm_up=warm_up)
"""


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    folder = tmp_path / "plug ins"
    folder.mkdir()
    (folder / "acts.py").write_text(PLUGIN, encoding="utf-8")
    return folder


def items(*responses: str) -> list[Item]:
    return [Item(str(i), response, "gold", "text") for i, response in enumerate(responses)]


def verdicts(judge_name: str, plugins: Path, *responses: str) -> list[Verdict]:
    path = (str(plugins),)
    wanted = items(*responses)
    pairs = list(grade_all(get_judge(judge_name, path), wanted, path))
    assert [item for item, _ in pairs] == wanted
    return [verdict for _, verdict in pairs]


def echo(response: str) -> Verdict:
    return Verdict("correct", extracted=response, label="gold", score=0.5)


def gone(pid: int) -> bool:
    """No such process, or one that only waits to be collected by init."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return condition()


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        ("hang", "grader_timeout"),
        ("hang in C", "grader_timeout"),
        ("exit", "grader_crash"),
        ("segfault", "grader_crash"),
        ("sys.exit", "grader_error: SystemExit: 0"),
        ("raise strange", "grader_error: Strange"),
        ("nothing", "grader_error: TypeError: grade returned NoneType, not a Verdict"),
    ],
)
def test_one_bad_item_is_unscored_and_the_others_are_graded(
    act: str, reason: str, plugins: Path
) -> None:
    assert verdicts("acts", plugins, "a", act, "b") == [
        echo("a"),
        Verdict("unscored", reason=reason),
        echo("b"),
    ]


def test_memory_is_bounded(plugins: Path) -> None:
    first, eaten, third = verdicts("acts", plugins, "a", "eat", "b")
    assert (first, third) == (echo("a"), echo("b"))
    assert eaten == Verdict("unscored", reason="grader_error: MemoryError")


def test_an_exception_is_said_in_one_short_line(plugins: Path) -> None:
    for judge in ("acts", "acts_here"):
        verdict, after = verdicts(judge, plugins, "raise", "b")
        assert verdict.outcome == "unscored"
        assert verdict.reason is not None
        assert verdict.reason.startswith("grader_error: ValueError: odd odd")
        assert "\n" not in verdict.reason
        assert len(verdict.reason) < 260
        assert after == echo("b")


@pytest.mark.parametrize("act", ["raise", "raise strange", "sys.exit", "nothing", "recurse"])
def test_in_process_too_an_exception_is_a_verdict(act: str, plugins: Path) -> None:
    verdict, after = verdicts("acts_here", plugins, act, "b")
    assert verdict.outcome == "unscored"
    assert (verdict.reason or "").startswith("grader_error: ")
    assert after == echo("b")


def test_a_verdict_that_is_not_json_is_an_error(plugins: Path) -> None:
    verdict, after = verdicts("acts", plugins, "not JSON", "b")
    assert (verdict.reason or "").startswith("grader_error: TypeError")
    assert after == echo("b")


def test_printing_and_reading_do_not_touch_the_protocol(
    plugins: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    got = verdicts("acts", plugins, "print", "read", "b")
    assert got == [echo("print"), echo("read"), echo("b")]
    out, err = capfd.readouterr()
    assert out == ""
    assert "from a shell" in err


def test_any_text_crosses_the_border(plugins: Path) -> None:
    texts = ["", "\0", "\ud800 alone", "é\n\r\u2028", "x" * 3_000_000]
    assert verdicts("acts", plugins, *texts) == [echo(text) for text in texts]


def test_the_clock_starts_after_the_warm_up(plugins: Path) -> None:
    """`warm_up` takes longer than an item may; a restarted worker warms up again."""
    assert verdicts("acts", plugins, "a", "hang", "b")[2] == echo("b")


def test_one_worker_serves_all_items_and_leaves_no_process(plugins: Path) -> None:
    pids = [verdict.extracted for verdict in verdicts("acts", plugins, "pid", "a", "pid")]
    assert pids[0] == pids[2]
    assert pids[0] is not None
    assert int(pids[0]) != os.getpid()
    assert not Path(f"/proc/{pids[0]}").exists()  # collected: not even a zombie


def test_a_closed_iterator_ends_the_worker(plugins: Path) -> None:
    path = (str(plugins),)
    pairs = grade_all(get_judge("acts", path), items("pid", "a"), path)
    _, verdict = next(pairs)
    assert Path(f"/proc/{verdict.extracted}").exists()
    pairs.close()
    assert not Path(f"/proc/{verdict.extracted}").exists()


def test_a_worker_that_is_stopped_for_longer_than_its_time_is_right_all_the_same(
    plugins: Path,
) -> None:
    path = (str(plugins),)
    with Grader(get_judge("acts", path), path) as grader:
        assert grader.grade(items("a")[0]) == echo("a")
        worker = grader._worker
        assert worker is not None
        pid = worker.process.pid
        on = threading.Timer(3.0, os.kill, (pid, signal.SIGCONT))  # an item may take 1 s
        on.start()
        start = time.monotonic()
        assert grader.grade(items("stop")[0]) == echo("stop")
        assert time.monotonic() - start > 2.5
        assert grader._worker is worker
        # Stopped in the middle of its work, again and again.
        for _ in range(3):
            threading.Timer(0.2, os.kill, (pid, signal.SIGSTOP)).start()
            threading.Timer(1.7, os.kill, (pid, signal.SIGCONT)).start()
            assert grader.grade(items("compute")[0]) == echo("compute")
        assert grader._worker is worker


def test_a_job_that_is_suspended_goes_on_where_it_was(plugins: Path, tmp_path: Path) -> None:
    """The whole job, its own process too: what has passed by the clock is no worker's time."""
    program = textwrap.dedent(f"""
        from vsr1_bench.judging.worker import Grader
        from vsr1_bench.judge import Item
        from vsr1_bench.registry import get_judge
        path = ({str(plugins)!r},)
        with Grader(get_judge("acts", path), path) as grader:
            print(grader.grade(Item("1", "pid", "", "text")).extracted, flush=True)
            for _ in range(4):
                print(grader.grade(Item("2", "compute", "", "text")).outcome, flush=True)
        """)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as job:
        assert job.stdout is not None
        worker = int(job.stdout.readline())
        time.sleep(0.3)
        for pid in (job.pid, worker):
            os.kill(pid, signal.SIGSTOP)
        time.sleep(3)
        for pid in (job.pid, worker):
            os.kill(pid, signal.SIGCONT)
        assert job.stdout.read().split() == [b"correct"] * 4


def test_what_a_hanging_judge_started_ends_with_it(plugins: Path, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    path = (str(plugins),)
    item = Item("1", "hang with a child", str(note), "text")
    [(_, verdict)] = grade_all(get_judge("acts", path), [item], path)
    assert verdict.reason == "grader_timeout"
    assert within(5, lambda: gone(int(note.read_text())))


def test_a_thread_that_ends_does_not_take_the_worker_along(plugins: Path) -> None:
    """PDEATHSIG follows the starting thread, so a worker of a pool thread must go without."""
    path = (str(plugins),)
    grader = Grader(get_judge("acts", path), path)
    got: list[Verdict] = []
    with grader:
        thread = threading.Thread(target=lambda: got.append(grader.grade(items("pid")[0])))
        thread.start()
        thread.join()
        time.sleep(0.2)
        got.append(grader.grade(items("pid")[0]))
    assert got[0].extracted is not None
    assert got[0] == got[1]


def test_a_grader_can_be_closed_and_used_again(plugins: Path) -> None:
    path = (str(plugins),)
    grader = Grader(get_judge("acts", path), path)
    for _ in range(2):
        assert grader.grade(items("a")[0]) == echo("a")
        grader.close()
        grader.close()


def test_an_interrupt_leaves_no_stale_reply(plugins: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = (str(plugins),)
    with Grader(get_judge("acts", path), path) as grader:
        grader.grade(items("a")[0])
        worker = grader._worker
        assert worker is not None
        with monkeypatch.context() as patch:
            patch.setattr(type(worker), "_reply", _interrupt)
            with pytest.raises(KeyboardInterrupt):
                grader.grade(items("late")[0])
        assert grader.grade(items("b")[0]) == echo("b")


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("act", ["hang", "hang in C", "idle"])
def test_the_worker_dies_with_its_parent(act: str, plugins: Path, tmp_path: Path) -> None:
    """No `if __name__ == "__main__"` in the script, and SIGKILL gives it no time to clean up."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
        import sys, time
        from vsr1_bench.judging.worker import Grader
        from vsr1_bench.judge import Item
        from vsr1_bench.registry import get_judge
        path = ({str(plugins)!r},)
        grader = Grader(get_judge("acts", path), path)
        pid = grader.grade(Item("1", "pid", "", "text")).extracted
        print(pid, flush=True)
        object.__setattr__(grader._judge, "seconds", 600)
        if {act!r} != "idle":
            grader.grade(Item("2", {act!r}, "", "text"))
        time.sleep(600)
        """)
    )
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        time.sleep(0.3)
        assert not gone(pid)
        parent.send_signal(signal.SIGKILL)
    assert within(5, lambda: gone(pid))


def test_without_a_leash_a_hanging_worker_ends_itself(plugins: Path) -> None:
    """Started by a thread, in the middle of a C call: the system's alarm ends it all the same."""
    program = textwrap.dedent(f"""
        import threading
        from vsr1_bench.judging.worker import Grader
        from vsr1_bench.judge import Item
        from vsr1_bench.registry import get_judge
        path = ({str(plugins)!r},)
        def work():
            grader = Grader(get_judge("acts", path), path)
            print(grader.grade(Item("1", "pid", "", "text")).extracted, flush=True)
            object.__setattr__(grader._judge, "seconds", 600)
            grader.grade(Item("2", "hang in C", "", "text"))
        threading.Thread(target=work).start()
        """)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        time.sleep(0.3)
        parent.send_signal(signal.SIGKILL)
    assert within(20, lambda: gone(pid))


def test_a_judge_that_cannot_start_is_an_error_not_a_verdict(tmp_path: Path) -> None:
    (tmp_path / "late.py").write_text(
        "from vsr1_bench.judge import RuleJudge\n"
        "from vsr1_bench.records import Verdict\n"
        "def warm_up():\n    import no_such_module\n"
        'J = RuleJudge("late", 1, lambda i: Verdict("correct"), "", True, warm_up=warm_up)\n'
    )
    path = (str(tmp_path),)
    with pytest.raises(JudgeError, match=r"'late' cannot start: .*no_such_module"):
        next(grade_all(get_judge("late", path), items("a"), path))


LATE = """
import time
from vsr1_bench.judge import RuleJudge, ensure_warm
from vsr1_bench.records import Verdict
loaded = []
def warm_up():
    time.sleep(1.5)
    assert not loaded
    loaded.append(1)
def grade(item):
    if item.response == "needs it":
        ensure_warm()
    return Verdict("correct", extracted=str(len(loaded)))
J = RuleJudge("late", 1, grade, "", True, 1.0, warm_up, late_warm_up=True)
"""


def test_a_late_warm_up_runs_once_for_the_first_item_that_needs_it_and_costs_it_no_time(
    tmp_path: Path,
) -> None:
    (tmp_path / "late.py").write_text(LATE)
    found = verdicts("late", tmp_path, "plain", "needs it", "plain", "needs it")
    assert [verdict.extracted for verdict in found] == ["0", "1", "1", "1"]


def test_a_late_warm_up_that_fails_is_an_error_not_a_verdict(tmp_path: Path) -> None:
    (tmp_path / "late.py").write_text(LATE.replace("time.sleep(1.5)", "import no_such_module"))
    path = (str(tmp_path),)
    graded = grade_all(get_judge("late", path), items("plain", "needs it"), path)
    assert next(graded)[1].outcome == "correct"
    with pytest.raises(JudgeError, match=r"'late' cannot start: .*no_such_module"):
        next(graded)


def test_a_judge_unknown_to_the_worker_is_an_error() -> None:
    stranger = RuleJudge("stranger", 1, lambda item: Verdict("correct"), "", bounded=True)
    with pytest.raises(JudgeError, match="unknown judge 'stranger'"):
        next(grade_all(stranger, items("a")))


def test_a_math_py_in_the_working_folder_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when somebody works inside the folder judges/, which holds a math.py."""
    (tmp_path / "math.py").write_text("raise SystemExit('the wrong math')")
    (tmp_path / "json.py").write_text("raise SystemExit('the wrong json')")
    monkeypatch.chdir(tmp_path)
    item = Item("1", r"\boxed{\frac{2}{4}}", "1/2", "math")
    [(_, verdict)] = grade_all(get_judge("math"), [item])
    assert verdict.outcome == "correct"


def test_the_factorial_that_hangs_mathruler() -> None:
    hard = [Item(str(i), f"\\boxed{{{answer}}}", "x", "math") for i, answer in enumerate(
        ("x", "9999999!", "9**9**9", "x")
    )]  # fmt: skip
    start = time.monotonic()
    outcomes = [(v.outcome, v.reason) for _, v in grade_all(get_judge("mathruler"), hard)]
    assert outcomes == [
        ("correct", None),
        ("unscored", "grader_timeout"),
        ("unscored", "grader_timeout"),
        ("correct", None),
    ]
    assert 10 <= time.monotonic() - start < 300  # processor time: a busy machine takes longer
