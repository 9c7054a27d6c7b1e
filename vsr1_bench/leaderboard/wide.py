"""The wide table: one row per model or setting, one column per task, metric or category."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vsr1_bench.leaderboard.calibrated import Calibrated
from vsr1_bench.leaderboard.collect import Scored, partial_note, unknown_precision
from vsr1_bench.leaderboard.empty import why_empty
from vsr1_bench.leaderboard.reported import ReportedTable
from vsr1_bench.leaderboard.settings import arrow, copy_labels, setting_labels
from vsr1_bench.leaderboard.shortcuts import (
    CUT,
    UNREAD,
    category_cells,
    ill_cut,
    ill_read,
    needs_reading,
    reader_label,
    readers_remark,
    undescribed,
    usual_readers,
)
from vsr1_bench.scoring.dependence import METRIC as DEPENDENCE
from vsr1_bench.scoring.dependence import dependence_remarks
from vsr1_bench.store.judge_names import bare

HEADLINE = "accuracy"


@dataclass(frozen=True, slots=True)
class Column:
    """What a column holds."""

    task: str
    """Empty where each row is of one task."""
    metric: str
    title: str
    headline: bool = True
    """Whether the metric is the headline metric of its task."""


@dataclass(frozen=True, slots=True)
class GridCell:
    """A number of a row, in percent, with its notes."""

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    judge: str | None = None
    reader: str | None = None
    """For metrics of the second pass that depend on the reader."""
    notes: tuple[str, ...] = ()
    """Why it is not ranked, and other footnotes."""
    ranked: bool = False
    mark: str = ""
    scored: Scored | None = None
    """Its source; None if it was reported."""
    digits: int = 1
    """Decimals to show; four for numbers of external tasks, which have their own units."""
    calibrated: Calibrated | None = None
    """If people's labels have corrected it."""


@dataclass(slots=True)
class GridRow:
    """A model under one setting."""

    kind: str
    """`measured` or `reported`."""
    model: str
    setting: str
    task: str = ""
    """If each row belongs to one task."""
    source: str = ""
    """Publication and places in it; or date, version and judge."""
    publication: str = ""
    """Of a reported row."""
    cells: dict[Column, GridCell] = field(default_factory=dict)
    averages: dict[str, GridCell] = field(default_factory=dict)


@dataclass(slots=True)
class Grid:
    """The wide table before it is written."""

    columns: list[Column]
    averages: list[str]
    rows: list[GridRow]
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The columns to show."""

    columns: tuple[str, ...] = ("task",)
    """`task` = each task's headline number; `metric` = one row per task and one column per metric;
    other words are names of metrics, which give one column per task."""
    by: str | None = None
    """A group name: one row per task, one column per group."""
    tasks: tuple[str, ...] | None = None
    """Only these tasks and groups, in this order."""
    judges: Mapping[str, str] = field(default_factory=dict)
    """Task -> its own judge, which wins a tie."""
    order: tuple[str, ...] = ()
    """The order of columns without `tasks` (`order.column_order`); others follow as they come."""

    @property
    def row_per_task(self) -> bool:
        """Whether each row belongs to one task."""
        return "metric" in self.columns or self.by is not None


def build_grid(
    scored: Sequence[Scored], wanted: Wanted, reported: Sequence[ReportedTable] = ()
) -> Grid:
    """Lay out measured and reported numbers; other modules add averages and marks."""
    chosen = [one for one in scored if wanted.tasks is None or one.task in wanted.tasks]
    columns: list[Column] = []
    rows = _measured_rows(chosen, wanted, reported, columns)
    if not wanted.row_per_task:
        rows += _reported_rows(wanted, reported, columns)
    order = {task: i for i, task in enumerate(wanted.tasks or wanted.order)}
    columns.sort(key=lambda column: order.get(column.task, len(order)))
    grid = Grid(columns, [], rows)
    cells = [cell for row in rows for cell in row.cells.values()]
    if readers := {cell.reader for cell in cells if cell.reader}:
        grid.remarks.append(readers_remark(readers))
    if any(column.metric == DEPENDENCE for column in columns):
        grid.remarks += dependence_remarks([one.document for one in chosen])
    grid.remarks += _precision_remarks(rows)
    grid.remarks += [table.note for table in reported if table.note and _shown(table, columns)]
    return grid


def _precision_remarks(rows: Sequence[GridRow]) -> list[str]:
    """A line that lists the models of unknown precision."""
    names = {
        row.model: None
        for row in rows
        for cell in row.cells.values()
        if cell.scored is not None and unknown_precision(cell.scored)
    }
    why = "precision unknown: the run was made before it was recorded"
    return [f"{', '.join(names)}: {why}."] if names else []


def _shown(table: ReportedTable, columns: Sequence[Column]) -> bool:
    known = {(column.task, column.metric) for column in columns}
    return any((one.task, one.metric) in known for one in table.columns)


def _measured_rows(
    scored: Sequence[Scored],
    wanted: Wanted,
    reported: Sequence[ReportedTable],
    columns: list[Column],
) -> list[GridRow]:
    by_row: dict[str, list[Scored]] = {}
    for one in scored:
        by_row.setdefault(one.key, []).append(one)
    found = [part for members in by_row.values() for part in _apart(members)]
    ordered = sorted(found, key=lambda part: part[0][0].spec.model.id)
    labels = [
        ", ".join(filter(None, (label, own)))
        for label, (_, own) in zip(
            setting_labels([members[0].spec for members, _ in ordered]), ordered, strict=True
        )
    ]
    usual = usual_judges(scored, wanted.judges)
    versions = _versions(scored, usual)
    readers = usual_readers(one.document for one in scored)
    of_task = _task_versions(scored)
    rows = []
    for (members, _), label in zip(ordered, labels, strict=True):
        for judge, chosen in _by_judge(members, usual).items():
            setting = f"{label}, judge={judge}" if judge else label
            row = GridRow("measured", members[0].spec.model.id, setting)
            for one in chosen:
                if wanted.row_per_task:
                    row = GridRow("measured", row.model, setting, one.task)
                for column, value in _values(one, wanted, reported):
                    cell = _cell(
                        one, value, usual[one.task], versions.get(one.task), of_task[one.task]
                    )
                    if needs_reading(metric := _metric(column, wanted)):
                        cell = _read_cell(cell, one.document, metric, readers.get(one.task))
                    if metric == DEPENDENCE:
                        cell = replace(cell, ranked=False)
                    row.cells[_known(column, columns)] = cell
                if wanted.row_per_task and row.cells:
                    rows.append(row)
            if not wanted.row_per_task and row.cells:
                rows.append(row)
    for row in rows:
        row.source = _source([cell.scored for cell in row.cells.values() if cell.scored])
    return rows


def _apart(members: Sequence[Scored]) -> list[tuple[list[Scored], str]]:
    """Split documents of one row key into rows: two runs of one task never share a row.

    Returns:
        (documents, label) of each row; the label distinguishes a run from others of its task. The
        first row has the tasks with one run.
    """
    runs = {
        task: list(dict.fromkeys(one.runs[0].path for one in members if one.task == task))
        for task in dict.fromkeys(one.task for one in members)
    }
    rows = [([one for one in members if len(runs[one.task]) == 1], "")]
    for task, paths in runs.items():
        if len(paths) == 1:
            continue
        found = [[o for o in members if (o.task, o.runs[0].path) == (task, p)] for p in paths]
        labels = copy_labels([one[0].spec for one in found], paths)
        rows += zip(found, labels, strict=True)
    return [row for row in rows if row[0]]


def _by_judge(members: Sequence[Scored], usual: Mapping[str, str]) -> dict[str, list[Scored]]:
    """Distribute one setting's documents over rows.

    The first row, named "", has each task by the judge of its column, or by its only judge. The
    verdicts of other judges are in one row per judge.
    """
    rows: dict[str, list[Scored]] = {"": []}
    for task in dict.fromkeys(one.task for one in members):
        found = [one for one in members if one.task == task]
        first = next((one for one in found if one.judge == usual[task]), found[0])
        for one in found:
            rows.setdefault("" if one is first else one.judge, []).append(one)
    return rows


def usual_judges(scored: Sequence[Scored], own: Mapping[str, str]) -> dict[str, str]:
    """Task -> the judge of most rows; the task's own judge wins a tie."""
    judges: dict[str, dict[str, set[str]]] = {}
    for one in scored:
        judges.setdefault(one.task, {}).setdefault(one.judge, set()).add(one.key)
    return {task: _most_used(found, own.get(task)) for task, found in judges.items()}


def _most_used(rows: Mapping[str, set[str]], own: str | None) -> str:
    return min(rows, key=lambda judge: (-len(rows[judge]), bare(judge) != own, judge))


def _versions(scored: Sequence[Scored], usual: Mapping[str, str]) -> dict[str, str]:
    """Task -> the most common journal of verdicts (judge and hash) among its judge's rows."""
    found: dict[str, Counter[str]] = {}
    for one in scored:
        if one.judge == usual[one.task] and one.document.get("verdicts"):
            found.setdefault(one.task, Counter())[str(one.document["verdicts"])] += 1
    return {task: counts.most_common(1)[0][0] for task, counts in found.items()}


def _task_versions(scored: Sequence[Scored]) -> dict[str, str]:
    """Task -> its most common version; the newest wins a tie."""
    found: dict[str, Counter[str]] = {}
    for one in scored:
        found.setdefault(one.task, Counter())[str(one.document["version"])] += 1
    return {
        task: max(counts, key=lambda version: (counts[version], len(version), version))
        for task, counts in found.items()
    }


def headline(document: dict[str, Any]) -> str:
    """The headline metric of a task: its first."""
    return str(next(iter(document["metrics"])))


def _values(
    one: Scored, wanted: Wanted, reported: Sequence[ReportedTable]
) -> list[tuple[Column, dict[str, Any]]]:
    """The columns that a document fills, with its values."""
    metrics = one.document["metrics"]
    if wanted.by is not None:
        cells = category_cells(one.document, wanted.by, wanted.columns)
        return [(Column("", title, title), value) for title, value in cells]
    if "metric" in wanted.columns:
        rates = one.document["rates"]
        return [
            (Column("", name, name + arrow(name)), value)
            for name, value in metrics.items()
            if name != "accuracy_strict" or rates["scored"] < rates["total"]
        ]
    found = []
    for word in wanted.columns:
        name = headline_of(one, reported) if word == "task" else word
        if name in metrics:
            found.append((_task_column(one.task, name, word, wanted), metrics[name]))
    return found


def headline_of(one: Scored, reported: Sequence[ReportedTable]) -> str:
    """The metric to show for a task: the reported one, if reported rows are shown."""
    metrics = one.document["metrics"]
    for table in reported:
        for column in table.columns:
            if table.headline and column.task == one.task and column.metric in metrics:
                return column.metric
    return headline(one.document)


def _task_column(task: str, metric: str, word: str, wanted: Wanted) -> Column:
    """A task's column. Its title names the metric unless it is plain accuracy."""
    plain = word == "task" and metric == HEADLINE
    title = task if plain else f"{task} {metric}{arrow(metric)}"
    return Column(task, metric, title, word == "task")


def _known(column: Column, columns: list[Column]) -> Column:
    """The existing column of the same task and metric; else this one, which is added."""
    for known in columns:
        if (known.task, known.metric) == (column.task, column.metric):
            return known
    columns.append(column)
    return column


def _cell(
    one: Scored, value: dict[str, Any], usual: str, version: str | None, of_task: str
) -> GridCell:
    """A measured cell, with the reasons why it must not be ranked."""
    rates = one.document["rates"]
    reasons = []
    if (made := str(one.document["version"])) != of_task:
        reasons.append(f"version {made} of the task, the column's other cells have {of_task}")
    if (partial := partial_note(one)) is not None:
        reasons.append(partial)
    if rates["total"] and not rates["ranked"]:
        # The share is shown by `--layout long`: here one note per table, not one per cell.
        why = why_empty(one.document)
        reasons.append(why or "fewer than 99 % of the responses were scored")
    if one.judge != usual:
        reasons.append(f"judged by {one.judge}, the column's other cells by {usual}")
    elif version is not None and one.document.get("verdicts") != version:
        reasons.append(f"judged by another version or model of {usual} than most of the column")
    if footnote := one.document.get("footnote"):
        reasons.append(str(footnote))
    own = value.get("unit") == "own"
    return GridCell(
        value["value"] if own else _percent(value["value"]),
        value["low"] if own else _percent(value["low"]),
        value["high"] if own else _percent(value["high"]),
        n=value["n"],
        judge=one.judge,
        notes=tuple(reasons),
        # Blind runs are diagnostic and do not compete.
        ranked=not reasons and value["value"] is not None and one.spec.variant == "none",
        scored=one,
        digits=4 if own else 1,
    )


def _metric(column: Column, wanted: Wanted) -> str:
    """The metric of a column; columns of categories have it only in their titles."""
    if wanted.by is None:
        return column.metric
    return column.title.removesuffix(arrow("lsr")).rpartition(" ")[2]


def _read_cell(
    cell: GridCell, document: dict[str, Any], metric: str, usual: str | None
) -> GridCell:
    """A cell of the second pass, with its reader and whether it can be ranked."""
    reader, notes = reader_label(document), list(cell.notes)
    if ill_read(document):
        notes.append(UNREAD)
    if (missing := undescribed(metric, document)) is not None:
        notes.append(missing)
    if ill_cut(document):
        notes.append(CUT)
    if reader != usual:
        notes.append(f"descriptions read by {reader}, those of the column's other cells by {usual}")
    return replace(cell, reader=reader, notes=tuple(notes), ranked=cell.ranked and not notes)


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _source(scored: Sequence[Scored]) -> str:
    """Date, version and judge of a measured row."""
    metas = [run.meta() for one in scored for run in one.runs]
    dates = sorted({str(meta.get("updated", ""))[:10] for meta in metas} - {""})
    versions = sorted({str((meta.get("versions") or {}).get("vsr1-bench", "")) for meta in metas})
    judges = sorted({one.judge for one in scored})
    days = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}" if dates else "–"
    known = "/".join(version for version in versions if version)
    return ", ".join([days, *([f"vsr1-bench {known}"] if known else []), "/".join(judges)])


def _reported_rows(
    wanted: Wanted, reported: Sequence[ReportedTable], columns: list[Column]
) -> list[GridRow]:
    """Rows of publications, a publication's of one model under one setting put together."""
    rows: dict[tuple[str, str, str], GridRow] = {}
    sources: dict[tuple[str, str, str], list[str]] = {}
    for table in reported:
        for i, column in enumerate(table.columns):
            word = _word(column.metric, table.headline, wanted)
            if word is None or (wanted.tasks is not None and column.task not in wanted.tasks):
                continue
            here = _known(_task_column(column.task, column.metric, word, wanted), columns)
            for printed in table.rows:
                value = printed.values[i]
                if value is None:
                    continue
                key = (printed.model, printed.setting, publication(printed.source))
                row = rows.setdefault(key, GridRow("reported", *key[:2], publication=key[2]))
                row.cells[here] = GridCell(value, judge=table.judge)
                judged = f" (judge {table.judge})" if table.judge else ""
                sources.setdefault(key, []).append(printed.source + judged)
    for key, row in rows.items():
        row.source = _publications(sources[key])
    return list(rows.values())


def publication(source: str) -> str:
    """The publication of a source: `arXiv:…` of `arXiv:…, table 2`."""
    return source.partition(", ")[0]


def _publications(sources: Sequence[str]) -> str:
    """Sources as one text, each publication named once: `arXiv:…, table 2, table 5`."""
    places: dict[str, list[str]] = {}
    for source in dict.fromkeys(sources):
        places.setdefault(publication(source), []).append(source.partition(", ")[2])
    return "; ".join(", ".join([name, *filter(None, found)]) for name, found in places.items())


def _word(metric: str, is_headline: bool, wanted: Wanted) -> str | None:
    """Which of the wanted columns a reported metric belongs to; None = not wanted."""
    if metric in wanted.columns:
        return metric
    return "task" if is_headline and "task" in wanted.columns else None
