"""The sections of an audit's page: what each check found, in words, tables and JSON."""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vsr1_bench._util.installing import install_command
from vsr1_bench.audit.duplicates import Repeats, find_repeats
from vsr1_bench.audit.forest import Forest, grow_forest, why_no_forest
from vsr1_bench.audit.items import Item, Items
from vsr1_bench.audit.page import Section, Table, examples, p_text, percent
from vsr1_bench.audit.priors import ALPHA, Distribution, Prior, distributions, priors

TEXT_SHOWN = 80
"""Characters of a question on a page."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one group of checks adds to an audit."""

    findings: tuple[str, ...]
    sections: tuple[Section, ...]
    document: dict[str, Any]


def faults_part(found: Items) -> Part:
    """Rows, ids, gold answers and images."""
    counts = Counter(fault.kind for fault in found.faults)
    rows = [(fault.kind, fault.id, fault.detail) for fault in found.faults]
    section = Section(
        "Rows, ids, gold answers and images",
        (_nothing_wrong(found),) if not rows else (),
        (examples(("fault", "item", "what"), rows),) if rows else (),
    )
    return Part(
        tuple(
            "no image can be read: are the images there?"
            if kind == "unreadable image" and not any(found.readable)
            else _times(n, kind)
            for kind, n in counts.most_common()
        ),
        (section,),
        {"faults": [asdict(fault) for fault in found.faults]},
    )


def _nothing_wrong(found: Items) -> str:
    images = f"all {len(found.shas):,} images open" if found.shas else "no item has an image"
    return f"All rows map, ids are unique, gold answers are possible, {images}."


def _times(n: int, what: str) -> str:
    """`1 repeated id`, `3 × repeated id`."""
    return f"1 {what}" if n == 1 else f"{n:,} × {what}"


def priors_part(items: Sequence[Item]) -> Part:
    """Answers without question or image."""
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
            _most_frequent(form),
            p_text(form.p_value),
        )
        for form in forms
    )
    headings = ("form", "items", "different answers", "the most frequent", "p (equal frequency)")
    return Table(headings, rows)


def _most_frequent(form: Distribution) -> str:
    """The answers that occur more than once, ten at most."""
    several = [(name, n) for name, n in form.answers[:10] if n > 1]
    shown = ", ".join(f"{name} {percent(n / form.n)}" for name, n in several)
    return shown or "each occurs once"


def repeats_part(found: Items) -> Part:
    """Duplicates and contradictions."""
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
    """The beginning of a text, without the marks of images before it."""
    text = text.removeprefix("<image>").lstrip()
    return text if len(text) <= TEXT_SHOWN else text[: TEXT_SHOWN - 1].rstrip() + "…"


def forest_part(items: Sequence[Item], cluster: str | None, *, progress: bool = True) -> Part:
    """What the wording alone gives away."""
    title = "Text-only forest: what the wording gives away"
    reason = why_no_forest(items)
    if reason is None and importlib.util.find_spec("sklearn") is None:
        reason = f"Not run: scikit-learn is missing: {install_command('audit')}"
    if reason is not None:
        return Part((), (Section(title, (reason,)),), {"forest": None})
    result = grow_forest(items, cluster, progress=progress)
    finding = (
        f"the wording alone gives {percent(result.accuracy)} of {result.n:,} items; shuffled "
        f"answers: {percent(result.chance)} (p {_compared(result.p_value)})"
    )
    section = Section(
        title,
        (
            "A random forest that has seen the questions and answers of the other folds, but no "
            "image, answers each item (test-set stress test, arXiv:2511.04655). It is held "
            f"against {len(result.shuffled)} forests on shuffled answers.",
            "The bias score of an item is the probability that the forest gives its gold answer. "
            "The items below can be guessed best.",
        ),
        (_chance_table(result), *_bias_tables(items, result)),
    )
    document = {
        "forest": {
            **{k: v for k, v in asdict(result).items() if k != "bias"},
            "accuracy": result.accuracy,
            "interval": result.interval,
            "chance": result.chance,
            "bias": {item.id: round(s, 4) for item, s in zip(items, result.bias, strict=True)},
        }
    }
    return Part((finding,) if result.suspicious else (), (section,), document)


def _chance_table(result: Forest) -> Table:
    low, high = result.interval
    shuffled = f"{min(result.shuffled):.1%} to {max(result.shuffled):.1%}".replace("%", " %")
    rows = (
        ("forest on the wording", percent(result.accuracy), f"95 % interval {percent(low)} to "
         f"{percent(high)}, p {_compared(result.p_value)}"),
        ("chance: shuffled answers", percent(result.chance), f"mean of {shuffled}"),
        ("chance: most frequent answer per form", percent(result.constant), ""),
        ("chance: one of the answers, drawn", percent(result.uniform), ""),
    )  # fmt: skip
    return Table(("who answers", "right", "how"), rows)


def _bias_tables(items: Sequence[Item], result: Forest) -> list[Table]:
    order = sorted(range(len(items)), key=lambda n: (-result.bias[n], n))
    worst = [
        (items[n].id, f"{result.bias[n]:.2f}", items[n].answer, shortened(items[n].question))
        for n in order
    ]
    features = tuple((name, percent(share)) for name, share in result.features)
    return [
        examples(("item", "bias score", "gold", "question"), worst, 10),
        Table(("feature", "share of the importance"), features),
    ]
