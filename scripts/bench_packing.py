"""Measure what packing saves in an update: forward and backward pass, in one run.

The same rows, 8 responses of random tokens to each of 4 prompts with an image, are scored padded,
with a copy of the prompt for each response, and in lines, with one copy for all. The two take
turns. Prompts are lengthened by words.

    python scripts/bench_packing.py [--rounds 7]
"""

from __future__ import annotations

import argparse
import os
import random
from pathlib import Path
from typing import Any

from bench_rounds import Way, interleave
from tabulate import tabulate

SHAPES = ((0, 60), (200, 60), (200, 240), (1000, 240), (0, 480))
"""Words added to a prompt, and tokens of the longest response; the shortest has half as many."""
PROMPTS, SAMPLES = 4, 8
MICROBATCH = 16_384
"""Tokens of a micro-batch, as in the recipes."""


def rows_of(words: int, longest: int) -> list[Any]:
    """Responses to questions of the demo."""
    from vsr1_bench.generation.models import default_pixels, find_model
    from vsr1_bench.records import EncodedImage, ImagePlace, Message, Request, Sampling
    from vsr1_bench.tiny.scenes import make_row
    from vsr1_bench.train.core.encoding import TrainRow

    draw, rows = random.Random(0), []
    low, high = default_pixels(find_model("tiny", backend="transformers"))
    sampling = Sampling(max_tokens=longest, min_pixels=low, max_pixels=high)
    for number in range(PROMPTS):
        row = make_row("test", number)
        content = (ImagePlace(0), f"{row['question']} {'dots ' * words}")
        images = (EncodedImage(data=row["image"]),)
        request = Request(f"{number}", (Message("user", content),), sampling, images)
        for _ in range(SAMPLES):
            length = draw.randint(longest // 2, longest)
            rows.append(TrainRow(request, tuple(draw.choices(range(20, 200), k=length)), ()))
    return rows


def updates(words: int, longest: int) -> tuple[dict[str, Way], list[float], int]:
    """Both ways to score the rows, the operations of each, and the tokens of a prompt."""
    from transformers import AutoModelForImageTextToText

    from vsr1_bench.generation.chat import ChatRenderer
    from vsr1_bench.generation.models import find_model
    from vsr1_bench.tiny import weights_path
    from vsr1_bench.train.core.encoding import Encoder
    from vsr1_bench.train.core.flops import FlopCount
    from vsr1_bench.train.core.logprobs import Scorer, score_batch
    from vsr1_bench.train.core.packed import set_packing

    model = AutoModelForImageTextToText.from_pretrained(weights_path()).train()
    scorer, rows = Scorer(model), rows_of(words, longest)
    encoder = Encoder(ChatRenderer(find_model("tiny", backend="transformers")))
    ways: dict[str, Way] = {}
    flops = []
    for packed in (False, True):
        set_packing(model, packed)
        encoder.make_batches_for(model)
        cut = encoder.microbatches(rows, MICROBATCH, len(rows))["image"]
        batches = [encoder.collate(micro) for micro in cut]
        flops.append(sum(map(FlopCount(model).of, batches)))

        attention = model.config.get_text_config()._attn_implementation

        def update(folder: Path, batches: Any = batches, attention: str = attention) -> None:
            model.set_attn_implementation({"text_config": attention})
            for batch in batches:
                score_batch(scorer, batch, temperature=1.0, bans=False)[0].sum().backward()
            model.zero_grad()

        ways[str(packed)] = update
    return ways, flops, max(batches[0].prompts)


def main() -> None:
    """Measure each shape, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    table = []
    for words, longest in SHAPES:
        ways, flops, prompt = updates(words, longest)
        padded, packed = interleave(ways, args.rounds)
        table.append(
            (
                f"{prompt}",
                f"{longest // 2} to {longest}",
                *(f"{one.seconds:.2f} s" for one in (padded, packed)),
                f"{packed.seconds / padded.seconds:.2f}",
                f"{flops[1] / flops[0]:.2f}",
            )
        )
    headers = ("prompt", "responses", "padded", "packed", "ratio", "ratio of operations")
    print(tabulate(table, headers, tablefmt="pipe", disable_numparse=True))


if __name__ == "__main__":
    main()
