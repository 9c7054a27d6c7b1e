"""openai: any LLM behind an OpenAI-compatible URL (a vLLM server, a hosted model)."""

from vsr1_bench.judge import ModelJudge
from vsr1_bench.judging.llm_open import llm_judge

ABOUT = "an LLM behind an OpenAI-compatible URL: --judge_model, --judge_base_url"
JUDGE = ModelJudge("openai", 1, llm_judge("openai"), ABOUT)
