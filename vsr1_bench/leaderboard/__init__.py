"""Tables of scores."""

from __future__ import annotations

from vsr1_bench.leaderboard.table import FORMATS, build_table, render

__all__ = ["FORMATS", "build_table", "render"]
