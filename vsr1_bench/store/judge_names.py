"""Names of judges: as typed after `--judge`, and as stored with verdicts.

A name is `NAME`, `NAME[MODEL]`, `NAME[MODEL,PROMPT]`, or `NAME:ARGUMENT`. The argument of a judge
that combines others holds their names: `cascade:math,openai[org/M,paper]`. A stored name always has
the model, so that verdicts of two models are kept apart; it can be typed as it is. The name of a
label file has a hash of its content: `labels[ann~3f2a1b9c]`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import quote

from vsr1_bench.errors import UsageError

LABELS = "labels"
LONGEST = 90
"""Most characters of a model in a file name; two such models in one name fit a file system."""
_SPEC = re.compile(r"([^\[\]:]+)(?:\[([^\[\]]*)\])?(?::(.*))?", re.DOTALL)
_BRACKETS = re.compile(r"\[[^\[\]]*\]")
_ODD = re.compile(r"[^A-Za-z0-9._:/@+=~-]+")


@dataclass(frozen=True, slots=True)
class JudgeName:
    """A judge's name, taken apart."""

    kind: str
    """The judge's name in the registry."""
    brackets: str | None = None
    """What is in its brackets: a model, or a model and a prompt."""
    argument: str | None = None
    """What follows its colon."""


def read_name(spec: str) -> JudgeName:
    """Take a name apart.

    Raises:
        UsageError: the name has another form.
    """
    match = _SPEC.fullmatch(spec.strip())
    if match is None:
        raise UsageError(f"judge {spec!r}: wanted NAME, NAME[MODEL], or NAME:ARGUMENT")
    kind, brackets, argument = match.groups()
    return JudgeName(
        kind.strip(),
        None if brackets is None else brackets.strip(),
        None if argument is None else argument.strip(),
    )


def llm_name(kind: str, model: str, prompt: str | None) -> str:
    """Name of a judging model; `prompt` is None if it is the usual one."""
    return f"{kind}[{model_label(model)}{f',{prompt}' if prompt else ''}]"


def model_label(model: str) -> str:
    """A model as written in names; it is shortened if it is long or would break the name."""
    plain = _ODD.sub("-", model)
    if plain == model and len(quote(model, safe="")) <= LONGEST:
        return model
    digest = hashlib.sha256(model.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{plain[-LONGEST // 3 :]}~{digest[:8]}"


def label_file(names: Collection[str]) -> str | None:
    """The only label file among the judges of a run; None if there is none, or several."""
    files = [name for name in names if bare(name) == LABELS]
    return files[0] if len(files) == 1 else None


def name_in_run(judge: str, judged: Collection[str]) -> str:
    """A judge's name among those of a run; `labels` means the run's only label file."""
    return (judge == LABELS and label_file(judged)) or judge


def bare(name: str) -> str:
    """A name without its models and prompts."""
    return _BRACKETS.sub("", name)


def split_first(text: str) -> tuple[str, str]:
    """Split at the first comma outside brackets; the second part may be empty."""
    depth = 0
    for place, char in enumerate(text):
        depth += (char == "[") - (char == "]")
        if char == "," and depth == 0:
            return text[:place].strip(), text[place + 1 :].strip()
    return text.strip(), ""


def stored_name(typed: str, stored: Collection[str], flag: str = "--judge") -> str | None:
    """The stored name that a typed name means: the same, or the only one with other brackets.

    `openai` means `openai[M]` if no other model has judged. The kind alone (`cascade`) is enough,
    too. None = no such name is stored.

    Raises:
        UsageError: the name is ambiguous.
    """
    wanted = ",".join(part.strip() for part in typed.split(","))
    if wanted in stored:
        return wanted
    matches = sorted({name for name in stored if bare(name) == wanted})
    matches = matches or sorted({name for name in stored if read_name(name).kind == wanted})
    if len(matches) > 1:
        raise UsageError(f"{flag} {typed}: several are stored; name one of: {', '.join(matches)}")
    return matches[0] if matches else None
