"""Tables of scores."""

from __future__ import annotations

from vsr1_bench.leaderboard.table import render

__all__ = ["render"]
