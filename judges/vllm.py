"""vllm: a local LLM in vLLM's engine, in this process; no server, no key."""

from vsr1_bench.judge import ModelJudge
from vsr1_bench.judging.llm_open import open_vllm

JUDGE = ModelJudge(
    name="vllm",
    version=1,
    open=open_vllm,
    description="a local LLM in vLLM: --judge_model FOLDER or hub id",
)
