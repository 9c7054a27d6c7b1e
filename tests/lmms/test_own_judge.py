"""The judge that a scorer asks: out of reach it gives no verdicts, another gives others."""

from __future__ import annotations

import re
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest
from lmms_tasks import their_tasks
from servers import Asked, ChatServer, Reply, chat, failure
from trapped import always, make, run

if not find_spec("lmms_eval"):
    pytest.skip("lmms-eval has an environment of its own", allow_module_level=True)

from vsr1_bench.errors import JudgeError
from vsr1_bench.lmms_eval import own_judge
from vsr1_bench.scoring.runs import judge_and_score

# As they come: each asks in its way, catches what goes wrong, prints or logs it, and says 0.
SCORER = """
import openai, os, requests
from concurrent.futures import ThreadPoolExecutor
from loguru import logger

HERE = os.path.dirname(__file__)
CLIENT = openai.OpenAI(api_key="k", base_url="URL", max_retries=0)

def to_text(doc, lmms_eval_specific_kwargs=None):
    return doc["question"]

def posted(text):
    asked = {"messages": [{"role": "user", "content": text}]}
    reply = requests.post("URL/chat/completions", json=asked, timeout=9)
    reply.raise_for_status()
    return reply.json()["choices"][0]["message"]["content"]

def by_client(text):
    messages = [{"role": "user", "content": text}]
    return CLIENT.chat.completions.create(model="m", messages=messages).choices[0].message.content

def process(doc, results):
    if doc["question"] == "2?" and not os.path.exists(os.path.join(HERE, "key")):
        logger.error("Error getting judge response: OpenAI API key not configured")
        return {"right": 0.0}
    if doc["question"] == "3?":
        logger.error("Cannot parse '3?': no letter in it")
        return {"right": 1.0}
    ask = by_client if doc["question"] in ("1?", "4?") else posted
    for attempt in range(2):
        try:
            return {"right": float(ask(doc["question"]))}
        except Exception as error:
            print(error)
    return {"right": 0.0}

def aggregate(items):
    if os.path.exists(os.path.join(HERE, "sums")):
        with ThreadPoolExecutor() as pool:  # of its own
            if pool.submit(posted, "sum").exception():
                return 0.0
    return sum(items) / len(items)
"""


def test_an_outage_is_no_verdict_and_another_judge_gives_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    down, asked = {"0?", "1?", "sum"}, Counter[str]()

    def answer(number: int, one: Asked) -> Reply:
        asked[one.text] += 1
        if one.text in down or (one.text == "4?" and asked["4?"] == 1):
            return failure(401, "wrong key")
        return Reply(body=chat("1"))

    with ChatServer(answer) as server:
        tasks = make(tmp_path, SCORER.replace("URL", server.url), n=5)
        folder, document = run(tmp_path, tasks, always("yes"))
        assert document["rates"]["scored"] == 2
        assert document["metrics"]["right"]["value"] == 1.0
        judged = folder.judgments(folder.judged()["lmms_eval"]).values()
        assert {one.sample_id: one.verdict.reason for one in judged} == {
            "0": "its scorer: its judge at 127.0.0.1: 401",
            "1": "its scorer: its judge at 127.0.0.1: 401",  # by another library
            "2": "its scorer: Error getting judge response: OpenAI API key not configured",
            "3": None,  # what it has logged is not about a judge
            "4": None,  # at first it failed, too, and was asked again
        }
        # Mended, the same command asks for what has no verdict, and only that.
        down -= {"0?", "1?"}
        Path(tasks, "trap", "key").touch()
        document = judge_and_score(folder, None, (tasks,), progress=False)
        assert document["rates"] | {"scored": 5, "ranked": True} == document["rates"]
        assert asked == {"0?": 3, "1?": 3, "2?": 1, "4?": 2}

        # Another judge has verdicts of its own; the first one's are there when it is back.
        monkeypatch.setenv("MODEL_VERSION", "another")
        judge_and_score(folder, None, (tasks,), progress=False)
        assert asked == {"0?": 4, "1?": 4, "2?": 2, "4?": 3}
        monkeypatch.delenv("MODEL_VERSION")
        judge_and_score(folder, None, (tasks,), progress=False)
        assert asked == {"0?": 4, "1?": 4, "2?": 2, "4?": 3}

        Path(tasks, "trap", "sums").touch()
        with pytest.raises(JudgeError, match=r"judge at 127.0.0.1: 401, when it summed up"):
            judge_and_score(folder, None, (tasks,), progress=False)
        assert folder.scores() == [document]


def test_every_variable_that_chooses_a_judge_is_known() -> None:
    read = re.compile(r"""(?:getenv|environ(?:\.get)?)[\[(]\s*["'](\w+)["']""")
    folders = (their_tasks(), their_tasks().parent / "llm_judge")
    files = [file for folder in folders for file in folder.rglob("*.py")]
    found = {name for file in files for name in read.findall(file.read_text("utf-8"))}
    chosen = re.compile(r"MODEL|URL|BASE|ENDPOINT|TYPE|VERSION|DEPLOYMENT|JUDGE|TRAPI|REGION")
    found = {name for name in found if chosen.search(name) and "KEY" not in name}
    assert found - {"AMBER_BASE_DIR"} == own_judge.SETTINGS
