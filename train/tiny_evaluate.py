"""Numbers of the embedded model's card, by greedy generation with transformers.

This is the trainer's own yardstick, for use before there are weights to ship; published numbers
come from `vsr1-bench --tasks demo`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vsr1_bench.prompts.formats import FORMATS, build_messages, caption_messages
from vsr1_bench.records import EncodedImage, Message, Sample
from vsr1_bench.tiny.scenes import KINDS, make_row, to_sample

from .tiny import encode_prompts

MAX_TOKENS = 512
Prompt = tuple[tuple[Message, ...], Sequence[EncodedImage]]


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
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor = AutoProcessor.from_pretrained(folder)
    processor.tokenizer.padding_side = "left"
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    return model.eval(), processor


def generate(
    model: Any,
    processor: Any,
    prompts: Sequence[Prompt],
    *,
    size: int = 64,
    max_tokens: int = MAX_TOKENS,
) -> list[Reply]:
    """Answer prompts greedily in left-padded batches of `size`, in the order given."""
    import torch

    replies: list[Reply] = []
    end = processor.tokenizer.eos_token_id
    for first in range(0, len(prompts), size):
        inputs = encode_prompts(
            processor, prompts[first : first + size], padding=True, return_tensors="pt"
        )
        with torch.inference_mode():
            output = model.generate(**inputs, max_new_tokens=max_tokens, do_sample=False)
        for ids in output[:, inputs["input_ids"].shape[1] :].tolist():
            length = ids.index(end) if end in ids else len(ids)
            text = processor.tokenizer.decode(ids[:length], skip_special_tokens=True)
            replies.append(Reply(text, tuple(ids[:length]), end not in ids))
    return replies


def evaluate(folder: Path, n: int) -> dict[str, Any]:
    """Measure a model on the first n test rows of demo.

    Returns:
        Percentages by name. `right`: answers right under see_think; `reader_right`: right from
        the model's own description, without the image; `exact`: descriptions exact to the word;
        `shortcut`: answer right although neither the reader nor the words got it; `blind`: right
        without the image. Then each kind's `right`, and tokens and seconds.
    """
    model, processor = load(folder)
    rows = [make_row("test", number) for number in range(n)]
    samples = [to_sample({**row, "image": EncodedImage(data=row["image"])}) for row in rows]
    see_think = FORMATS["see_think"]
    prompts: list[Prompt] = [(build_messages(s, see_think), s.images) for s in samples]
    start = time.monotonic()
    first = generate(model, processor, prompts)
    seconds = time.monotonic() - start
    reader = generate(
        model,
        processor,
        [(caption_messages(s, r.description), ()) for s, r in zip(samples, first, strict=True)],
    )
    blind = generate(model, processor, [(build_messages(_drop(s), see_think), ()) for s in samples])
    cot, direct = (
        generate(model, processor, [(build_messages(s, FORMATS[name]), s.images) for s in samples])
        for name in ("cot", "direct")
    )
    gold = [sample.answer for sample in samples]
    right = _hits([r.boxed for r in first], gold)
    read = _hits([r.boxed for r in reader], gold)
    guessed = _hits([r.boxed for r in blind], gold)
    exact = [r.description == row["description"] for r, row in zip(first, rows, strict=True)]
    numbers: dict[str, Any] = {
        "n": n,
        "right": _percent(right),
        "reader_right": _percent(read),
        "exact": _percent(exact),
        "exact_or_reader_right": _percent([a or b for a, b in zip(exact, read, strict=True)]),
        "shortcut": _percent([a and not b for a, b in zip(right, read, strict=True)]),
        "shortcut_strict": _percent(
            [a and not b and not c for a, b, c in zip(right, read, exact, strict=True)]
        ),
        "blind": _percent(guessed),
        "cot": _percent(_hits([r.boxed for r in cot], gold)),
        "direct": _percent(_hits([r.text.strip() for r in direct], gold)),
        "truncated": _percent([r.truncated for r in (*first, *reader, *blind, *cot, *direct)]),
        "cells_right": _cells_right(first, rows),
    }
    for index, kind in enumerate(KINDS):
        numbers[f"right_{kind}"] = _percent(right[index :: len(KINDS)])
        numbers[f"reader_{kind}"] = _percent(read[index :: len(KINDS)])
        numbers[f"blind_{kind}"] = _percent(guessed[index :: len(KINDS)])
    tokens = sum(len(r.token_ids) for r in first)
    numbers["reply_tokens"] = round(tokens / n, 1)
    numbers["tokens_per_second"] = round(tokens / seconds)
    return numbers


def _drop(sample: Sample) -> Sample:
    """The same question without its image."""
    return Sample(
        id=sample.id,
        question=(sample.question_text,),
        answer=sample.answer,
        answer_type=sample.answer_type,
        choices=sample.choices,
    )


def _hits(answers: Sequence[str], gold: Sequence[str]) -> list[bool]:
    return [answer == wanted for answer, wanted in zip(answers, gold, strict=True)]


def _percent(flags: Sequence[bool]) -> float:
    return round(100 * sum(flags) / max(1, len(flags)), 1)


def _cells_right(replies: Sequence[Reply], rows: Sequence[dict[str, Any]]) -> float:
    """Share of description words that are right at their place, in percent."""
    flags: list[bool] = []
    for reply, row in zip(replies, rows, strict=True):
        wanted = row["description"].split()
        said = reply.description.split()[: len(wanted)]
        flags += [a == b for a, b in zip(said, wanted, strict=False)]
        flags += [False] * (len(wanted) - len(said))
    return _percent(flags)
