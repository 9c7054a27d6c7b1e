"""Makes `tests/older/stored` with the code of the last commit before the rooms moved.

    git archive 0e41604 | tar -x -C OLD
    for folder in tasks judges train; do ln -s ../$folder OLD/vsr1_bench/$folder; done
    PYTHONPATH=OLD:OLD/tests python tests/older/make.py

Every path in a command is relative, so that no path of a machine is stored. No resolver knows the
host of `JUDGE_URL`; only while this program runs does it mean a server on loopback.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SAMPLES = 4
JUDGE_PORT = 18765
JUDGE_URL = f"http://judge.invalid:{JUDGE_PORT}/v1"
KEY = "sk-0123456789abcdef"
RUN = (
    *("run", "--model", "older", "--tasks", "demo", "--limit", str(SAMPLES), "--perception"),
    *("--backend", "scripted", "--model_args", "script=script.jsonl"),
    *("--output_path", "stored", "--verbosity", "WARNING"),
)
LLM, CASCADE = "openai", "cascade:string_match,openai"


def judge(name: str) -> tuple[str, ...]:
    """The command that judges the stored run."""
    asked = ("--judge_base_url", JUDGE_URL, "--judge_model", "judge-of-old")
    return ("judge", "stored", "--judge", name, *asked)


def script() -> str:
    """Right, wrong and unreadable answers, and readings that agree or do not."""
    from vsr1_bench.tiny.scenes import make_row

    lines: list[dict[str, Any]] = []
    for number in range(SAMPLES):
        row = make_row("test", number)
        answer = ("none of them", row["answer"])[number % 2]
        ending = "I cannot say" if number == 2 else f"\\boxed{{{answer}}}"
        text = f"<description> {row['description']} </description> <think> so </think> {ending}"
        reading = f"\\boxed{{{row['answer'] if number > 1 else 'no idea'}}}"
        lines.append({"id": row["id"], "response": text})
        lines.append({"id": row["id"], "stage": "reading", "response": reading})
    return "".join(json.dumps(line) + "\n" for line in lines)


def main() -> None:
    """Write the script, generate, and judge by rule, by a model and by both."""
    from servers import Asked, ChatServer, Reply, chat

    from vsr1_bench.cli.main import main as command

    def plan(number: int, asked: Asked) -> Reply:
        wrong = "none of them" in asked.text or "cannot say" in asked.text
        return Reply(200, chat(json.dumps({"verdict": "incorrect" if wrong else "correct"})))

    resolve = socket.getaddrinfo

    def on_loopback(host: Any, *more: Any, **named: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        return resolve("127.0.0.1" if name == "judge.invalid" else host, *more, **named)

    socket.getaddrinfo = on_loopback
    os.environ["VSR1_JUDGE_API_KEY"] = KEY
    os.chdir(HERE)
    shutil.rmtree("stored", ignore_errors=True)
    Path("script.jsonl").write_text(script(), "ascii")
    with ChatServer(plan, port=JUDGE_PORT) as server:
        for words in (RUN, judge(LLM), judge(CASCADE)):
            sys.argv = ["vsr1-bench", *words]  # run.json records it
            code = command(list(words))
            print(f"exit {code}, {len(server.asked)} calls so far")
    for hidden in Path("stored").rglob(".*"):
        hidden.unlink()  # locks and memos


if __name__ == "__main__":
    main()
