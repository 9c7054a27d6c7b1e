"""gemini: Google's models, the judge of the Vision-SR1 paper. GEMINI_API_KEY holds the key."""

from vsr1_bench.judge import ModelJudge
from vsr1_bench.judging.llm_open import llm_judge

ABOUT = "Gemini (default gemini-2.5-flash): GEMINI_API_KEY; --judge_args safety=…"
JUDGE = ModelJudge("gemini", 1, llm_judge("gemini"), ABOUT)
