"""The embedded model: what is built is a Qwen2.5-VL, its tokenizer loses nothing, it learns."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("torchvision")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from tree import load_script  # noqa: E402

from vsr1_bench.prompts.formats import (  # noqa: E402
    CAPTION_REASONER,
    COT,
    FORMATS,
    SEE_THINK,
    build_messages,
    reading_messages,
)
from vsr1_bench.records import EncodedImage  # noqa: E402
from vsr1_bench.tiny import weights_path  # noqa: E402
from vsr1_bench.tiny.architecture import (  # noqa: E402
    CONTEXT,
    SPECIAL_TOKENS,
    build_model,
    build_processor,
    constant_sentences,
    save,
)
from vsr1_bench.tiny.scenes import make_row, to_sample  # noqa: E402
from vsr1_bench.train.tiny_mixture import SHARES, corpus, make_example  # noqa: E402

make_tiny = load_script("make_tiny")
IGNORED, collate, loss_of = make_tiny.IGNORED, make_tiny.collate, make_tiny.loss_of


@dataclass(frozen=True, slots=True)
class Reply:
    """A generated text and its tokens, the end token excluded."""

    text: str
    token_ids: tuple[int, ...]
    truncated: bool

    @property
    def boxed(self) -> str:
        """What the last box holds, or nothing."""
        found = re.findall(r"\\boxed\{([^{}]*)\}", self.text)
        return found[-1].strip() if found else ""

    @property
    def description(self) -> str:
        """What the description tags hold, or nothing."""
        found = re.search(r"<description>(.*?)</description>", self.text, re.DOTALL)
        return found.group(1).strip() if found else ""


def load(folder: Path) -> tuple[Any, Any]:
    """Load model (fp32) and processor (left padding) from a folder."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor = AutoProcessor.from_pretrained(folder)
    processor.tokenizer.padding_side = "left"
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    return model.eval(), processor


def generate(
    model: Any,
    processor: Any,
    prompts: Sequence[Any],
    *,
    size: int = 64,
    max_tokens: int,
) -> list[Reply]:
    """Answer prompts greedily in left-padded batches of `size`, in the order given."""
    replies: list[Reply] = []
    end = processor.tokenizer.eos_token_id
    for first in range(0, len(prompts), size):
        inputs = make_tiny.encode_prompts(
            processor, prompts[first : first + size], padding=True, return_tensors="pt"
        )
        with torch.inference_mode():
            output = model.generate(**inputs, max_new_tokens=max_tokens, do_sample=False)
        for ids in output[:, inputs["input_ids"].shape[1] :].tolist():
            length = ids.index(end) if end in ids else len(ids)
            text = processor.tokenizer.decode(ids[:length], skip_special_tokens=True)
            replies.append(Reply(text, tuple(ids[:length]), end not in ids))
    return replies


NASTY = (
    "",
    "a\0b\x01",
    " \t\r\n\n  two spaces  ",
    "\U0001f389 naïve café \u200b\u0301 \ufeff",
    "﷽ 漢字 кириллица ไทย",
    "<description> x </description> \\boxed{\\frac{1}{2}}",
    SEE_THINK,
    COT,
    f"  {SEE_THINK}  ",
    SEE_THINK[:200],
    "<|im_start|>user",
)


@pytest.fixture(scope="module")
def shipped() -> tuple[Any, Any]:
    return load(weights_path())


@pytest.fixture(scope="module")
def fresh() -> Any:
    return build_processor(corpus(50, 50), 600)


@pytest.mark.parametrize("text", NASTY)
def test_tokens_give_the_text_back(text: str, fresh: Any, shipped: tuple[Any, Any]) -> None:
    for processor in (fresh, shipped[1]):
        ids = processor.tokenizer(text, add_special_tokens=False)["input_ids"]
        assert processor.tokenizer.decode(ids) == text


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=80))
def test_any_text_survives(text: str) -> None:
    tokenizer = _tokenizer()
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


def _tokenizer(memo: list[Any] = []) -> Any:  # noqa: B006 (hypothesis refuses fixtures by example)
    if not memo:
        from transformers import AutoTokenizer

        memo.append(AutoTokenizer.from_pretrained(weights_path()))
    return memo[0]


def test_every_byte_has_a_token(shipped: tuple[Any, Any]) -> None:
    from tokenizers.pre_tokenizers import ByteLevel

    vocabulary = shipped[1].tokenizer.get_vocab()
    assert [c for c in ByteLevel.alphabet() if c not in vocabulary] == []


def test_special_tokens_and_constant_sentences_are_one_token(fresh: Any) -> None:
    sentences = constant_sentences()
    joined = SEE_THINK.replace("\\n", "\n") + COT + CAPTION_REASONER
    assert sum(sentence in joined for sentence in sentences) >= 13
    for text in (*SPECIAL_TOKENS, *sentences):
        assert len(fresh.tokenizer(text, add_special_tokens=False)["input_ids"]) == 1, text
    assert len(fresh.tokenizer) == 600


def test_the_chat_template_takes_text_lists_and_systems(fresh: Any) -> None:
    chat = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Hm?"}]},
    ]
    text = fresh.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert text == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n<|vision_start|><|image_pad|>"
        "<|vision_end|>Hm?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_it_is_a_small_qwen(fresh: Any, tmp_path: Path) -> None:
    model = build_model(fresh.tokenizer)
    save(model, fresh, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["Qwen2_5_VLForConditionalGeneration"]
    text = config["text_config"]
    head = text["hidden_size"] // text["num_attention_heads"]
    assert head % 32 == 0, "vLLM's CPU attention refuses other head dimensions"
    assert sum(text["rope_parameters"]["mrope_section"]) == head // 2
    assert text["max_position_embeddings"] == CONTEXT
    again, _ = load(tmp_path)
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_the_same_seed_gives_the_same_weights(fresh: Any) -> None:
    one, two, other = (build_model(fresh.tokenizer, seed=s).model.visual for s in (3, 3, 4))
    assert torch.equal(one.blocks[0].mlp.up_proj.weight, two.blocks[0].mlp.up_proj.weight)
    assert not torch.equal(one.blocks[0].mlp.up_proj.weight, other.blocks[0].mlp.up_proj.weight)


def test_the_loss_falls_on_the_reply_alone(fresh: Any) -> None:
    examples = [make_example(number, 0) for number in range(4)]
    batch = collate(fresh, examples)
    for row, example in enumerate(examples):
        labels = batch["labels"][row]
        kept = labels[labels != IGNORED]
        assert torch.equal(kept, batch["input_ids"][row][labels != IGNORED])
        assert fresh.tokenizer.decode(kept) == f"{example.reply}<|im_end|>"


def test_a_few_steps_lower_the_loss(fresh: Any) -> None:
    torch.manual_seed(0)
    model = build_model(fresh.tokenizer, hidden=64, layers=1)
    losses = make_tiny.train(model, fresh, steps=30, seed=0, size=8, peak=3e-3)
    assert len(losses) == 30
    assert sum(losses[-5:]) / 5 < 0.75 * losses[0]
    batch = collate(fresh, [make_example(10**9, 0)])
    with torch.no_grad():
        assert float(loss_of(model, batch)) < losses[0]


def test_the_rate_warms_up_and_falls() -> None:
    rates = [make_tiny.learning_rate(step, 1000, 1.0) for step in range(1000)]
    assert rates[0] < 0.05
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.05, abs=1e-3)


def test_the_mixture_is_reproducible_and_holds_every_format() -> None:
    assert sum(SHARES.values()) == 100
    assert make_example(5, 0) == make_example(5, 0)
    assert make_example(5, 0) != make_example(5, 1)
    examples = [make_example(number, 0) for number in range(400)]
    prompts = ["".join(p for p in e.messages[-1].content if isinstance(p, str)) for e in examples]
    for ending in (SEE_THINK, SEE_THINK.replace("\\n", "\n"), COT):
        assert any(prompt.endswith(ending) for prompt in prompts)
    assert any("Text description: row 1 :" in prompt for prompt in prompts)
    assert {len(e.images) for e in examples} == {0, 1, 2, 3}


def test_shipped_weights_are_small_and_plain() -> None:
    names = {path.name for path in weights_path().iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl", ".py"))]
    assert sum(path.stat().st_size for path in weights_path().iterdir()) < 6_000_000


def test_shipped_weights_answer_in_form_and_mostly_right(shipped: tuple[Any, Any]) -> None:
    rows = [make_row("test", number) for number in range(64)]
    samples = [to_sample({**row, "image": EncodedImage(data=row["image"])}) for row in rows]
    see_think = FORMATS["see_think"]
    prompts = [(build_messages(s, see_think), s.images) for s in samples]
    replies = generate(*shipped, prompts, max_tokens=256)
    assert not [r for r in replies if r.truncated or not r.boxed or not r.description]
    hits = sum(r.boxed == s.answer for r, s in zip(replies, samples, strict=True))
    # The card says 45 to 80 %; 64 rows lie within 13 points of that 19 times in 20.
    assert 0.32 * 64 < hits < 0.93 * 64


def test_batches_of_mixed_kinds_answer_as_one_by_one(shipped: tuple[Any, Any]) -> None:
    rows = [make_row("test", number) for number in range(8)]
    samples = [to_sample({**row, "image": EncodedImage(data=row["image"])}) for row in rows]
    prompts: list[Any] = []
    for sample, row in zip(samples, rows, strict=True):
        prompts.append((build_messages(sample, FORMATS["see_think"]), sample.images))
        prompts.append((reading_messages(sample, row["description"]), ()))
    together = generate(*shipped, prompts, max_tokens=128)
    alone = generate(*shipped, prompts, size=1, max_tokens=128)
    assert [r.token_ids for r in together] == [r.token_ids for r in alone]


def test_pillow_gives_the_pixels_of_torchvision() -> None:
    """Without torchvision, which `make demo` leaves out, the demo's images are read by Pillow."""
    from transformers import AutoProcessor

    from vsr1_bench.generation.chat import _by_pillow
    from vsr1_bench.generation.images import decode

    rows = [make_row("test", n) for n in range(3)]
    images = [decode(EncodedImage(data=row["image"]), 1, 10**9) for row in rows]
    text = ["<|vision_start|><|image_pad|><|vision_end|>How many?"] * 3
    usual, other = (
        processor(text=text, images=images, padding=True, return_tensors="pt")
        for processor in (AutoProcessor.from_pretrained(weights_path()), _by_pillow(weights_path()))
    )
    assert usual.keys() == other.keys()
    for name in usual:
        torch.testing.assert_close(usual[name], other[name], rtol=0, atol=1e-6)
