"""openai: any LLM behind an OpenAI-compatible URL (a vLLM server, a hosted model)."""

from vsr1_bench.judge import ModelJudge
from vsr1_bench.judging.llm_open import open_openai

JUDGE = ModelJudge(
    name="openai",
    version=1,
    open=open_openai,
    description="an LLM behind an OpenAI-compatible URL: --judge_model, --judge_base_url",
)
