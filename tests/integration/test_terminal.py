"""Nothing that a person reads acts on the terminal; half a character ends no command."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from cli import cli, here, script
from servers import ChatServer, Reply, chat, failure

from vsr1_bench._util.terminal import Plain, plain_streams, shown

pytestmark = pytest.mark.usefixtures("no_keys")
EVIL = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202eabc\r\x08 \ud83d end"
ACTING = ("\x1b", "\x07", "\x9b", "\u202e", "\r", "\x08")


def harmless(text: str) -> bool:
    return not any(sign in text for sign in ACTING)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a\tb\nc\r\n ü 漢 🙂 עברית\u200f", "a\tb\nc\r\n ü 漢 🙂 עברית\u200f"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("100%\rdone", "100%\\x0ddone"),
        ("\x9b\u2066x\ud800", "\\x9b\\u2066x\\ud800"),
    ],
)
def test_what_is_shown(text: str, wanted: str) -> None:
    assert shown(text) == wanted


def test_a_terminal_that_cannot_show_a_character_gets_its_escape() -> None:
    raw = io.BytesIO()
    stream = Plain(io.TextIOWrapper(raw, encoding="ascii", write_through=True))
    assert stream.write("→ 5\x1b") == 4
    stream.flush()
    assert raw.getvalue() == b"\\u2192 5\\x1b"


def test_streams_come_back() -> None:
    before = sys.stdout, sys.stderr
    with pytest.raises(KeyError), plain_streams(), plain_streams():
        assert isinstance(sys.stdout, Plain) and not isinstance(sys.stdout.acting, Plain)
        raise KeyError
    assert (sys.stdout, sys.stderr) == before


def files(folder: Path) -> list[object]:
    words = EVIL.replace("\ud83d", "")  # rows with half a character are refused
    rows = [{"problem": f"{n} {words}", "answer": f"cat{n}", "id": f"{n}{words}"} for n in range(4)]
    data, said = folder / "d.jsonl", []
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), "ascii")
    for reply in (f"\\boxed{{{EVIL}}}", EVIL, "\\boxed{cat2}", ""):
        said.append({"id": "*", "index": len(said), "response": reply})
    written = script(folder / "s.jsonl", *said)
    return [
        *("--model", "m", "--backend", "scripted", "--model_args", f"script={written}"),
        *("--tasks", "custom", "--dataset", data, "--output_path", folder / "runs"),
        *("--num_samples", 4, "--limit", 3, "--prompt", "direct"),
    ]


def test_whole_commands_on_hostile_answers_and_rows(tmp_path: Path) -> None:
    told = files(tmp_path)
    runs = tmp_path / "runs"
    done = cli("run", *told)
    assert done.returncode == 0, done.stderr
    seen = [done]
    assert cli("judge", runs, "--judge", "mathruler").returncode == 0
    seen += [
        cli("agreement", runs, "--judges", "string_match,mathruler"),
        cli("validate", "custom", "--dataset", tmp_path / "d.jsonl", "--show_prompt"),
        cli("table", runs),
        cli("table", runs, "--format", "csv"),
        cli("score", runs, "--json"),
        cli("ls", "runs", runs),
        cli("publish", runs, "--to", tmp_path / "bundle", "--with_golds"),
    ]
    for one in seen:
        assert "unexpected" not in one.stderr and "Traceback" not in one.stderr, one.stderr
        assert harmless(one.stdout) and harmless(one.stderr), one.args


def test_words_of_an_endpoint(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text('{"problem": "2+3", "answer": "5"}\n')
    common = ("--tasks", "custom", "--dataset", tmp_path / "d.jsonl", "--output_path", tmp_path)
    common += ("--verbosity", "ERROR")
    for status in (400, 404):
        with ChatServer(lambda number, asked, status=status: failure(status, EVIL)) as server:
            done = here("--model", "m", "--base_url", server.url, *common)
        assert done.returncode in (1, 75) and "owned" in done.stderr
        assert harmless(done.stderr) and harmless(done.stdout)


def test_half_a_character_reaches_a_judge_and_a_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-0123456789")
    lines: list[dict[str, Any]] = [
        {"id": "*", "response": "<description>\ud83d</description><think>t</think>\\boxed{\ud83d}"}
    ]
    (tmp_path / "d.jsonl").write_text('{"problem": "2+3", "answer": "cat"}\n')
    with ChatServer(lambda number, asked: Reply(body=chat('{"verdict": "correct"}'))) as server:
        done = here(
            *("run", "--model", "m", "--backend", "scripted"),
            *("--model_args", f"script={script(tmp_path / 's.jsonl', *lines)}"),
            *("--tasks", "custom", "--dataset", tmp_path / "d.jsonl"),
            *("--output_path", tmp_path / "runs", "--judge", "openai", "--judge_model", "j"),
            *("--judge_base_url", server.url, "--perception", "self", "--reader", "openai"),
            *("--reader_model", "r", "--reader_base_url", server.url),
        )
        assert done.returncode == 0, done.stderr
    # The reader, the verdict on the answer, and that on the reading: nobody has failed.
    assert len(server.asked) == 3
