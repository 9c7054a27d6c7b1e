"""Judging: rule judges in their worker, judging models, and the verdicts of stored runs.

What a judge file states is in `vsr1_bench.judge`; its names can be imported from here, too.
"""

from __future__ import annotations

from vsr1_bench.judge import Item, ModelJudge, RuleJudge

__all__ = ["Item", "ModelJudge", "RuleJudge"]
