"""Reported rows: one JSON file per table, every row with its source.

    {"schema": 1, "title": "…", "unit": "percent", "judge": "…" (where stated), "headline": true,
     "columns": [{"name": "MMMU-Pro", "task": "mmmu_pro", "metric": "paper_weighted"}, …],
     "average": {"name": "paper average", "weights": null},
     "rows": [{"model": "…", "setting": "…", "source": "arXiv:…, table 2",
               "values": [40.7, null, …], "average": 52.2}, …]}

A value is what was printed, in percent; `null` was not reported. `average.weights` are the numbers
by which the columns count, where the publication weighs them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from vsr1_bench.errors import StoreError, UsageError
from vsr1_bench.store.spec import Strict

Percent = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1, max_length=500)]


class ReportedColumn(Strict):
    """The task and metric of a printed column."""

    name: Text
    """As printed."""
    task: Text
    """The task or group of tasks that measures the same."""
    metric: Text
    """Its metric."""


class ReportedAverage(Strict):
    """How the publication averages its columns."""

    name: Text
    weights: tuple[Annotated[float, Field(gt=0)], ...] | None = None
    """One weight per column; None = equal weights."""


class ReportedRow(Strict):
    """One printed row."""

    model: Text
    setting: str = ""
    printed_as: str = ""
    """The row's name as printed, if `model` and `setting` differ from it."""
    runs: tuple[Text, ...] = ()
    """Names of its runs in the authors' raw outputs."""
    source: Text
    """Publication and table."""
    values: tuple[Percent | None, ...]
    average: Percent | None = None
    """As printed, even if it is not the mean of the row."""


class ReportedTable(Strict):
    """A published table."""

    schema_version: Annotated[Literal[1], Field(alias="schema")]
    title: Text
    unit: Literal["percent"]
    judge: str | None = None
    note: str | None = None
    headline: bool = True
    """Whether these are the headline numbers of its tasks."""
    columns: Annotated[tuple[ReportedColumn, ...], Field(min_length=1)]
    average: ReportedAverage | None = None
    rows: tuple[ReportedRow, ...]

    @model_validator(mode="after")
    def _rectangular(self) -> Self:
        for row in self.rows:
            if len(row.values) != len(self.columns):
                raise ValueError(
                    f"row {row.model!r}: {len(row.values)} values for {len(self.columns)} columns"
                )
            if row.average is not None and self.average is None:
                raise ValueError(f"row {row.model!r} has an average, the table does not name one")
        weights = self.average.weights if self.average else None
        if weights is not None and len(weights) != len(self.columns):
            raise ValueError(f"{len(weights)} weights for {len(self.columns)} columns")
        return self


OWN = frozenset({"title", "unit", "columns", "rows"})
"""Fields that identify a table; the folder also holds other kinds of results."""


def load_table(path: Path) -> ReportedTable | None:
    """Read one reported table; None if the file is something else.

    Raises:
        StoreError: the file cannot be read, or is an invalid table.
    """
    try:
        document = json.loads(path.read_text("utf-8"))
        if isinstance(document, dict) and not OWN & document.keys():
            return None
        return ReportedTable.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise StoreError(f"{path}: {where or 'table'}: {first['msg']}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise StoreError(f"{path}: not a table of reported results ({error})") from error


def load_reported(folder: Path) -> list[ReportedTable]:
    """Read every reported table below a folder, in the order of file names.

    A published bundle of runs (a folder with a `manifest.json`) holds no reported tables; documents
    of other kinds (a loop's summary) are ignored.

    Raises:
        UsageError: there is no such folder, or no table in it.
        StoreError: one of the tables is invalid.
    """
    documents = sorted(folder.rglob("*.json")) if folder.is_dir() else []
    bundles = [path.parent for path in documents if path.name == "manifest.json"]
    paths = [path for path in documents if not any(path.is_relative_to(b) for b in bundles)]
    tables = [table for path in paths if (table := load_table(path)) is not None]
    if not tables:
        raise UsageError(
            f"--results {folder}: no reported tables (JSON files) there; give the folder that "
            "holds them, e.g. results/ of vsr1-bench's repository"
        )
    return tables


def results_folder() -> Path:
    """The folder `results` of the present folder, or of the checkout that runs."""
    here = Path("results")
    beside = Path(__file__).resolve().parents[2] / "results"
    return here if here.is_dir() or not beside.is_dir() else beside
