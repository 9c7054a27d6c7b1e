"""The text of a rollout, which is decoded at its end, is the one that vLLM makes on the way."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("vllm", reason="backend vllm is not installed here")

from tokenizers import Tokenizer, decoders, models
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from tests.models import tiny
from vsr1_bench.generation.vllm_sync import text_of

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def of_sentencepiece() -> Any:
    """A tokenizer with bytes and word marks, as Llama's: alone, a text loses its first space."""
    words = ["<s>", "</s>", "\u2581red", "red", "\u2581", "\u00e9", "\u2581\\boxed", "{1}"]
    vocabulary = {word: number for number, word in enumerate([*words, *BYTES])}
    raw = Tokenizer(models.BPE(vocabulary, [], byte_fallback=True))
    steps = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    raw.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)])
    return PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>")


def by_vllm(tokenizer: Any, prompt: list[int], tokens: list[int], *, keep_marks: bool) -> str:
    """What vLLM's own detokenizer makes of them, token by token."""
    from vllm import SamplingParams
    from vllm.v1.engine.detokenizer import FastIncrementalDetokenizer

    params = SamplingParams(skip_special_tokens=not keep_marks)
    request: Any = SimpleNamespace(request_id="0", prompt_token_ids=prompt, sampling_params=params)
    detokenizer = FastIncrementalDetokenizer(tokenizer, request)
    for token in tokens:
        detokenizer.update([token], False)
    return detokenizer.get_next_output_text(finished=True, delta=False)


@pytest.fixture(params=["embedded", "sentencepiece"])
def tokenizer(request: pytest.FixtureRequest) -> Any:
    """The embedded model's (bytes as characters), or one with bytes as tokens."""
    if request.param == "sentencepiece":
        return of_sentencepiece()
    return AutoTokenizer.from_pretrained(tiny().path)


@pytest.mark.parametrize("keep_marks", [False, True])
def test_random_tokens_become_the_same_text(tokenizer: Any, keep_marks: bool) -> None:
    """Random tokens hold half characters, special tokens, and bytes that are no text at all."""
    draw, seen = random.Random(0), ""
    for _ in range(300):
        prompt = draw.choices(range(len(tokenizer)), k=draw.randint(1, 8))
        tokens = draw.choices(range(len(tokenizer)), k=draw.randint(0, 30))
        wanted = by_vllm(tokenizer, prompt, tokens, keep_marks=keep_marks)
        assert text_of(tokenizer, prompt, tokens, keep_marks=keep_marks) == wanted
        seen += wanted
    assert "\ufffd" in seen


def test_the_first_space_stays_and_half_a_character_does_not() -> None:
    """Both differ from decoding the tokens alone."""
    tokenizer = of_sentencepiece()
    ids = tokenizer.convert_tokens_to_ids(["<s>", "\u2581red", "\u2581red", "<0xC3>"])
    assert text_of(tokenizer, ids[:2], ids[2:], keep_marks=False) == " red"
    assert tokenizer.decode(ids[2:], skip_special_tokens=True) == "red\ufffd"
