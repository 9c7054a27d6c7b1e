"""Write the table of the answer rules: how often each one decides, and how well.

Usage: python scripts/answer_rules.py LABELLED.jsonl.gz [--write docs/answers.md]

The file holds lines `{set, id, response, answer, answer_type, choices?, question?, right}`: answers
of real models with the label that the benchmark's authors gave. Each is graded as
`vsr1-bench grade` does, `math` items by the judge `math`, others by `string_match`.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

from vsr1_bench.answers.rules import ALL, RULES, Rule
from vsr1_bench.judge import Item
from vsr1_bench.judging.worker import Grader
from vsr1_bench.records import Verdict
from vsr1_bench.registry import get_judge

BEGIN, END = "<!-- the table of the rules -->", "<!-- its end -->"
HEAD = (
    "| Rule | Answer types | Reads | Decided | Agreement | False right |\n|---|---|---|---|---|---|"
)


def main() -> None:
    """Count, and print the table or put it into a document."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("labelled", type=Path)
    parser.add_argument("--write", type=Path, help="a document with the two marks of the table")
    options = parser.parse_args()
    with gzip.open(options.labelled, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    table = render(count(rows))
    if options.write is None:
        print(table)
        return
    before, _, rest = options.write.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    options.write.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", "utf-8")


def count(rows: list[dict[str, Any]]) -> dict[str | None, Counter[str]]:
    """Rule (None: none found anything) -> how often it decided, agreed, was falsely right."""
    counts: dict[str | None, Counter[str]] = {}
    with Grader(get_judge("math")) as formulas, Grader(get_judge("string_match")) as strings:
        for row in rows:
            grader = formulas if row["answer_type"] == "math" else strings
            verdict = grader.grade(_item(row))
            ours = verdict.outcome == "correct"
            tally = counts.setdefault(_rule(verdict), Counter())
            tally["decided"] += 1
            tally["agreed"] += ours == row["right"]
            tally["false right"] += ours and not row["right"]
    return counts


def render(counts: dict[str | None, Counter[str]]) -> str:
    """The table in Markdown, in the rules' order."""
    lines = [HEAD]
    for rule in RULES:
        lines.append(
            f"| `{rule.name}` | {_kinds(rule)} | {_reads(rule)} | {_cells(counts, rule.name)} |"
        )
    lines.append(f"| none | all | nothing was found | {_cells(counts, None)} |")
    return "\n".join(lines)


def _cells(counts: dict[str | None, Counter[str]], name: str | None) -> str:
    tally = counts.get(name, Counter())
    share = f"{100 * tally['agreed'] / tally['decided']:.1f} %" if tally["decided"] else ""
    return f"{tally['decided']:,} | {share} | {tally['false right']}"


def _kinds(rule: Rule) -> str:
    return "all" if rule.kinds == ALL else ", ".join(rule.kinds)


def _reads(rule: Rule) -> str:
    return (rule.read.__doc__ or "").partition("\n\n")[0].replace("\n", " ").replace("|", "\\|")


def _item(row: dict[str, Any]) -> Item:
    choices = row.get("choices")
    return Item(
        row["id"],
        row["response"],
        str(row["answer"]),
        row["answer_type"],
        tuple(choices) if choices else None,
        row.get("question") or "",
    )


def _rule(verdict: Verdict) -> str | None:
    return verdict.how


if __name__ == "__main__":
    main()
