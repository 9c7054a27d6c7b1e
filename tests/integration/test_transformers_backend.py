"""Backend transformers on the embedded model: a row's answer depends on nothing but the row."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="backend transformers needs torch")

from tests.cli import cli, error_line
from tests.models import (
    by_key,
    demo_requests,
    keys_when_one_is_submitted_late,
    scored_run,
    seeing_run,
    tiny,
)
from vsr1_bench.errors import ModelError
from vsr1_bench.generation.models import ModelInfo
from vsr1_bench.generation.transformers import TransformersGenerator
from vsr1_bench.generation.transformers_args import TransformersArgs
from vsr1_bench.records import Completion, EncodedImage, Request


@pytest.fixture(scope="module")
def batched() -> Iterator[TransformersGenerator]:
    args = TransformersArgs(dtype="float32", batch_size=16, logprobs=True)
    with TransformersGenerator(tiny(), args) as generator:
        yield generator


@pytest.fixture(scope="module")
def single() -> Iterator[TransformersGenerator]:
    args = TransformersArgs(dtype="float32", batch_size=1, logprobs=True)
    with TransformersGenerator(tiny(), args) as generator:
        yield generator


def answer(generator: TransformersGenerator, requests: list[Request]) -> dict[str, Completion]:
    return by_key(list(generator.generate(requests)))


def test_batched_greedy_answers_equal_one_at_a_time(
    batched: TransformersGenerator, single: TransformersGenerator
) -> None:
    requests = demo_requests(24)  # images and text mixed, prompts of different lengths
    together, alone = answer(batched, requests), answer(single, requests)
    assert len(together) == 24
    for key, one in alone.items():
        assert together[key].token_ids == one.token_ids
        assert together[key].text == one.text
        assert together[key].finish_reason == one.finish_reason
        assert together[key].logprobs == pytest.approx(one.logprobs, abs=1e-4)
        assert together[key].usage == one.usage
    assert len({one.text for one in alone.values()}) > 12  # they are answers to their own rows


def test_sampled_answers_depend_on_their_seed_not_on_their_batch(
    batched: TransformersGenerator, single: TransformersGenerator
) -> None:
    requests = demo_requests(10, temperature=2.0, top_p=0.999, top_k=40, seed=3)
    together, alone = answer(batched, requests), answer(single, requests)
    assert {k: c.token_ids for k, c in together.items()} == {
        k: c.token_ids for k, c in alone.items()
    }
    other = answer(batched, [replace(r, index=1) for r in requests])
    assert sum(other[k].token_ids != together[k].token_ids for k in together) > 5


def test_sampling_follows_the_models_distribution(batched: TransformersGenerator) -> None:
    """The Gumbel draw is a draw from the softmax: frequencies match log-probabilities."""
    (first,) = demo_requests(1, temperature=1.0, max_tokens=1, fmt="direct")
    draws = [replace(first, key=f"k{i}", index=i) for i in range(400)]
    answers = answer(batched, draws).values()
    chance: dict[int, float] = {}
    count: dict[int, int] = {}
    for completion in answers:
        assert completion.token_ids and completion.logprobs
        token = completion.token_ids[0]
        chance[token] = 2.718281828459045 ** completion.logprobs[0]
        count[token] = count.get(token, 0) + 1
    top = max(count, key=lambda token: count[token])
    spread = (chance[top] * (1 - chance[top]) / 400) ** 0.5
    assert abs(count[top] / 400 - chance[top]) < 4 * spread + 1e-9


def test_limits_are_kept_per_row(batched: TransformersGenerator) -> None:
    requests = demo_requests(8)
    mixed = [
        replace(r, sampling=replace(r.sampling, max_tokens=3 + i)) for i, r in enumerate(requests)
    ]
    cut = answer(batched, mixed)
    whole = answer(batched, requests)
    for i, request in enumerate(mixed):
        completion = cut[request.key]
        assert completion.finish_reason == "length"
        assert completion.token_ids == (whole[request.key].token_ids or ())[: 3 + i]


def test_stop_strings_cut_the_text(batched: TransformersGenerator) -> None:
    (request,) = demo_requests(1)
    whole = answer(batched, [request])["k0"].text
    mark = "</description>"
    assert mark in whole
    stopping = replace(request, sampling=replace(request.sampling, stop=(mark,)))
    cut = answer(batched, [stopping])["k0"]
    assert cut.text == whole[: whole.index(mark)]
    assert cut.finish_reason == "stop"


def test_a_corrupt_image_fails_its_sample_only(batched: TransformersGenerator) -> None:
    requests = demo_requests(4)
    requests[1] = replace(requests[1], images=(EncodedImage(data=b"not an image"),))
    found = answer(batched, requests)
    error = found["k1"].error
    assert error is not None and "image cannot be decoded" in error
    assert all(found[k].error is None for k in ("k0", "k2", "k3"))


def test_a_prompt_longer_than_the_context_fails_its_sample_only() -> None:
    requests = demo_requests(3)
    long = replace(requests[1].messages[-1], content=("word " * 3000,))
    requests[1] = replace(requests[1], messages=(long,), images=())
    args = TransformersArgs(dtype="float32", max_model_len=1024)
    with TransformersGenerator(tiny(), args) as generator:
        found = answer(generator, requests)
    error = found["k1"].error
    assert error is not None and "does not fit the context of 1024" in error
    assert found["k0"].error is None and found["k2"].error is None


def test_requests_may_be_submitted_while_completions_are_read(
    batched: TransformersGenerator,
) -> None:
    assert keys_when_one_is_submitted_late(batched) == ["k0", "k1"]


def test_a_folder_that_is_no_model_is_one_line(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("broken")
    (folder / "config.json").write_text('{"model_type": "no_such_model"}')
    broken = ModelInfo("broken", "f", path=folder)
    with pytest.raises(ModelError, match="'broken' cannot be loaded") as error:
        TransformersGenerator(broken, TransformersArgs())
    assert "\n" not in str(error.value)


CORRUPT = """
from vsr1_bench.records import EncodedImage
from vsr1_bench.task import Procedural, Task
from vsr1_bench.tiny.scenes import make_row, to_sample


def make(n):
    row = make_row("test", n)
    return {**row, "image": b"not an image"} if n == 2 else row


ROWS = Procedural(make, 6, "spoiled-1", ("image",))
TASK = Task("spoiled", 1, ROWS, to_sample, None, "MIT", "one bad row")
"""


def test_a_run_goes_on_over_a_corrupt_image_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins/spoiled.py").write_text(CORRUPT)
    run = (
        *("--model", "tiny", "--backend", "transformers", "--tasks", "spoiled"),
        *("--include_path", tmp_path / "plugins", "--output_path", tmp_path / "runs"),
    )
    first = cli(*run, timeout=120)
    line = error_line(first.returncode, 75, first.stderr)
    assert "spoiled: 1 of 6 failed: image cannot be decoded" in line
    assert "5/6" in first.stdout and "16.7" in first.stdout  # scored/total and failed %
    again = cli(*run, timeout=120)
    assert again.returncode == 75
    (journal,) = tmp_path.glob("runs/tiny/spoiled-*/generations.jsonl")
    errors = [json.loads(line)["error"] is not None for line in journal.read_text().splitlines()]
    assert len(errors) == 7 and sum(errors) == 2  # only the failed one was asked again


def test_seeing_helps_the_embedded_model_and_its_descriptions_carry_it(
    batched: TransformersGenerator, tmp_path: Path
) -> None:
    runs = seeing_run(tmp_path, batched, 48)
    document = scored_run(runs)
    part, metrics = document["perception"], document["metrics"]
    assert (part["n"], part["uncounted"], part["undescribed"]) == (48, 0, 0)
    cells = [count for row in part["table"].values() for count in row.values()]
    assert sum(cells) == 48 and all(cells), "tiny sees and reasons imperfectly: no cell is empty"
    assert 0.6 < metrics["self_contained"]["value"] < 0.95
    assert metrics["lsr"]["low"] > 0 and metrics["leakage"]["value"] == 0
    for variant in ("drop", "noise", "swap"):
        assert metrics[f"gain[{variant}]"]["low"] > 0.1
        assert metrics[f"blind_accuracy[{variant}]"]["value"] < 0.5
    again = seeing_run(tmp_path, batched, 48)
    assert [run.failed for run in again] == [0] * 4 and scored_run(again) == document
