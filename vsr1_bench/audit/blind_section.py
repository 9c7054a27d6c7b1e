"""The section of an audit about what stored runs get without the image."""

from __future__ import annotations

from collections.abc import Sequence

from vsr1_bench.audit.blind import BClean, b_clean
from vsr1_bench.audit.clean_table import clean_document
from vsr1_bench.audit.page import Section, Table, percent
from vsr1_bench.audit.sections import Part
from vsr1_bench.data.blind import VARIANTS
from vsr1_bench.store.run_folder import RunFolder
from vsr1_bench.task import Task

HIGH_MIRAGE = 0.7
"""From this mirage score on, the paper's headline applies: 70 to 80 % of the accuracy is kept."""


def blind_part(task: Task, runs: Sequence[RunFolder]) -> Part:
    """Accuracy without the image, mirage score and B-Clean, per variant of blind runs."""
    tables = [t for v in VARIANTS if (t := b_clean(task, runs, v)) is not None]
    if not tables:
        reason = f"No given run of {task.name} has a judged blind run; run it with --blind drop."
        return Part((), (Section("Without the image", (reason,)),), {"blind": {}})
    findings = [
        f"{m.model} keeps {percent(m.mirage)} of its accuracy without the image ({t.variant})"
        for t in tables
        for m in t.models
        if m.mirage is not None and m.mirage >= HIGH_MIRAGE
    ]
    findings += [
        f"the ranking changes on the {len(t.kept):,} of {t.n:,} items that no model answers right "
        f"without the image ({t.variant})"
        for t in tables
        if t.reranked
    ]
    return Part(
        tuple(findings),
        tuple(_section(table) for table in tables),
        {"blind": {table.variant: clean_document(table) for table in tables}},
    )


def _section(table: BClean) -> Section:
    rows = tuple(
        (
            m.model,
            m.setting,
            percent(m.seeing),
            percent(m.blind),
            "–" if m.mirage is None else f"{m.mirage:.2f}",
            f"{m.rank}",
            "–" if m.clean is None else percent(m.clean),
            "–" if m.clean_rank is None else f"{m.clean_rank}",
        )
        for m in table.models
    )
    texts = [
        "Mirage score: accuracy without the image over accuracy with it. B-Clean "
        "(arXiv:2603.21687) keeps the items that no compared model answers right without the "
        f"image: {len(table.kept):,} of {table.n:,}."
    ]
    if table.without_blind:
        texts.append(f"Not compared, without a blind run: {', '.join(table.without_blind)}.")
    headings = ("model", "setting", "accuracy", "blind", "mirage", "rank", "clean", "rank clean")
    return Section(f"Without the image ({table.variant})", tuple(texts), (Table(headings, rows),))
