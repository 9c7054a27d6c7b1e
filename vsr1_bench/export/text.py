"""Text and file names that every writer takes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from vsr1_bench.store.run_folder import safe_name
from vsr1_bench.store.spec import RunSpec


def encodable(text: str) -> str:
    """A text as UTF-8 can hold it: half a surrogate pair becomes U+FFFD."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def all_encodable(value: Any) -> Any:
    """JSON values with every text, names included, as `encodable`."""
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, dict):
        return {encodable(str(name)): all_encodable(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [all_encodable(inner) for inner in value]
    return value


def file_name(spec: RunSpec) -> str:
    """The name of a run's files: model, task and the start of the spec's hash."""
    return f"{safe_name(spec.model.id)}--{safe_name(spec.task.name)}-{spec.digest()[:8]}"


def file_names(specs: Iterable[RunSpec]) -> list[str]:
    """A name for each run; copies of the same run are numbered."""
    seen: dict[str, int] = {}
    names = []
    for name in map(file_name, specs):
        folded = name.casefold()
        seen[folded] = seen.get(folded, 0) + 1
        names.append(name if seen[folded] == 1 else f"{name}-{seen[folded]}")
    return names
