"""Prints what audits found, one row per benchmark, from the JSON files that `audit` writes.

`python scripts/audit_summary.py FOLDER`; docs/audit.md holds the table of benchmark slices.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from tabulate import tabulate

from vsr1_bench.audit.page import p_text, percent

HEADINGS = (
    *("benchmark", "items", "faults", "duplicates", "contradictions"),
    *("most frequent answer", "chance", "forest", "shuffled", "p"),
)


def summary(document: dict[str, Any]) -> tuple[str, ...]:
    """The row of one benchmark."""
    repeats, forest = document["repeats"], document["forest"]
    prior = next((p for p in document["priors"] if "per form" in p["rule"]), None)
    return (
        document["task"],
        f"{document['n']:,}",
        f"{len(document['faults']):,}",
        f"{len(repeats['exact']) + len(repeats['near']):,}",
        f"{len(repeats['contradictions']):,}",
        percent(prior["share"]) if prior else "–",
        percent(prior["chance"]) if prior else "–",
        *(
            (percent(forest["accuracy"]), percent(forest["chance"]), p_text(forest["p_value"]))
            if forest
            else ("–", "–", "–")
        ),
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where `audit` has written its pages")
    folder = parser.parse_args().folder
    documents = [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))]
    rows = [summary(document) for document in documents]
    align = ("left", *("right",) * (len(HEADINGS) - 1))
    print(tabulate(rows, HEADINGS, tablefmt="pipe", disable_numparse=True, colalign=align))


if __name__ == "__main__":
    main()
