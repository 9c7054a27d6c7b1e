"""Runs to publish, bundles to spoil, and the attacks that a download must refuse."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zstandard

from vsr1_bench.data.dataset import DataOptions
from vsr1_bench.imports.responses import ImportOptions, import_responses
from vsr1_bench.scoring.runs import judge_and_score
from vsr1_bench.store.run_folder import RunFolder

ROWS = [{"question": f"{n} + 0?", "answer": f"so\n#### {n}"} for n in range(12)]
RIGHT = 9
"""Responses of `made_run` that are correct."""


def mirror(folder: Path, rows: list[dict[str, Any]] = ROWS) -> Path:
    """Rows of gsm8k as a data root."""
    place = folder / "mirror/openai/gsm8k/main"
    place.mkdir(parents=True, exist_ok=True)
    (place / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "mirror"


def made_run(folder: Path, model: str = "org/model", *, judge: str | None = None) -> RunFolder:
    """Twelve answers to gsm8k, nine of them right, judged and scored."""
    folder.mkdir(parents=True, exist_ok=True)
    responses = folder / "responses.jsonl"
    said = [f"\\boxed{{{n if n < RIGHT else 99}}}" for n in range(len(ROWS))]
    responses.write_text("".join(json.dumps({"response": text}) + "\n" for text in said))
    options = ImportOptions(
        "gsm8k",
        responses,
        model,
        by="row",
        output_path=folder / "runs",
        data=DataOptions(mirror(folder)),
        progress=False,
    )
    run = import_responses(options)
    judge_and_score(run, judge, progress=False)
    return run


def files_below(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@dataclass
class Bundle:
    """A bundle in a folder, to be spoilt."""

    folder: Path

    @property
    def manifest(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "manifest.json").read_text())
        return found

    @property
    def files(self) -> Path:
        """Where the manifest's paths start from."""
        return self.folder / str(self.manifest.get("root", ""))

    def write(self, manifest: Any) -> None:
        text = manifest if isinstance(manifest, str) else json.dumps(manifest)
        (self.folder / "manifest.json").write_text(text)

    def path(self, part: str) -> str:
        """The one file with this in its name."""
        (found,) = (f["path"] for f in self.manifest["files"] if part in f["path"])
        return str(found)

    def rename(self, part: str, new: str) -> None:
        """Another name in the manifest, and the file there, too, where that can be."""
        manifest = self.manifest
        for file in manifest["files"]:
            if part in file["path"]:
                old, file["path"] = file["path"], new.format(old=file["path"])
        self.write(manifest)
        files = self.files
        target = os.path.normpath(os.path.join(files, new.format(old=old)))
        if target.startswith(f"{files}/") and len(os.path.basename(target)) < 255:
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            (files / old).rename(target)

    def add(self, path: str, data: bytes = b"{}") -> None:
        """One more file in the manifest."""
        entry = {"path": path, "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
        manifest = self.manifest
        manifest["files"].append(entry)
        self.write(manifest)
        target = self.files / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)

    def replace(self, part: str, data: bytes, **stated: Any) -> None:
        """Other bytes of a file, whose hash and size the manifest then states rightly."""
        path, manifest = self.path(part), self.manifest
        packed = data
        if path.endswith(".zst"):
            packed = zstandard.ZstdCompressor(level=19).compress(data)
            stated = {
                "content_sha256": hashlib.sha256(data).hexdigest(),
                "content_size": len(data),
            } | stated
        (self.files / path).write_bytes(packed)
        for file in manifest["files"]:
            if file["path"] == path:
                file |= {"sha256": hashlib.sha256(packed).hexdigest(), "size": len(packed)} | stated
        self.write(manifest)

    def text(self, part: str) -> str:
        data = (self.files / self.path(part)).read_bytes()
        if self.path(part).endswith(".zst"):
            data = zstandard.ZstdDecompressor().decompressobj().decompress(data)
        return data.decode()

    def edit(self, part: str, old: str, new: str) -> None:
        """Exchange words in a file, and state the new hash."""
        text = self.text(part)
        assert old in text, (old, text[:300])
        self.replace(part, text.replace(old, new).encode())


Spoil = Callable[[Bundle], None]


def _link(bundle: Bundle) -> None:
    secret = bundle.folder.parent / "secret.txt"
    secret.write_text("not yours")
    target = bundle.files / bundle.path("generations")
    target.unlink()
    target.symlink_to(secret)


def _many(bundle: Bundle) -> None:
    manifest = bundle.manifest
    one = manifest["files"][0]
    top = one["path"].rsplit("/", 1)[0]
    manifest["files"] += [one | {"path": f"{top}/{n}.json"} for n in range(60_000)]
    bundle.write(manifest)


def _huge(bundle: Bundle) -> None:
    manifest = bundle.manifest
    for file in manifest["files"]:
        if "generations" in file["path"]:
            file |= {"size": 1 << 40, "content_size": 1 << 41}
    bundle.write(manifest)


def _bomb(bundle: Bundle) -> None:
    """A journal of 64 MiB in a few kB, which the manifest states."""
    bundle.replace("generations", b'{"a": "' + b"a" * (64 << 20) + b'"}\n')


def _lying_bomb(bundle: Bundle) -> None:
    """The same, of which the manifest says that it has 100 bytes."""
    bundle.replace("generations", b'{"a": "' + b"a" * (64 << 20) + b'"}\n', content_size=100)


def _twice_in_json(bundle: Bundle) -> None:
    text = (bundle.folder / "manifest.json").read_text()
    bundle.write(text.replace('"schema_version": 1', '"schema_version": 1, "schema_version": 1'))


def _respec(bundle: Bundle) -> None:
    """Another prompt in the spec, under the old hash and name."""
    bundle.edit("run.json", '"format": "imported"', '"format": "see_think"')


@dataclass(frozen=True)
class Attack:
    """What is done to a bundle, and the words with which it is refused."""

    name: str
    spoil: Spoil
    said: str


ATTACKS = (
    Attack(
        "an absolute path",
        lambda b: b.rename("samples", "/tmp/samples.jsonl.zst"),
        "an absolute path",
    ),
    Attack(
        "a path that climbs out (`../`)",
        lambda b: b.rename("samples", "runs/../../samples.jsonl.zst"),
        "a path that leaves its folder (..)",
    ),
    Attack(
        "a Windows drive (`C:`)",
        lambda b: b.rename("samples", "C:/x/y/samples.jsonl.zst"),
        "an absolute path",
    ),
    Attack(
        "a backslash path",
        lambda b: b.rename("samples", "runs\\..\\..\\samples.jsonl.zst"),
        "a backslash in a path",
    ),
    Attack("a link instead of a file", _link, "a link where a file is wanted"),
    Attack(
        "two names that differ in case only",
        lambda b: b.add(b.path("scores/").replace("string", "STRING")),
        "are one file on some file systems",
    ),
    Attack(
        "a name with a combining letter (NFC trick)",
        lambda b: b.add(b.path("scores/").replace("string", "stri\u0301ng")),
        "a character that a bundle's names do not have",
    ),
    Attack(
        "the same name twice",
        lambda b: b.add(b.path("scores/")),
        "are one file on some file systems",
    ),
    Attack(
        "a name of 5,000 characters",
        lambda b: b.rename("samples", "{old}" + "x" * 5000),
        "a name of over 200 or a path of over 400 characters",
    ),
    Attack(
        "a name that Windows keeps for itself (`con.json`)",
        lambda b: b.rename("scores/", "runs/org--model/x/scores/con.json"),
        "a name that Windows keeps for itself",
    ),
    Attack(
        "a name with a trailing dot",
        lambda b: b.rename("scores/", "{old}."),
        "begins or ends in a dot or a space",
    ),
    Attack(
        "a control character in a name",
        lambda b: b.rename("scores/", "{old}\u202egpj"),
        "a control character in a path",
    ),
    Attack(
        "a file that no run has (`evil.py`)",
        lambda b: b.add(b.path("run.json").replace("run.json", "evil.py")),
        "is not a file of a run of this bundle",
    ),
    Attack(
        "a file that the manifest does not name",
        lambda b: (b.files / b.path("run.json")).with_name("extra.jsonl").write_text("") and None,
        "is not in the manifest",
    ),
    Attack("60,000 files", _many, "at most 50,000 files"),
    Attack("a file of 2 TB", _huge, "bytes when unpacked, at most"),
    Attack("a decompression bomb, stated", _bomb, "are a decompression bomb"),
    Attack("a decompression bomb, denied", _lying_bomb, "unpacks to more than the 100 bytes"),
    Attack(
        "wrong bytes under a right name",
        lambda b: (
            (b.files / b.path("samples")).write_bytes(
                b"\0" * (b.files / b.path("samples")).stat().st_size
            )
            and None
        ),
        "its manifest says",
    ),
    Attack(
        "a manifest with NaN",
        lambda b: b.write(json.dumps(b.manifest | {"made_by": float("nan")})),
        "NaN is not a number",
    ),
    Attack(
        "a score of 1e999",
        lambda b: b.edit("scores/", '"value": 0.75', '"value": 1e999'),
        "1e999 is not finite",
    ),
    Attack("a manifest that says a thing twice", _twice_in_json, "'schema_version' occurs twice"),
    Attack(
        "a manifest nested 100,000 deep",
        lambda b: b.write("[" * 100_000 + "]" * 100_000),
        "not plain JSON",
    ),
    Attack(
        "a manifest of another version",
        lambda b: b.write(b.manifest | {"schema_version": 99}),
        "schema version 99",
    ),
    Attack("a spec under the hash of another", _respec, "its spec is not that of the manifest"),
    Attack(
        "a score that its verdicts do not give",
        lambda b: b.edit("scores/", '"value": 0.75', '"value": 0.99'),
        "states accuracy 0.99, its verdicts give 0.75",
    ),
    Attack(
        "a verdict that is none",
        lambda b: b.edit("judgments", '"outcome":"incorrect"', '"outcome":"maybe"'),
        "Invalid enum value 'maybe'",
    ),
    Attack(
        "a verdict worth seven points",
        lambda b: b.edit("judgments", '"score":null', '"score":7.0'),
        "score 7.0 is not from 0 to 1",
    ),
    Attack(
        "a terminal's escape in a name",
        lambda b: b.edit("scores/", '"judge": "string_match"', '"judge": "\\u001b[2Jmatch"'),
        "a control character",
    ),
    Attack(
        "a run of 10^15 samples",
        lambda b: b.edit("run.json", '"samples": 12', '"samples": 1000000000000000'),
        "asks for 1000000000000000 samples",
    ),
    Attack(
        "a responses' line that is not a record",
        lambda b: b.replace("generations", b"[1, 2]\n"),
        "a line that is not a record",
    ),
    Attack(
        "an answer to a question that is not there",
        lambda b: b.edit("generations", '"sample_id":"', '"sample_id":"x'),
        "responses to samples that it does not hold",
    ),
)


def attack_table(outcomes: dict[str, str]) -> str:
    """The table of the documentation."""
    from tabulate import tabulate

    rows = [(name, said) for name, said in outcomes.items()]
    return tabulate(rows, headers=("attack", "outcome"), tablefmt="pipe")
