"""Compare this project with lmms-eval: both command lines, and both scorers.

    make lmms-both-ways
    make lmms-differences DATA=MIRROR        (DIR/<hub id>/<config>/<split>.parquet)

`both-ways` writes a task of demo scenes as lmms-eval's own are, asks the embedded model by
either command line, and compares the numbers and the responses.

`differences` scores the same responses with both scorers. Every document of a local slice is
answered in one form of words (its gold answer in a box, in bold, no answer at all, …) by the
`scripted` backend, twice: as this project's task of the benchmark, and as `lmms_eval/NAME`, whose
scorer is lmms-eval's own code (tests/lmms shows that it gives the number of its own evaluator). Its
task files are used as they are, included by a file that points them at the slice. `gives the gold`
says what a reader of the responses would count. For MathVerse a server on this machine takes the
judge's part and says the same to both.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")

from bench_lmms_eval import NAME, write_task
from tabulate import tabulate

from vsr1_bench.data.dataset import DataOptions, open_data
from vsr1_bench.judge import JudgeOptions
from vsr1_bench.judging.open import JudgePool
from vsr1_bench.lmms_eval.index import find_entry, package_version
from vsr1_bench.pipeline.plan import RunOptions
from vsr1_bench.pipeline.run import generate
from vsr1_bench.records import Sample
from vsr1_bench.registry import get_task
from vsr1_bench.scoring.runs import judge_and_score


@dataclass(frozen=True)
class Form:
    """One wording of an answer; `{gold}` is replaced by the gold answer."""

    words: str
    gives: bool
    """Whether a person would find the gold answer in it."""


@dataclass(frozen=True)
class Set:
    """A benchmark that both have."""

    ours: str
    theirs: str
    file: str
    """Below the mirror."""
    forms: tuple[Form, ...]
    metrics: tuple[str, ...]
    share: float = 100.0
    """Factor that makes its numbers percent."""


TOKENS = 160
THINK = "<think>Option A comes near, but it does not hold.</think> "
LETTER = (
    Form("{gold}", True),
    Form("({gold})", True),
    Form("Answer: {gold}", True),
    Form("The correct answer is **{gold}**.", True),
    Form(r"\boxed{{{gold}}}", True),
    Form(THINK + r"\boxed{{{gold}}}", True),
    Form("The answer is ({gold}). It is not (A), as one might think.", True),
    Form("I cannot tell from the picture.", False),
    Form("", False),
)
NUMBER = (
    Form("{gold}", True),
    Form(r"\boxed{{{gold}}}", True),
    Form("Answer: {gold}", True),
    Form("The answer is {gold}.", True),
    Form("**{gold}**", True),
    Form(r"First \boxed{{7}}, and with it \boxed{{{gold}}}.", True),
    Form("The answer is {gold}, as was to be shown in 2 steps.", True),
    Form("I cannot solve this.", False),
)
TASKS = (
    Set(
        "mmmu_pro_10",
        "mmmu_pro_standard",
        "MMMU/MMMU_Pro/standard (10 options)/test.parquet",
        LETTER,
        ("mmmu_acc",),
    ),
    Set(
        "mmmu_pro_vision",
        "mmmu_pro_vision",
        "MMMU/MMMU_Pro/vision/test.parquet",
        LETTER,
        ("mmmu_acc",),
    ),
    Set(
        "mathvision",
        "mathvision_test",
        "MathLLMs/MathVision/test.parquet",
        NUMBER,
        ("mathvision_standard_eval",),
        1.0,
    ),
    Set(
        "gsm8k",
        "gsm8k_cot_zeroshot",
        "openai/gsm8k/main/test.jsonl",
        (*NUMBER, Form("#### {gold}", True)),
        ("exact_match,strict-match", "exact_match,flexible-extract"),
    ),
)
JUDGED = Set(
    "mathverse_text_only",
    "mathverse_testmini_text_only",
    "AI4Math/MathVerse/testmini_text_only/testmini_text_only.jsonl",
    (),
    ("gpt_eval_score",),
)
KNOWN = {one.ours: one for one in (*TASKS, JUDGED)}
REPLIES = (
    ("1", '{"verdict": "correct"}', True),
    ("0", '{"verdict": "incorrect"}', False),
    ("0. The correct answer is 12", "0. The correct answer is 12", False),
    ("Incorrect: step 1 is wrong", "Incorrect: step 1 is wrong", False),
)
"""What the judge replies to lmms-eval and to us, each in the wanted format, and whether it means
that the response is correct."""


def point(one: Set, data: Path, folder: Path) -> None:
    """Write a task file that includes lmms-eval's own and changes only the location of the rows."""
    from datasets import Dataset, Image

    file = find_entry(one.theirs).file
    source = data / one.file
    if source.suffix == ".parquet":  # a mirror may not mark which columns are images
        rows = Dataset.from_parquet(str(source))
        for name, feature in rows.features.items():
            if isinstance(feature, dict) and feature.keys() == {"bytes", "path"}:
                rows = rows.cast_column(name, Image())
        source = folder / source.name
        rows.to_parquet(str(source))
    if one is JUDGED:  # lmms-eval's copy of the rows has one more column
        lines = [json.loads(line) for line in source.read_text("utf-8").splitlines()]
        source = folder / source.name
        text = [json.dumps({**line, "question_for_eval": line["question"]}) for line in lines]
        source.write_text("\n".join(text), "utf-8")
    kind = "parquet" if source.suffix == ".parquet" else "json"
    split = "text_only" if one is JUDGED else "test"
    text = [
        f"include: {json.dumps(str(file))}",
        f"task: {one.theirs}_here",
        f"dataset_path: {kind}",
        "dataset_name: null",
        f"dataset_kwargs: {json.dumps({'data_files': {split: str(source)}})}",
    ]
    (folder / f"{one.theirs}_here.yaml").write_text("\n".join(text) + "\n", "utf-8")


class Scorers:
    """Both tasks of a set, with the same responses."""

    def __init__(self, one: Set, data: Path, folder: Path, limit: int | None) -> None:
        """Let lmms-eval's task read the rows of ours."""
        self.one, self._folder, self._limit = one, folder, limit
        self._options = DataOptions(data)
        tasks = folder / one.theirs
        tasks.mkdir()
        point(one, data, tasks)
        self._include = (str(tasks),)
        self._runs = 0
        rows = open_data(get_task(one.ours), self._options)
        self.samples: list[Sample] = list(rows.samples(limit))

    def ours(self, texts: list[str], judge: str | None, pool: JudgePool) -> str:
        """Percent by this project's task."""
        ids = [sample.id for sample in self.samples]
        document = self._score(self.one.ours, dict(zip(ids, texts, strict=True)), judge, pool)
        value = document["metrics"]["accuracy"]["value"]
        if document["rates"]["scored"] == 0 or value is None:
            return "unscored"
        return f"{100 * value:.1f}"

    def theirs(self, texts: list[str], pool: JudgePool) -> str:
        """Percent by lmms-eval, each of its numbers."""
        responses = {str(number): text for number, text in enumerate(texts)}
        document = self._score(f"lmms_eval/{self.one.theirs}_here", responses, None, pool)
        values = [document["metrics"][name]["value"] for name in self.one.metrics]
        return " / ".join(f"{self.one.share * value:.1f}" for value in values)

    def _score(
        self, task: str, responses: dict[str, str], judge: str | None, pool: JudgePool
    ) -> dict[str, dict[str, Any]]:
        self._runs += 1
        out = self._folder / f"{self.one.theirs}-{self._runs}"
        out.mkdir()
        script = out / "script.jsonl"
        lines = [json.dumps({"id": id_, "response": text}) for id_, text in responses.items()]
        script.write_text("\n".join(lines), "utf-8")
        (run,) = generate(
            RunOptions(
                model="said",
                tasks=task,
                output_path=out / "runs",
                backend="scripted",
                model_args={"script": str(script)},
                limit=self._limit,
                data=self._options,
                include_path=self._include,
                progress=False,
            )
        )
        return judge_and_score(run.folder, judge, self._include, pool=pool, progress=False)


def by_form(scorers: Scorers) -> Iterator[list[str]]:
    """One line of the table per form of answer."""
    with JudgePool() as pool:
        for form in scorers.one.forms:
            texts = [form.words.format(gold=sample.answer) for sample in scorers.samples]
            yield [
                f"{scorers.one.ours} ({len(texts)})",
                f"`{form.words.format(gold='GOLD')}`" if form.words else "(nothing)",
                "yes" if form.gives else "no",
                scorers.theirs(texts, pool),
                scorers.ours(texts, None, pool),
            ]


def by_reply(scorers: Scorers, says: list[str], base_url: str) -> Iterator[list[str]]:
    """One line of the table per reply of the judge; the responses are the same each time."""
    texts = [rf"\boxed{{{sample.answer}}}" for sample in scorers.samples]
    for to_theirs, to_ours, right in REPLIES:
        with JudgePool((), JudgeOptions(model="judge", base_url=base_url)) as pool:
            says[0] = to_theirs
            theirs = scorers.theirs(texts, pool)
            says[0] = to_ours
            reply = f"`{to_theirs}`" if to_theirs == to_ours else f"`{to_theirs}` / `{to_ours}`"
            yield [
                f"{scorers.one.ours} ({len(texts)})",
                f"the judge says {reply}",
                "yes" if right else "no",
                theirs,
                scorers.ours(texts, "openai", pool),
            ]


@contextmanager
def judge(says: list[str]) -> Iterator[str]:
    """Start a chat server that always replies with `says`; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            message = {"role": "assistant", "content": says[0]}
            choice = {"index": 0, "finish_reason": "stop", "message": message}
            body = json.dumps(
                {"id": "1", "object": "chat.completion", "model": "judge", "choices": [choice]}
            ).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()


def show(rows: list[list[str]], headers: list[str]) -> None:
    """Print a table."""
    print("\n" + tabulate(rows, headers, tablefmt="pipe", disable_numparse=True))


def differences(options: argparse.Namespace) -> None:
    """Score the same responses with both scorers, and print what each says."""
    rows: list[list[str]] = []
    says = [""]
    with tempfile.TemporaryDirectory() as home, judge(says) as url:
        # Set before the scoring process starts, because its judges read them at import.
        os.environ |= {"OPENAI_API_KEY": "none", "OPENAI_API_URL": url}
        for name in options.tasks:
            scorers = Scorers(KNOWN[name], options.data.resolve(), Path(home), options.limit)
            lines = by_reply(scorers, says, url) if name == JUDGED.ours else by_form(scorers)
            for line in lines:
                rows.append(line)
                print(*line, sep=" | ", file=sys.stderr, flush=True)
    heads = ["task (documents)", "every response", "gives the gold"]
    show(rows, [*heads, f"lmms-eval {package_version()}", "vsr1-bench"])


def run(*words: str) -> None:
    """Run a command of this interpreter, and show it.

    Raises:
        SystemExit: it failed.
    """
    print("$ python -m", *words, flush=True)
    done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])


def texts(journal: Path) -> list[str]:
    """The responses in a journal, sorted."""
    return sorted(json.loads(line)["text"] for line in journal.read_text("ascii").splitlines())


def both_ways(options: argparse.Namespace) -> None:
    """Run one local image task with one model by both command lines, and compare the numbers."""
    with tempfile.TemporaryDirectory() as home:
        os.chdir(home)
        Path("tasks").mkdir()
        write_task(Path(home, "tasks"), options.n, TOKENS, side=112)
        include = ("--include_path", "tasks")
        model = ("--model", "tiny", "--backend", options.backend)
        run("vsr1_bench", *model, "--tasks", f"lmms_eval/{NAME}", *include, "-o", "ours")
        args = f"model=tiny,backend={options.backend},journal=theirs.jsonl"
        run(
            *("lmms_eval", "--model", "vsr1", "--model_args", args, "--tasks", NAME, *include),
            *("--output_path", "theirs"),
        )
        (score,) = Path("ours").glob("*/*/scores/*.json")
        (journal,) = Path("ours").glob("*/*/generations.jsonl")
        (results,) = Path("theirs").rglob("*_results.json")
        ours = json.loads(score.read_text())["metrics"]["right"]["value"]
        theirs = json.loads(results.read_text())["results"][NAME]["right,none"]
        pairs = zip(texts(journal), texts(Path("theirs.jsonl")), strict=True)
        same = sum(one == other for one, other in pairs)
    rows = [
        [f"--tasks lmms_eval/{NAME}", repr(ours)],
        ["lmms_eval --model vsr1", repr(theirs)],
    ]
    show(rows, ["way", "right"])
    print(f"\n{same} of {options.n} responses are the same to the letter")
    if ours != theirs or same < options.n:
        raise SystemExit("the two ways differ")


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    actions = parser.add_subparsers(required=True, metavar="both-ways | differences")
    action = actions.add_parser("both-ways")
    action.set_defaults(compare=both_ways)
    action.add_argument("--n", type=int, default=40)
    action.add_argument("--backend", default="transformers")
    action = actions.add_parser("differences")
    action.set_defaults(compare=differences)
    action.add_argument("data", type=Path, help="mirror of the rows, as for --data_root")
    action.add_argument("--limit", type=int, help="documents of each set")
    action.add_argument("--tasks", nargs="+", choices=KNOWN, default=list(KNOWN))
    options = parser.parse_args()
    options.compare(options)


if __name__ == "__main__":
    main()
