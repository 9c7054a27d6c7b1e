"""Audit a benchmark: read its rows, run the checks, write a page and a JSON file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vsr1_bench._util.version import __version__
from vsr1_bench.audit.blind_section import blind_part
from vsr1_bench.audit.golds_section import golds_part
from vsr1_bench.audit.items import Items, read_items
from vsr1_bench.audit.overlap import TrainingSet, find_overlap, training_side
from vsr1_bench.audit.overlap_section import overlap_part
from vsr1_bench.audit.page import Page, html_page, markdown_page
from vsr1_bench.audit.sections import Part, faults_part, forest_part, priors_part, repeats_part
from vsr1_bench.data.dataset import DataOptions, open_data
from vsr1_bench.store.journal import write_atomic
from vsr1_bench.store.run_folder import RunFolder, safe_name
from vsr1_bench.task import Task

FEW = 100
"""With fewer items a page says that it can show little."""


@dataclass(frozen=True, slots=True)
class AuditOptions:
    """What to audit and how."""

    data: DataOptions
    output: Path
    training: bool = False
    """Audit the rows that the task states for training, not its test rows."""
    limit: int | None = None
    runs: tuple[RunFolder, ...] = ()
    """Stored runs; those of other tasks are passed over."""
    against: tuple[TrainingSet, ...] = ()
    """Training data in which items are looked for."""
    progress: bool = True


@dataclass(frozen=True, slots=True)
class Audit:
    """The result for one task."""

    task: str
    n: int
    """Items that map."""
    findings: tuple[str, ...]
    page: Page
    document: dict[str, Any]
    """Everything, for the JSON file."""


def audit_task(task: Task, options: AuditOptions) -> Audit:
    """Audit one benchmark from its rows.

    Raises:
        TaskError: its rows cannot be read.
        UsageError: the task states no training rows.
    """
    side = training_side(task, "--training") if options.training else task
    data = open_data(side, options.data)
    shown = options.progress
    found = read_items(data, options.limit, pictures=bool(options.against), progress=shown)
    parts = [
        faults_part(found),
        priors_part(found.items),
        forest_part(found.items, task.cluster, progress=shown),
        repeats_part(found),
        *([blind_part(task, options.runs)] if options.runs else []),
        *([golds_part(task, found.items, options.runs)] if options.runs else []),
        *(_against(task, found, training, options) for training in options.against),
    ]
    rows = "training rows" if options.training else "rows"
    fingerprint = data.spec.fingerprint
    if data.spec.split != "generated":
        fingerprint = fingerprint[:8]
    part = f", the first {options.limit:,} only" if options.limit else ""
    about = (
        f"{len(found.items):,} items from the {rows} of {data.spec.id} ({data.spec.split}, "
        f"fingerprint {fingerprint}{part}); task version {task.version}, "
        f"vsr1-bench {__version__}. What each check means: docs/audit.md."
    )
    if len(found.items) < FEW:
        about += " So few items show gross faults only."
    findings = tuple(line for one in parts for line in one.findings)
    page = Page(
        f"Audit of {task.name}", findings, tuple(s for one in parts for s in one.sections), (about,)
    )
    document: dict[str, Any] = {
        "task": task.name,
        "version": str(task.version),
        "vsr1_bench": __version__,
        "data": {**data.spec.model_dump(mode="json"), "training": options.training},
        "limit": options.limit,
        "n": len(found.items),
        "findings": findings,
    }
    for one in parts:
        overlaps = [*document.get("overlap", []), *one.document.get("overlap", [])]
        document |= one.document
        if overlaps:
            document["overlap"] = overlaps
    return Audit(task.name, len(found.items), findings, page, document)


def write_audit(audit: Audit, folder: Path) -> list[Path]:
    """Write `TASK.md`, `TASK.html` and `TASK.json`; returns their paths.

    Raises:
        StoreError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "md": markdown_page(audit.page),
        "html": html_page(audit.page),
        "json": json.dumps(audit.document, indent=1, ensure_ascii=True) + "\n",
    }
    paths = [folder / f"{safe_name(audit.task)}.{kind}" for kind in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        write_atomic(path, text)
    return paths


def _against(task: Task, found: Items, training: TrainingSet, options: AuditOptions) -> Part:
    overlap = find_overlap(found, training, progress=options.progress)
    return overlap_part(task, found.items, overlap, options.runs)
