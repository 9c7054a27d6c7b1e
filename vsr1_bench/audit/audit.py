"""Audit a benchmark: read its rows, run the checks, write a page and a JSON file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from vsr1_bench._util.version import __version__
from vsr1_bench.audit.duplicates import Repeats, find_repeats
from vsr1_bench.audit.items import Item, Items, read_items
from vsr1_bench.audit.page import (
    Page,
    Section,
    Table,
    examples,
    html_page,
    markdown_page,
    p_text,
    percent,
)
from vsr1_bench.audit.priors import ALPHA, Distribution, Prior, distributions, priors
from vsr1_bench.data.dataset import DataOptions, open_data
from vsr1_bench.errors import UsageError
from vsr1_bench.store.journal import write_atomic
from vsr1_bench.store.run_folder import safe_name
from vsr1_bench.task import Task

TEXT_SHOWN = 80
"""Characters of a question on a page."""


@dataclass(frozen=True, slots=True)
class AuditOptions:
    """What to audit and how."""

    data: DataOptions
    output: Path
    training: bool = False
    """Audit the rows that the task states for training, not its test rows."""
    limit: int | None = None
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
    data = open_data(_side(task, options.training), options.data)
    found = read_items(data, options.limit, progress=options.progress)
    parts = [_faults(found), _priors(found.items), _repeats(found)]
    side = "training rows" if options.training else "rows"
    part = f", the first {options.limit:,} only" if options.limit else ""
    about = (
        f"{len(found.items):,} items from the {side} of {data.spec.id} ({data.spec.split}, "
        f"fingerprint {data.spec.fingerprint[:8]}{part}); task version {task.version}, "
        f"vsr1-bench {__version__}. What each check means: docs/audit.md."
    )
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
        document |= one.document
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


def _side(task: Task, training: bool) -> Task:
    if not training:
        return task
    if task.train is None:
        raise UsageError(f"--training: task {task.name!r} states no training rows")
    return replace(task, source=task.train, copies={})


@dataclass(frozen=True, slots=True)
class Part:
    """What one group of checks adds to an audit."""

    findings: tuple[str, ...]
    sections: tuple[Section, ...]
    document: dict[str, Any]


def _faults(found: Items) -> Part:
    counts = Counter(fault.kind for fault in found.faults)
    rows = [(fault.kind, fault.id, fault.detail) for fault in found.faults]
    section = Section(
        "Rows, ids, gold answers and images",
        () if rows else ("All rows map, ids are unique, gold answers are possible, images open.",),
        (examples(("fault", "item", "what"), rows),) if rows else (),
    )
    return Part(
        tuple(_times(n, kind) for kind, n in counts.most_common()),
        (section,),
        {"faults": [asdict(fault) for fault in found.faults]},
    )


def _times(n: int, what: str) -> str:
    """`1 repeated id`, `3 × repeated id`."""
    return f"1 {what}" if n == 1 else f"{n:,} × {what}"


def _priors(items: Sequence[Item]) -> Part:
    if not items:
        return Part((), (), {"priors": [], "answers": []})
    rules, forms = priors(items), distributions(items)
    findings = [
        f"{rule.rule}: right on {percent(rule.share)} of {rule.n:,} items without question or "
        f"image (chance {percent(rule.chance)}, p {_compared(rule.p_value)})"
        for rule in rules
        if rule.suspicious
    ]
    findings += [
        f"answers to {form.form} are not equally frequent: {form.answers[0][0]} is right on "
        f"{percent(form.answers[0][1] / form.n)} (chance {percent(form.chance or 0)}, "
        f"p {_compared(form.p_value)})"
        for form in forms
        if form.p_value is not None and form.p_value < ALPHA
    ]
    section = Section(
        "Priors: answers without question or image",
        ("Accuracy of rules that see neither the wording nor the image.",),
        (_rules_table(rules), _answers_table(forms)),
    )
    document = {
        "priors": [{**asdict(r), "share": r.share, "interval": r.interval} for r in rules],
        "answers": [asdict(form) for form in forms],
    }
    return Part(tuple(findings), (section,), document)


def _compared(p_value: float | None) -> str:
    text = p_text(p_value)
    return text if text.startswith("<") else f"= {text}"


def _rules_table(rules: Sequence[Prior]) -> Table:
    rows = tuple(
        (
            rule.rule,
            f"{rule.n:,}",
            percent(rule.share),
            f"{100 * rule.interval[0]:.1f} to {100 * rule.interval[1]:.1f} %",
            percent(rule.chance),
            p_text(rule.p_value),
        )
        for rule in rules
    )
    return Table(("rule", "items", "right", "95 % interval", "chance", "p"), rows)


def _answers_table(forms: Sequence[Distribution]) -> Table:
    rows = tuple(
        (
            form.form,
            f"{form.n:,}",
            f"{len(form.answers):,}",
            ", ".join(f"{name} {percent(n / form.n)}" for name, n in form.answers[:10]),
            p_text(form.p_value),
        )
        for form in forms
    )
    headings = ("form", "items", "different answers", "the most frequent", "p (equal frequency)")
    return Table(headings, rows)


def _repeats(found: Items) -> Part:
    items, repeats = found.items, find_repeats(found)

    def ids(group: Sequence[int]) -> list[str]:
        return [items[number].id for number in group]

    counts = (
        ("items whose question and options also occur with another image or twice", repeats.texts),
        ("items that share their image with others", repeats.shared_images),
        ("images that show the picture of another image in other bytes", repeats.images),
        ("exact duplicates: same text, same image", repeats.exact),
        ("contradictions: same text, same picture, different gold answers", repeats.contradictions),
    )
    rows = [(what, f"{len(groups):,}", f"{sum(map(len, groups)):,}") for what, groups in counts]
    rows.append(("near duplicates: near text, same picture", f"{len(repeats.near):,}", "–"))
    tables = [Table(("what", "groups or pairs", "members"), tuple(rows))]
    tables += _repeat_examples(items, repeats)
    document = {
        "repeats": {
            "texts": [ids(group) for group in repeats.texts],
            "shared_images": [ids(group) for group in repeats.shared_images],
            "images": [[found.shas[n] for n in group] for group in repeats.images],
            "exact": [ids(group) for group in repeats.exact],
            "near": [ids(pair) for pair in repeats.near],
            "contradictions": [
                {"ids": ids(group), "golds": [items[n].gold_text for n in group]}
                for group in repeats.contradictions
            ],
        }
    }
    findings = []
    if repeats.contradictions:
        n = sum(map(len, repeats.contradictions))
        findings.append(f"{n:,} items contradict each other: same text and picture, other gold")
    if repeats.exact:
        extra = sum(len(group) - 1 for group in repeats.exact)
        findings.append(f"{extra:,} items are exact duplicates of earlier ones")
    if repeats.near:
        findings.append(f"{len(repeats.near):,} pairs of items are near duplicates")
    return Part(
        tuple(findings), (Section("Duplicates and contradictions", (), tuple(tables)),), document
    )


def _repeat_examples(items: Sequence[Item], repeats: Repeats) -> list[Table]:
    tables = []
    if repeats.contradictions:
        shown = [
            (
                ", ".join(items[n].id for n in group),
                " / ".join(sorted({items[n].gold_text for n in group})),
                shortened(items[group[0]].question),
            )
            for group in repeats.contradictions
        ]
        tables.append(examples(("contradicting items", "gold answers", "question"), shown))
    pairs = [("exact", group) for group in repeats.exact]
    pairs += [("near", list(pair)) for pair in repeats.near]
    if pairs:
        rows = [
            (kind, ", ".join(items[n].id for n in group), shortened(items[group[0]].question))
            for kind, group in pairs
        ]
        tables.append(examples(("duplicate", "items", "question"), rows))
    return tables


def shortened(text: str) -> str:
    """The beginning of a text."""
    return text if len(text) <= TEXT_SHOWN else text[: TEXT_SHOWN - 1].rstrip() + "…"
