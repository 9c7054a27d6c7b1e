"""Scores: metrics over verdicts, their intervals, and rates that show how far to trust them."""

from __future__ import annotations

from vsr1_bench.scoring.score import Score, score_responses

__all__ = ["Score", "score_responses"]
