"""Generation, readers and judges by batch, with images and limits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from batched import INCORRECT, SEES, flags, generated, paid_once, run, run_judge, says, text_of
from batchserver import BatchServer
from cli import error_line, here
from servers import chat

from judges import OPENAI, box, outcomes, sums

pytestmark = pytest.mark.usefixtures("judge_keys", "no_settling")


def test_generation_reader_and_judge_by_batch(tmp_path: Path) -> None:
    """Each stage follows the one before; nothing of a finished stage is asked again."""

    def answer(key: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        asked = text_of(body)
        if "candidate" in asked.lower():
            return says(INCORRECT)(key, body)
        return says(SEES)(key, body)

    with BatchServer(answer) as server:
        reader = ("--perception", "--reader", "gemini", "--reader_model", "m")
        judging = ("--judge", "openai", "--judge_model", "j", "--judge_base_url", server.url)
        more = (*reader, "--reader_base_url", server.root, *judging)
        prices = tmp_path / "prices.json"
        each = {"input": 100.0, "output": 1000.0, "batch": 0.5}
        prices.write_text(json.dumps({"m": each, "j": each}))
        more += ("--price_file", prices)
        seen = []
        for _ in range(8):
            code, _, err = run(tmp_path, server, *more)
            seen.append(err)
            if code == 0:
                break
            assert "resume with:" in err and "is submitted" in error_line(code, 75, err)
            server.finish()
        # responses, readings, and verdicts, which readings share with their responses
        assert code == 0 and [len(job.lines) for job in server.jobs.values()] == [4, 4, 4], seen
        paid_once(server, 12)
    assert all(line["seconds"] is None for line in generated(tmp_path))
    # (11 · 100 + 7 · 1000) / 1e6 for a call, at half price
    assert "spent: model m: 4 calls, 44 tokens in, 28 out, 0.0162" in seen[1]
    assert "spent: reader gemini:m: 4 calls" in seen[2]
    assert not list(tmp_path.rglob(".batches*"))


def test_images_are_sent_as_in_single_calls(tmp_path: Path) -> None:
    with BatchServer(says("\\boxed{A}")) as server:
        words = ("run", "--model", "m", "--tasks", "demo", "--limit", 3, "--base_url", server.url)
        words += ("--batch", "--output_path", tmp_path / "runs", "--predict_only")
        assert here(*words).returncode == 75
        [job] = server.jobs.values()
        images = [line for line in job.lines if "data:image/png;base64," in text_of(line["body"])]
        assert len(images) == 3 and {line["body"]["max_tokens"] for line in images} == {4096}
        server.finish()
        done = here(*words)
        assert done.returncode == 0, done.stderr
        single = [word for word in words if word != "--batch"]
        done = here(*single)  # the same run, of which nothing is missing
        assert done.returncode == 0 and "3 of 3" in done.stderr and "spent" not in done.stderr
        paid_once(server, 3)
    assert len(list(tmp_path.glob("runs/*/*"))) == 1


def test_a_lower_limit_loses_nothing(tmp_path: Path) -> None:
    with BatchServer(says(SEES)) as server:
        assert run(tmp_path, server, "--predict_only", limit=6)[0] == 75
        server.finish()
        code, _, err = run(tmp_path, server, "--predict_only", limit=2)
        assert code == 0 and len(generated(tmp_path)) == 2, err
        code, _, err = run(tmp_path, server, "--predict_only", limit=8)
        line = error_line(code, 75, err)
        assert "of 2 requests is submitted" in line and "6 of 8 responses are safe" in line
        server.finish()
        assert run(tmp_path, server, "--predict_only", limit=8)[0] == 0
        paid_once(server, 8)
    assert not list(tmp_path.rglob(".batches*"))


def test_a_schema_that_is_refused_goes_into_another_batch_as_tags(tmp_path: Path) -> None:
    runs, path = sums(tmp_path, box(5), box(6))

    def answer(key: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if "response_format" in body:
            return 400, {"error": {"message": "response_format is not supported"}}
        return 200, chat("<judgment>incorrect</judgment>")

    with BatchServer(answer) as server:
        for code in (75, 75, 0):
            found, err = run_judge(runs, path, *flags(OPENAI, server))
            assert found == code, err
            server.finish()
        assert [len(job.lines) for job in server.jobs.values()] == [2, 2]
    assert set(outcomes(runs).values()) == {"incorrect"}


def test_the_limit_bounds_what_is_submitted(tmp_path: Path) -> None:
    """What a batch could cost at most is held; what it did cost is free again."""
    prices = tmp_path / "prices.json"
    prices.write_text('{"m": {"input": 0, "output": 62500}}')  # a reply costs 1 at most
    with BatchServer(says(SEES)) as server:
        bound = ("--predict_only", "--price_file", prices, "--max_cost", 3)
        code, _, err = run(tmp_path, server, *bound, limit=6)
        assert "of 3 requests is submitted" in error_line(code, 75, err)
        server.finish()
        # Three replies of 7 tokens cost 1.3; one more could cost 1.
        code, _, err = run(tmp_path, server, *bound, limit=6)
        assert "of 1 requests is submitted" in error_line(code, 75, err)
        assert len(generated(tmp_path)) == 3 and sum(server.ran.values()) == 4
        # What is paid for is collected, whatever the limit is now.
        server.finish()
        free = (*bound[:-1], 0)
        code, _, err = run(tmp_path, server, *free, limit=4)
        assert code == 0 and len(generated(tmp_path)) == 4, err
