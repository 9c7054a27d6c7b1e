"""Generators whose weights are replaced while they live: scoring, syncing, bans, caches."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from tests.models import by_key, demo_requests, tiny  # noqa: E402
from vsr1_bench.errors import GenerationError, UsageError  # noqa: E402
from vsr1_bench.generation.base import SyncableGenerator  # noqa: E402
from vsr1_bench.generation.open import open_syncable  # noqa: E402
from vsr1_bench.records import EncodedImage  # noqa: E402

REPLY = "<description> row 1 : red none </description> <think> red 1 </think> \\boxed{1}"


@pytest.fixture(scope="module")
def reference() -> Iterator[Any]:
    args = {"dtype": "float32", "batch_size": 16}
    with open_syncable("transformers", tiny(), args, banned=()) as generator:
        generator.banned = banned_ids(generator)  # type: ignore[attr-defined]
        yield generator


def banned_ids(generator: Any) -> tuple[int, ...]:
    """Tokens that the model likes to write: banning them must show."""
    encode = generator.renderer.tokenizer.encode
    return tuple({*encode(" red"), *encode("row"), *encode(" row")})


@pytest.fixture(scope="module", params=["vllm", "transformers"])
def engine(request: pytest.FixtureRequest, reference: Any) -> Iterator[SyncableGenerator]:
    args: dict[str, Any] = {"dtype": "float32", "batch_size": 16}
    if request.param == "vllm":
        pytest.importorskip("vllm", reason="backend vllm is not installed here")
        args = {"dtype": "float32", "max_model_len": 1024, "enforce_eager": True}
    with open_syncable(request.param, tiny(), args, banned=banned_ids(reference)) as generator:
        yield generator
    gc.collect()


def texts(generator: Any, n: int = 6) -> list[Any]:
    tokens = generator.renderer.tokenizer.encode(REPLY)
    return [(request, tokens[: len(tokens) - i]) for i, request in enumerate(demo_requests(n))]


def gap(one: list[tuple[float, ...]], other: list[tuple[float, ...]]) -> float:
    pairs = zip(one, other, strict=True)
    return max(abs(a - b) for x, y in pairs for a, b in zip(x, y, strict=True))


@pytest.fixture
def shifted(reference: Any) -> Iterator[dict[str, Any]]:
    """Other weights, which the reference holds for the time of a test."""
    own = dict(reference.model.named_parameters(remove_duplicate=False))
    kept = {name: value.detach().clone() for name, value in own.items()}
    noise = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in reference.model.parameters():
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=noise))
    yield own
    reference.sync(kept.items())


def test_scores_follow_the_weights_and_no_cache_remembers(
    engine: SyncableGenerator, reference: Any, shifted: dict[str, Any]
) -> None:
    """Images and prefixes that were seen with the old weights are computed anew."""
    old = engine.score(texts(engine))
    list(engine.generate(demo_requests(6)))  # fills the caches
    engine.sync(shifted.items())
    new = engine.score(texts(engine))
    assert gap(new, reference.score(texts(engine))) < 1e-4
    assert gap(new, old) > 0.1
    requests = demo_requests(6, max_tokens=12)  # prompts whose prefixes were cached
    wanted = by_key(list(reference.generate(requests)))
    for key, completion in by_key(list(engine.generate(requests))).items():
        assert completion.token_ids == wanted[key].token_ids
        assert completion.text == wanted[key].text
        assert completion.logprobs == pytest.approx(wanted[key].logprobs, abs=1e-4)
    engine.sync((n, v) for n, v in _first_weights().items())
    assert gap(engine.score(texts(engine)), old) < 1e-4


def test_masked_images_are_scored_alike(engine: SyncableGenerator, reference: Any) -> None:
    """By all backends; a text that cannot be scored says why, and the others are scored."""
    seen, asked = engine.score(texts(engine)), texts(engine)
    masked = engine.scores(asked, masked=True)
    assert gap(masked, reference.scores(asked, masked=True)) < 1e-4  # type: ignore[arg-type]
    assert gap(masked, seen) > 0.5  # type: ignore[arg-type]
    assert gap(engine.scores(asked, masked=True), masked) < 1e-4  # type: ignore[arg-type]
    broken = replace(asked[0][0], images=(EncodedImage(b"no image"),))
    why, fine = engine.scores([(broken, asked[0][1]), asked[1]])
    assert isinstance(why, str) and "image" in why
    assert gap([fine], [seen[1]]) < 1e-4  # type: ignore[list-item]
    with pytest.raises(GenerationError, match="cannot be scored: image"):
        engine.score([(broken, asked[0][1])])


def _first_weights() -> dict[str, Any]:
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(tiny().path, dtype=torch.float32)
    return dict(model.named_parameters(remove_duplicate=False))


def test_banned_tokens_are_never_drawn(engine: SyncableGenerator) -> None:
    banned = set(engine.banned)  # type: ignore[attr-defined]
    free = {t for _, reply in texts(engine) for t in reply}
    assert banned & free  # the model would write them
    for temperature in (0.0, 1.5):
        for completion in engine.generate(demo_requests(6, temperature=temperature, max_tokens=40)):
            assert completion.token_ids and not banned & set(completion.token_ids)
            assert completion.logprobs and len(completion.logprobs) == len(completion.token_ids)


def test_a_stop_string_ends_a_response(engine: SyncableGenerator) -> None:
    """Without one the text is decoded at the end (vLLM), with one it is read while it grows."""
    free = by_key(list(engine.generate(demo_requests(3, max_tokens=40))))
    stopped = [
        replace(request, sampling=replace(request.sampling, stop=(free[request.key].text[9:12],)))
        for request in demo_requests(3, max_tokens=40)
    ]
    for request, completion in zip(stopped, engine.generate(stopped), strict=True):
        text = free[completion.key].text
        assert completion.text == text[: text.find(request.sampling.stop[0])] != text
        assert completion.finish_reason == "stop"


def test_a_sync_that_lacks_or_misnames_a_parameter_is_refused() -> None:
    with open_syncable("transformers", tiny(), {"dtype": "float32"}, banned=()) as generator:
        own = _first_weights()
        name = next(iter(own))
        with pytest.raises(GenerationError, match="left 1 parameters as they were"):
            generator.sync((n, v) for n, v in own.items() if n != name)
        with pytest.raises(GenerationError, match=r"no parameter nonsense of shape"):
            generator.sync([("nonsense", own[name])])


def test_an_engine_over_several_ranks_is_refused() -> None:
    """Its ranks would have to ask it the same, and each has prompts of its own."""
    pytest.importorskip("vllm", reason="backend vllm is not installed here")
    with pytest.raises(UsageError, match="drop tensor_parallel_size"):
        open_syncable("vllm", tiny(), {"tensor_parallel_size": 2}, banned=())
