"""Labels of rows (a run's settings) and headings, and differences between runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vsr1_bench.store.run_folder import RunFolder, stored_judge
from vsr1_bench.store.spec import RunSpec, canonical_json

ASPECTS = (
    "task version", "prompt", "data", "judge", "sampling", "weights", "precision", "engine",
    "variant", "other",
)  # fmt: skip
PRECISION = "precision"
"""One field for all of it; `unknown` for runs made before it was recorded."""
_OF_SECTION = {"model": "weights", "task": "task version", "selection": "data"}
_SHORT = 12
"""Number of characters of a hash that are shown."""
LOWER_IS_BETTER = frozenset({"lsr", "leakage", "no_description", "saw_but_wrong", "position_bias"})
"""The only definition of this. `name[variant]` counts as `name`."""


def flat(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one: `{"a": {"b": 1}}` -> `{"a.b": 1}`."""
    fields: dict[str, Any] = {}
    for name, value in document.items():
        if isinstance(value, Mapping):
            fields |= flat(value, f"{prefix}{name}.")
        else:
            fields[f"{prefix}{name}"] = value
    return fields


def spec_fields(spec: RunSpec) -> dict[str, Any]:
    """A spec's fields, flat, its precision in words."""
    document = spec.model_dump(mode="json")
    del document["model"]["precision"]
    return {**flat(document), PRECISION: spec.model.precision_label}


def row_key(spec: RunSpec) -> str:
    """The settings that runs in one row share: everything except the task and its data.

    The fingerprint of imported responses is that of their file, so it differs between tasks. For
    these, only the model's name is compared.
    """
    document = spec.model_dump(mode="json")
    del document["task"], document["data"]
    if spec.prompt.format in ("native", "own"):
        del document["prompt"]["hash"]  # of the task's own words
    if spec.sampling is None:
        document["model"] = spec.model.id
    return canonical_json(document)


def setting_labels(specs: Sequence[RunSpec]) -> list[str]:
    """Name each spec by its prompt and by fields that differ from others of its model."""
    asked = [_asked(spec) for spec in specs]
    labels = []
    for mine in asked:
        rivals = [other for other in asked if other["model.id"] == mine["model.id"]]
        words = [str(mine["prompt.format"])]
        if mine["variant"] != "none":
            words.append(f"variant={mine['variant']}")
        for name, value in mine.items():
            others = rivals
            if name == "prompt.hash":  # another format has other words anyway
                others = [o for o in rivals if o["prompt.format"] == mine["prompt.format"]]
            if name not in ("prompt.format", "variant") and any(
                value != other.get(name) for other in others
            ):
                words.append(f"{name.rpartition('.')[2]}={short(value)}")
        labels.append(", ".join(words))
    return labels


def copy_labels(specs: Sequence[RunSpec], paths: Sequence[Path]) -> list[str]:
    """Name runs of one task that differ only in the task's version or data.

    The names are the spec's differing fields; fingerprints are used only if nothing else differs,
    and the folder only if the fields do not distinguish the runs.
    """
    flats = [spec_fields(spec) for spec in specs]
    names = [name for name in flats[0] if len({str(one.get(name)) for one in flats}) > 1]
    names.sort(key=lambda name: not name.startswith("data."))
    plain = [name for name in names if not name.endswith((".fingerprint", ".hash"))]
    for chosen in (plain, names):
        labels = [", ".join(f"{name}={short(one.get(name))}" for name in chosen) for one in flats]
        if len(set(labels)) == len(labels):
            return labels
    return [f"run={path}" for path in paths]


def _asked(spec: RunSpec) -> dict[str, Any]:
    """A spec's fields but for the task and its data, in their order; see `row_key`."""
    left_out = {"schema_version"}
    if spec.prompt.format in ("native", "own"):
        left_out.add("prompt.hash")
    if spec.sampling is None:
        left_out.add("model.fingerprint")
    return {
        name: value
        for name, value in spec_fields(spec).items()
        if name not in left_out and not name.startswith(("task.", "data."))
    }


def short(value: Any) -> str:
    """A value in few characters; hashes are cut."""
    text = "–" if value is None else str(value)
    is_hash = len(text) >= 32 and all(c in "0123456789abcdef" for c in text)
    return text[:_SHORT] if is_hash else text


@dataclass(frozen=True, slots=True)
class Difference:
    """One field in which two runs differ."""

    aspect: str
    """One of `ASPECTS`."""
    field: str
    first: Any
    second: Any


def facts(run: RunFolder, judge: str | None = None) -> dict[str, Any]:
    """Everything that can change a run's score, flattened: its spec, its judge, its limit."""
    meta = run.meta()
    known = spec_fields(run.spec())
    judged, judge = run.judged(), stored_judge(judge, [run])
    names = [judge] if judge in judged else sorted(judged)
    known["judge.name"] = ", ".join(str(name) for name in names) or None
    known["judge.version"] = ", ".join(judged[str(name)].stem[-8:] for name in names) or None
    models = {
        model
        for document in run.scores()
        if document["judge"] in names and document.get("judging")
        for model in document["judging"]["models"]
    }
    known["judge.model"] = ", ".join(sorted(models)) or None
    known["other.limit"] = meta.get("limit")
    known["other.samples"] = meta.get("samples")
    known["other.backend"] = meta.get("backend")
    for name, version in (meta.get("versions") or {}).items():
        known[f"other.version of {name}"] = version
    return known


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Difference]:
    """The fields in which two runs differ, aspect by aspect (see `facts`)."""
    found = [
        Difference(aspect_of(name), name, first.get(name), second.get(name))
        for name in {**first, **second}
        if first.get(name) != second.get(name)
    ]
    return sorted(found, key=lambda one: (ASPECTS.index(one.aspect), one.field))


def aspect_of(field: str) -> str:
    """Which of `ASPECTS` a field of `facts` belongs to."""
    section = field.partition(".")[0]
    aspect = _OF_SECTION.get(section, section)
    return aspect if aspect in ASPECTS else "other"


def lower_is_better(metric: str) -> bool:
    """Whether lower values of this metric are better."""
    return metric.partition("[")[0] in LOWER_IS_BETTER


def arrow(metric: str) -> str:
    """The arrow in a heading: ↓ if lower is better, else nothing."""
    return " ↓" if lower_is_better(metric) else ""
