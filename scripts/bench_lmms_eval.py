"""Compare an lmms-eval task via `--tasks lmms_eval/NAME` with lmms-eval's own vLLM model.

One local task of image questions, with files like lmms-eval's own, is answered in one running vLLM
engine: (a) by `vsr1_bench.pipeline.run.generate`, which opens the task, hashes its documents, makes
messages and stores every response; (b) by `generate_until` of lmms-eval's vLLM model at several
batch sizes, with requests built in advance. Rounds are interleaved and their medians compared, and
all ways must give the same texts. lmms-eval's model compresses every image and decodes it again, so
the size of the images matters: each size has a table.

lmms-eval's class is not changed. Only its `LLM(...)` is replaced by the running engine, and its
minimum of 4,096 new tokens, which would generate more than the task wants, is lowered.

    make bench-lmms-eval
"""

from __future__ import annotations

import argparse
import os
import tempfile
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")

from bench_generate import requests, reset, tiny_engine
from bench_rounds import Way, interleave, show

from vsr1_bench.generation.vllm import VllmGenerator
from vsr1_bench.lmms_eval.loading import load_task
from vsr1_bench.pipeline.plan import RunOptions
from vsr1_bench.pipeline.run import generate
from vsr1_bench.records import ImagePlace
from vsr1_bench.tiny.scenes import make_row

NAME = "bench_scenes"
YAML = """
task: {name}
dataset_path: parquet
dataset_kwargs:
  data_files:
    test: {file}
test_split: test
output_type: generate_until
doc_to_visual: !function utils.to_visual
doc_to_text: question
doc_to_target: answer
process_results: !function utils.process
generation_kwargs:
  max_new_tokens: {tokens}
  temperature: 0
metric_list:
  - metric: right
    aggregation: mean
    higher_is_better: true
metadata:
  version: 1
"""
UTILS = """
def to_visual(doc):
    return [doc["image"].convert("RGB")]

def process(doc, results):
    boxed = results[0].rpartition("boxed{")[2].partition("}")[0]
    return {"right": float(boxed.strip() == doc["answer"])}
"""


def enlarged(image: bytes, side: int, seed: int) -> bytes:
    """A scene of side x side pixels with a camera's grain, so that it packs like a photograph."""
    import numpy as np
    from PIL import Image

    with Image.open(BytesIO(image)) as opened:
        plain = np.asarray(opened.convert("RGB").resize((side, side), Image.Resampling.BICUBIC))
    grain = np.random.default_rng(seed).normal(0, 3, plain.shape)
    file = BytesIO()
    grained = np.clip(plain + grain, 0, 255).astype(np.uint8)
    Image.fromarray(grained).save(file, "PNG")
    return file.getvalue()


def write_task(folder: Path, n: int, tokens: int, side: int | None = None) -> None:
    """Write a task of the first n demo scenes, with the prompt `see_think`.

    With `side` the images are enlarged to that many pixels; otherwise they keep their size.
    """
    from datasets import Dataset, Features, Image, Value

    rows = []
    for number, request in enumerate(requests(n, tokens)):
        row = make_row("test", number)
        words = [part for message in request.messages for part in message.content]
        text = "".join(part for part in words if not isinstance(part, ImagePlace))
        scene = row["image"] if side is None else enlarged(row["image"], side, number)
        image = {"bytes": scene, "path": None}
        rows.append({"question": text.strip(), "answer": str(row["answer"]), "image": image})
    features = Features({"question": Value("string"), "answer": Value("string"), "image": Image()})
    file = folder / "rows.parquet"
    Dataset.from_list(rows, features=features).to_parquet(str(file))
    (folder / "utils.py").write_text(UTILS)
    text = YAML.format(name=NAME, file=file, tokens=tokens)
    (folder / f"{NAME}.yaml").write_text(text)


class Peer:
    """lmms-eval's vLLM model on the running engine, with the task's requests."""

    def __init__(self, llm: Any, folder: Path, tokens: int) -> None:
        from lmms_eval.models.chat import vllm as chat
        from lmms_eval.models.simple import vllm as simple

        simple.LLM = lambda **_: llm
        self.model = chat.VLLM(model="tiny", max_new_tokens=tokens, disable_log_stats=True)
        task, _ = load_task(NAME, (str(folder),))
        task.build_all_requests(limit=None, rank=0, world_size=1)
        self._instances = task.instances
        self._task_dict = {NAME: task.dataset}

    def generate(self, batch: int, folder: Path) -> list[str]:
        """The answers, in the order of the documents; nothing is stored."""
        self.model.batch_size_per_gpu = batch
        self.model.task_dict = self._task_dict
        return [answer.text for answer in self.model.generate_until(self._instances)]


def ours(generator: VllmGenerator, tasks: Path, runs: Path) -> list[str]:
    """`--tasks lmms_eval/…` into a fresh folder; the answers, in the order of the documents."""
    options = RunOptions(
        model="tiny",
        tasks=f"lmms_eval/{NAME}",
        output_path=runs,
        backend="vllm",
        include_path=(str(tasks),),
        progress=False,
    )
    (run,) = generate(options, generator)
    generations = run.folder.generations().values()
    return [one.text for one in sorted(generations, key=lambda one: int(one.sample_id))]


def compare(generator: VllmGenerator, llm: Any, side: int, options: argparse.Namespace) -> None:
    """Measure one size of images and print the table."""
    batches = [int(batch) for batch in options.batches.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        tasks = Path(folder)
        write_task(tasks, options.n, options.max_tokens, side)
        peer = Peer(llm, tasks, options.max_tokens)
        ways: dict[str, Way] = {
            f"vsr1-bench --tasks lmms_eval/{NAME}, all stored": partial(ours, generator, tasks)
        }
        for batch in batches:
            ways[f"lmms-eval's vllm model, batch {batch}"] = partial(peer.generate, batch)
        times = interleave(ways, options.rounds, lambda: reset(llm))
    for one in times:
        if different := sum(a != b for a, b in zip(one.result, times[0].result, strict=True)):
            raise SystemExit(f"{one.name}: {different} of {len(one.result)} texts are not ours")
    print(
        f"\n{options.n} images of {side} x {side} pixels, {options.max_tokens} tokens at most, "
        f"the same texts by every way, median of {options.rounds} interleaved rounds:\n"
    )
    show(times)
    best, batch = min((one.seconds, batch) for one, batch in zip(times[1:], batches, strict=True))
    print(
        f"\nlmms-eval's vllm model at its best batch size, {batch}, takes "
        f"{best / times[0].seconds:.2f} times as long as vsr1-bench",
        flush=True,
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--sides", default="112,448,1024", help="of the images, in pixels")
    parser.add_argument("--max_tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batches", default="1,64,200")
    options = parser.parse_args()
    with tiny_engine() as (generator, llm):
        for side in options.sides.split(","):
            compare(generator, llm, int(side), options)


if __name__ == "__main__":
    main()
