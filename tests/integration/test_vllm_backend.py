"""Backend vllm on CPU, on the embedded model, against backend transformers."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("vllm", reason="backend vllm is not installed here")

from tests.models import (
    by_key,
    demo_requests,
    keys_when_one_is_submitted_late,
    scored_run,
    seeing_run,
    tiny,
)
from vsr1_bench.errors import GenerationError, ModelError, UsageError
from vsr1_bench.generation.base import parse_backend_args
from vsr1_bench.generation.transformers import TransformersGenerator
from vsr1_bench.generation.transformers_args import TransformersArgs
from vsr1_bench.generation.vllm import VllmArgs, VllmGenerator
from vsr1_bench.records import Completion, EncodedImage, ImagePlace, Request

N = 24


@pytest.fixture(scope="module")
def engine() -> Iterator[VllmGenerator]:
    args = VllmArgs(dtype="float32", logprobs=True, max_model_len=1024, in_process=True)
    with VllmGenerator(tiny(), args) as generator:
        yield generator
    gc.collect()


@pytest.fixture(scope="module")
def reference() -> dict[str, Completion]:
    args = TransformersArgs(dtype="float32", batch_size=16, logprobs=True)
    with TransformersGenerator(tiny(), args) as generator:
        return by_key(list(generator.generate(demo_requests(N))))


def answer(generator: VllmGenerator, requests: list[Request]) -> dict[str, Completion]:
    return by_key(list(generator.generate(requests)))


def test_greedy_answers_and_logprobs_equal_transformers(
    engine: VllmGenerator, reference: dict[str, Completion]
) -> None:
    found = answer(engine, demo_requests(N))
    assert found.keys() == reference.keys()
    for key, wanted in reference.items():
        assert found[key].token_ids == wanted.token_ids
        assert found[key].text == wanted.text
        assert found[key].finish_reason == wanted.finish_reason
        assert found[key].usage == wanted.usage  # the prompts were expanded alike
        assert found[key].logprobs == pytest.approx(wanted.logprobs, abs=1e-4)


def test_seeded_draws_repeat_alone_and_in_a_batch(engine: VllmGenerator) -> None:
    requests = demo_requests(8, temperature=2.0, top_p=0.999, seed=5)
    together = answer(engine, requests)
    alone = {key: c for r in requests for key, c in answer(engine, [r]).items()}
    assert {k: c.token_ids for k, c in together.items()} == {
        k: c.token_ids for k, c in alone.items()
    }
    other = answer(engine, [replace(r, index=1) for r in requests])
    assert sum(other[k].token_ids != together[k].token_ids for k in together) > 4


def test_limits_and_stop_strings(engine: VllmGenerator) -> None:
    (request,) = demo_requests(1)
    whole = answer(engine, [request])["k0"].text
    short = replace(request, sampling=replace(request.sampling, max_tokens=5))
    assert answer(engine, [short])["k0"].finish_reason == "length"
    mark = "</description>"
    stopping = replace(request, sampling=replace(request.sampling, stop=(mark,)))
    cut = answer(engine, [stopping])["k0"]
    assert cut.text == whole[: whole.index(mark)] and cut.finish_reason == "stop"


def test_a_short_answer_does_not_wait_for_a_long_one(engine: VllmGenerator) -> None:
    long, short = demo_requests(2)
    short = replace(short, sampling=replace(short.sampling, max_tokens=2))
    order = [c.key for c in engine.generate([long, short])]
    assert order == ["k1", "k0"]


def test_requests_may_be_submitted_while_completions_are_read(engine: VllmGenerator) -> None:
    assert keys_when_one_is_submitted_late(engine) == ["k0", "k1"]


def test_a_sample_that_cannot_be_prepared_fails_alone(engine: VllmGenerator) -> None:
    requests = demo_requests(4)
    requests[1] = replace(requests[1], images=(EncodedImage(data=b"no image"),))
    long = replace(requests[2].messages[-1], content=("word " * 3000,))
    requests[2] = replace(requests[2], messages=(long,), images=())
    # vLLM refuses a prompt with images elsewhere, and in another way.
    shown = replace(requests[3].messages[-1], content=(ImagePlace(0), "word " * 1020))
    requests[3] = replace(requests[3], messages=(shown,))
    found = answer(engine, requests)
    assert "image cannot be decoded" in str(found["k1"].error)
    assert "1024" in str(found["k2"].error) and "1024" in str(found["k3"].error)
    assert found["k0"].error is None
    fine, *failed = engine.scores([(request, (9, 10)) for request in requests])
    assert len(fine) == 2 and all(isinstance(reason, str) for reason in failed)


def test_several_images_in_one_prompt_keep_their_order(engine: VllmGenerator) -> None:
    one, two = demo_requests(2)
    both = replace(
        one,
        images=one.images + two.images,
        messages=(
            replace(
                one.messages[0],
                content=(one.messages[0].content[0], *_second_image(one, two)),
            ),
        ),
    )
    swapped = replace(both, key="swapped", images=both.images[::-1])
    args = TransformersArgs(dtype="float32", logprobs=True)
    with TransformersGenerator(tiny(), args) as generator:
        wanted = by_key(list(generator.generate([both, swapped])))
    found = answer(engine, [both, swapped])
    for key, completion in wanted.items():
        assert found[key].logprobs is not None
        assert found[key].logprobs[0] == pytest.approx((completion.logprobs or ())[0], abs=1e-4)
        assert found[key].usage == completion.usage


def _second_image(one: Request, two: Request) -> tuple[object, ...]:
    place = two.messages[0].content[0]
    return (type(place)(1), *one.messages[0].content[1:])  # type: ignore[arg-type,call-arg]


def test_readings_join_the_first_pass_and_equal_transformers(
    engine: VllmGenerator, tmp_path: Path
) -> None:
    order: list[str] = []
    submit = engine.submit

    def noted(request: Request) -> None:
        order.append(request.stage)
        submit(request)

    engine.capacity, capacity = 8, engine.capacity
    engine.submit = noted  # type: ignore[method-assign]
    try:
        found = seeing_run(tmp_path / "vllm", engine, N, backend="vllm", blind=("drop",))
    finally:
        del engine.submit  # type: ignore[attr-defined]
        engine.capacity = capacity
    assert order.count("reading") == N
    assert order.index("reading") == 8  # the first answer's, before any ninth question
    # The last one's, too, before the blind run is far.
    assert order[2 * N + 8 :].count("reading") == 0
    args = TransformersArgs(dtype="float32", batch_size=16)
    with TransformersGenerator(tiny(), args) as generator:
        wanted = seeing_run(tmp_path / "hf", generator, N, blind=("drop",))
    for one, other in zip(found, wanted, strict=True):
        texts = [
            {key: made.text for key, made in stored.items()}
            for run in (one, other)
            for stored in (run.folder.generations(), run.folder.perceptions())
        ]
        assert texts[:2] == texts[2:]  # the backend is no part of a key
    assert scored_run(found)["metrics"] == scored_run(wanted)["metrics"]


def test_an_engine_that_dies_is_one_line(
    engine: VllmGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = demo_requests(3)
    steps = iter(range(5))

    def step() -> list[object]:
        if next(steps, None) is None:
            raise RuntimeError("CUDA error:\nan illegal memory access")
        return real()

    real = engine.engine.step
    monkeypatch.setattr(engine.engine, "step", step)
    with pytest.raises(GenerationError, match="engine died: RuntimeError: CUDA error: an") as error:
        list(engine.generate(requests))
    assert "\n" not in str(error.value)
    monkeypatch.undo()
    engine.engine.abort_request(list(engine._outstanding))
    engine._outstanding.clear()
    assert len(answer(engine, requests)) == 3


def test_arguments_are_stated() -> None:
    with pytest.raises(UsageError, match="did you mean max_model_len"):
        parse_backend_args(VllmArgs, "vllm", {"max_model_length": 5})
    with pytest.raises(UsageError, match="data_parallel_size"):
        VllmGenerator(tiny(), VllmArgs(data_parallel_size=2))


def test_a_folder_that_vllm_cannot_load_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "no_such_model"}')
    with pytest.raises(ModelError, match="cannot be loaded") as error:
        VllmGenerator(replace(tiny(), path=tmp_path), VllmArgs())
    assert "\n" not in str(error.value)


def _run(folder: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "vsr1_bench", "--model", "tiny", "--backend", "vllm"),
        *("--tasks", "demo", "--limit", "100", "--output_path", str(folder)),
        *("--model_args", "dtype=float32,capacity=16,enforce_eager=true"),
    ]


def test_a_run_killed_while_vllm_generates_continues(tmp_path: Path) -> None:
    process = subprocess.Popen(
        _run(tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        journal = None
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline and process.poll() is None:
            journal = next(tmp_path.glob("tiny/demo-*/generations.jsonl"), None)
            if journal and journal.read_bytes().count(b"\n") >= 20:
                break
            time.sleep(0.02)
        assert process.poll() is None and journal is not None
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    safe = [json.loads(line) for line in journal.read_bytes().splitlines(keepends=True)[:-1]]
    assert 19 <= len(safe) < 100
    done = subprocess.run(_run(tmp_path), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in journal.read_text().splitlines()]
    assert len({r["key"] for r in records}) == len(records) == 100
    assert records[: len(safe)] == safe
    assert "100/100" in done.stdout
