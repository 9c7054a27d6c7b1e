"""The names under which a run is published: its model, and models named by a path.

A server may serve a model under a path such as `/data/ann/big`. Then names of judges, readers and
files contain that path. Only its last component is published. A reader's name is part of its
digest, and the digest is part of every reading's key, so both change everywhere.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote, unquote

from vsr1_bench.data.circular import CIRCULAR
from vsr1_bench.perception.reader import SELF, ReaderSpec, reading_key
from vsr1_bench.scoring.seeing import identity, readers_of
from vsr1_bench.store.run_folder import RunFolder, safe_name
from vsr1_bench.store.spec import RunSpec

_BRACKETS = re.compile(r"\[([^\[\],]*)")
_PATH = re.compile(r"[/\\~.]|[A-Za-z]:[\\/-]")
_CUT = re.compile(r"[\\/].*~[0-9a-f]{8}\Z")
"""What `judge_names.model_label` leaves of a long name: its end, which may be a path's."""
_BY_JUDGE = {"judgments": True, "perception_judgments": True, "replies": True, "scores": False}
"""Folders of files that bear a judge's name -> whether a hash follows it."""


def published_name(model: str) -> str:
    """A model's name; of a path or an address its last part."""
    if not (_PATH.match(model) or "://" in model or _CUT.search(model)):
        return model
    return re.split(r"[\\/]", model.rstrip("\\/"))[-1].lstrip("~.") or "model"


def published_judge(name: str) -> str:
    """A judge's name, each model in its brackets under its published name."""
    return _BRACKETS.sub(lambda found: f"[{published_name(found[1])}", name)


class Renaming:
    """The names in one run's files."""

    def __init__(self, run: RunFolder, model: str | None) -> None:
        """Read the run's readers, and also its readings if their keys change.

        Args:
            run: A stored run.
            model: New name of its model; None = unchanged.

        Raises:
            StoreError: the run cannot be read.
        """
        self.spec = _named(run.spec(), model)
        self._readers: dict[str, ReaderSpec] = {}
        """Digest -> the reader under its published name."""
        for reader in readers_of(run):
            own = model if reader.name == SELF else published_name(reader.model)
            self._readers[reader.digest()] = reader.model_copy(
                update={"model": reader.model if own is None else own}
            )
        self._digests = {old: new.digest() for old, new in self._readers.items()}
        changed = {old for old, new in self._digests.items() if old != new}
        readings = run.perceptions().items() if changed else ()
        self._keys = {
            key: reading_key(made.source, self._digests[made.reader], made.description_hash)
            for key, made in readings
            if made.reader in changed
        }

    def file(self, inside: str) -> str:
        """Where a file goes, inside the run's folder."""
        path = PurePosixPath(inside)
        if (hashed := _BY_JUDGE.get(path.parent.name)) is not None:
            name, dash, digest = path.stem.rpartition("-") if hashed else (path.stem, "", "")
            judge = quote(published_judge(unquote(name)), safe="")
            return str(path.with_name(f"{judge}{dash}{digest}{path.suffix}"))
        return inside

    def reader_file(self, document: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Where a reader's file goes, and what it says."""
        reader = self._readers[ReaderSpec.model_validate(document["spec"]).digest()]
        digest = reader.digest()
        renamed = {**document, "digest": digest, "spec": reader.model_dump(mode="json")}
        return f"readers/{safe_name(reader.label)}-{digest[:8]}.json", renamed

    def record(self, kind: str, record: dict[str, Any]) -> dict[str, Any]:
        """A journal's line."""
        if kind == "perceptions":
            record = record | {"reader": self._digests.get(record["reader"], record["reader"])}
        if kind in ("perceptions", "perception_judgments"):
            record = record | {"key": self._keys.get(record["key"], record["key"])}
        return record

    def score(self, document: dict[str, Any]) -> dict[str, Any]:
        """A score document."""
        document = document | {"model": self.spec.model.id, "spec_hash": self.spec.digest()}
        document["judge"] = published_judge(document["judge"])
        if "verdicts" in document:
            document["verdicts"] = PurePosixPath(
                self.file(f"judgments/{PurePosixPath(document['verdicts']).name}")
            ).name
        if "blind" in document:
            document["blind"] = {
                variant: part | {"spec_hash": self._twin(variant)}
                for variant, part in document["blind"].items()
            }
        if "circular" in document:
            document["circular"] = document["circular"] | {"spec_hash": self._twin(CIRCULAR)}
        if "perception" in document:
            first = document["perception"]
            others = [self._part(part) for part in first["others"]]
            document["perception"] = {**self._part(first), "others": others}
        return document

    def _twin(self, variant: str) -> str:
        return self.spec.model_copy(update={"variant": variant}).digest()

    def _part(self, part: dict[str, Any]) -> dict[str, Any]:
        reader = self._readers.get(part["reader"]["digest"])
        return part if reader is None else part | {"reader": identity(reader)}


def _named(spec: RunSpec, model: str | None) -> RunSpec:
    if model is None:
        return spec
    return spec.model_copy(update={"model": spec.model.model_copy(update={"id": model})})
