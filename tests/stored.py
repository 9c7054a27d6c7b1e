"""Run folders and responses made by hand, for tests of the store."""

from __future__ import annotations

from pathlib import Path

from vsr1_bench.records import Generation, Sample
from vsr1_bench.store.run_folder import RunFolder
from vsr1_bench.store.spec import DataSpec, ModelSpec, PromptSpec, RunSpec, SamplingSpec, TaskSpec
from vsr1_bench.store.writer import RunWriter

SPEC = RunSpec(
    model=ModelSpec(id="org/model", fingerprint="f"),
    sampling=SamplingSpec(
        temperature=0.0,
        top_p=1.0,
        top_k=-1,
        min_p=0.0,
        repetition_penalty=1.0,
        max_tokens=10,
        stop=(),
        seed=0,
        n=1,
        min_pixels=1,
        max_pixels=2,
    ),
    prompt=PromptSpec(format="cot", hash="h", chat_template_hash=None, system=None),
    task=TaskSpec(name="sums", version=1),
    data=DataSpec(id="d", config=None, split="test", revision=None, fingerprint="r"),
)


def folder(root: Path, spec: RunSpec = SPEC) -> RunFolder:
    run = RunFolder.of(root, spec)
    run.write_meta(spec, 3, {"command": "vsr1-bench"})
    return run


def sample(number: int) -> Sample:
    return Sample(f"s{number}", ("why?",), "A", "choice", choices=("x", "y"))


def made(key: str, text: str = "", error: str | None = None) -> Generation:
    return Generation(key, f"s-{key}", 0, text, "error" if error else "stop", error=error)


def write(run: RunFolder, *generations: Generation, shard: tuple[int, int] = (0, 1)) -> None:
    writer = RunWriter(run, shard=shard)
    for generation in generations:
        writer.add(generation)
    writer.close()
