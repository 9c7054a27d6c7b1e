"""vllm: a local LLM in vLLM's engine, in this process; no server, no key."""

from vsr1_bench.judge import ModelJudge
from vsr1_bench.judging.llm_open import llm_judge

ABOUT = "a local LLM in vLLM: --judge_model FOLDER or hub id"
JUDGE = ModelJudge("vllm", 1, llm_judge("vllm"), ABOUT)
