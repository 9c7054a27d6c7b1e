"""Labels: verdicts from a file, made by people or by another tool."""

import hashlib
import json
import sys
from typing import Any

from vsr1_bench.errors import UsageError
from vsr1_bench.judge import Item, JudgeContext, JudgeRunner, ModelJudge, RuleJudge
from vsr1_bench.judging.open import RuleRunner
from vsr1_bench.records import Outcome, Verdict
from vsr1_bench.store.judge_names import LABELS, llm_name

WANTED = '{"id": … or "row": N, "index"?: N, "label": …}'
# `unclear` is not a verdict; a task may decide what it means (`Task.verdict_of_label`).
OUTCOMES: dict[str, Outcome] = dict.fromkeys(("correct", "right", "true", "1"), "correct")
OUTCOMES |= dict.fromkeys(("incorrect", "wrong", "false", "0"), "incorrect")
UNCLEAR = {"2": "unclear", "unknown": "unclear"}


def open_labels(context: JudgeContext) -> JudgeRunner:
    """Read the file of labels."""
    options = context.options
    if options.labels is None:
        raise UsageError(f"judge 'labels' needs --labels FILE.jsonl with lines {WANTED}")
    try:
        content = options.labels.read_bytes()
    except OSError as error:
        raise UsageError(f"--labels {options.labels}: {error.strerror}") from error
    labels: dict[tuple[str | int, int | None], Any] = {}
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            name = str(record["id"]) if "id" in record else int(record["row"])
            key, label = (name, record.get("index")), record["label"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise UsageError(f"{options.labels}:{number}: wanted {WANTED}") from None
        if labels.setdefault(key, label) != label:
            raise UsageError(f"{options.labels}:{number}: {name!r} has two labels")

    def grade(item: Item) -> Verdict:
        row = -1 if item.row is None else item.row
        label = labels.get((item.sample_id, item.index), labels.get((row, item.index)))
        if label is None or item.stage != "answer":  # nobody has labelled a second pass
            return Verdict("unscored", reason="no label")
        if isinstance(label, float) and 0 <= label <= 1:
            return Verdict("correct" if label == 1 else "incorrect", score=label)
        said = str(label).strip().lower()
        said = UNCLEAR.get(said, said)
        outcome = OUTCOMES.get(said, "unscored")
        return Verdict(outcome, label=said, reason=None if said in OUTCOMES else f"label {said!r}")

    digest = hashlib.sha256(content).hexdigest()
    name = llm_name(LABELS, f"{options.labels.stem}~{digest[:8]}", None)
    if context.spec not in (LABELS, name):
        raise UsageError(f"judge {context.spec!r}: the file makes it {name!r}; write {LABELS!r}")
    judge = RuleJudge(name, 1, grade, JUDGE.description, identity=digest)
    return RuleRunner(judge, home=sys.modules[__name__])


JUDGE = ModelJudge(LABELS, 1, open_labels, "verdicts from a file: people's, or another tool's")
