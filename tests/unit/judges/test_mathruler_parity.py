"""300 varied pairs: our judge in its worker says what the package says, wherever that finishes."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from vsr1_bench.judge import Item
from vsr1_bench.judging.worker import grade_all
from vsr1_bench.registry import get_judge

# The package's own side: its two functions as its README calls them, killed by the system when
# one pair takes too long. No line of ours between them.
PACKAGE = """
import json, os, sys
from mathruler.grader import extract_boxed_content, grade_answer
for line in sys.stdin:
    response, answer = json.loads(line)
    pid = os.fork()
    if pid == 0:
        import signal
        signal.alarm(5)
        try:
            right = grade_answer(extract_boxed_content(response), answer)
            os._exit(int(right))
        except BaseException:
            os._exit(2)
    status = os.waitpid(pid, 0)[1]
    print(os.WEXITSTATUS(status) if os.WIFEXITED(status) else -1, flush=True)
"""
ATOMS = [
    "5", "-5", "0", "1,000", "1000", "0.5", "1/2", "2/4", r"\frac{1}{2}", r"\dfrac{1}{2}", "50%",
    r"50\%", "$5$", "5 cm", "5 degrees", r"5^\circ", "x", "x+1", "1+x", "2x", "x^2", "x*x",
    r"\sqrt{2}", "sqrt(2)", r"\pi", "3.14", "(1,2)", "(1, 2)", "[1,2]", "(2,1)", "1 and 2", "A",
    "a", "(A)", r"\text{A}", "B", "yes", "Yes", "no", "cat", r"\text{cat}", "the cat", "3 1/2",
    "7/2", "3.5", "1e3", "two million", "2*10^6", r"\infty", "x=5", "{5}", "10^10", "2^{3}",
    "None", "", " ", "5.0", "05", "5.", "é", r"\left(1,2\right)", r"\{1,2\}",
]  # fmt: skip
FRAMES = [
    r"\boxed{%s}", r"<think>t</think> \boxed{%s}", r"\boxed{9} then $\boxed{%s}$.",
    r"\boxed{ %s }", r"\boxed{\boxed{%s}}",
]  # fmt: skip


def pairs(count: int) -> list[tuple[str, str]]:
    """Varied responses and gold answers; about half of the golds are the atom boxed."""
    rng = random.Random(20250827)
    made: dict[tuple[str, str], None] = {}
    while len(made) < count - 4:
        atom = rng.choice(ATOMS)
        gold = atom if rng.random() < 0.3 else rng.choice(ATOMS)
        if gold.strip():  # an empty gold answer is unscored here: a stated deviation
            made[rng.choice(FRAMES) % atom, gold] = None
    made[r"\boxed{9999999!}", "x"] = None
    made[r"\boxed{5", "5"] = None
    made["no box", "5"] = None
    made[r"\boxed{x} \boxed{{}", "x"] = None
    return list(made)


def test_parity_with_the_package() -> None:
    chosen = pairs(300)
    assert len(chosen) == 300
    asked = "".join(json.dumps(pair) + "\n" for pair in chosen)
    package = (sys.executable, "-c", PACKAGE)
    items = [Item(str(i), response, gold, "math") for i, (response, gold) in enumerate(chosen)]
    with ThreadPoolExecutor(1) as beside:  # both wait for the pair that never ends
        done = beside.submit(
            subprocess.run, package, input=asked, capture_output=True, text=True, check=True
        )
        ours = [verdict for _, verdict in grade_all(get_judge("mathruler"), items)]
        theirs = [int(line) for line in done.result().stdout.split()]
    assert len(theirs) == len(ours) == 300
    differ = [
        (pair, code, verdict)
        for pair, code, verdict in zip(chosen, theirs, ours, strict=True)
        if code in (0, 1) and verdict.outcome != ("incorrect", "correct")[code]
    ]
    assert differ == []
    finished = [code for code in theirs if code in (0, 1)]
    assert len(finished) > 290
    assert 60 < sum(finished) < 240  # both verdicts are well represented
    assert ours[chosen.index((r"\boxed{9999999!}", "x"))].reason == "grader_timeout"
