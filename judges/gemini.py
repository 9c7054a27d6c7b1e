"""gemini: Google's models, the judge of the Vision-SR1 paper; its key is in GEMINI_API_KEY."""

from vsr1_bench.judge import ModelJudge
from vsr1_bench.judging.llm_open import open_gemini

JUDGE = ModelJudge(
    name="gemini",
    version=1,
    open=open_gemini,
    description="Gemini (default gemini-2.5-flash): GEMINI_API_KEY; --judge_args safety=…",
)
