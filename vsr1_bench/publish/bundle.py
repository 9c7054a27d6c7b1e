"""The format of a published bundle, and the rules for its manifest.

    manifest.json                          written last; names every file with size and sha256, and
                                           the folder below which `runs/` lies (`root`)
    runs/<org--model>/<task>-<8 hex>/
      run.json  scores/*.json              as they are
      *.jsonl.zst                          journals, compressed by zstd
      images/<sha256>.<kind>               only where they were asked for

A manifest may come from anywhere: nothing in it is trusted before `read_manifest` has checked it.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, ValidationError

from vsr1_bench.errors import ExchangeError
from vsr1_bench.store.spec import Strict

SCHEMA = 1
MANIFEST = "manifest.json"
TOP = "runs"
ROOT = r"bundle-[0-9a-f]{16}"
"""Name pattern of the folders that a publish creates (see `folders`)."""

MAX_MANIFEST = 16 << 20
"""Largest manifest, in bytes."""
MAX_FILES = 50_000
MAX_DOCUMENT = 64 << 20
"""Largest `run.json`, score, image and journal line, in bytes."""
MAX_CONTENT = 64 << 30
"""Largest size of all files together, decompressed, in bytes."""
MAX_RATIO, RATIO_FROM = 500, 16 << 20
"""Largest compression ratio of a file; journals have 5 to 50."""
MAX_PART, MAX_PATH = 200, 400
"""Characters of a name and of a whole path; file systems take 255 bytes."""


@dataclass(frozen=True, slots=True)
class FileKind:
    """One kind of file of a run."""

    name: str
    pattern: str
    """Regular expression of its path inside the run's folder, as it is on disk."""
    journal: bool = False
    """JSON lines, published compressed."""


# What a run's bundle holds, in the order in which it is packed: a record is written after those
# that it refers to, so verdicts are packed before responses, and responses before samples. A new
# kind of journal is one more line here.
KINDS = (
    FileKind("scores", r"scores/[^/]+\.json"),
    FileKind("perception_judgments", r"perception_judgments/[^/]+\.jsonl", journal=True),
    FileKind("judgments", r"judgments/[^/]+\.jsonl", journal=True),
    FileKind("replies", r"replies/[^/]+\.jsonl", journal=True),
    FileKind("perceptions", r"perceptions[^/]*\.jsonl", journal=True),
    FileKind("dependences", r"dependences[^/]*\.jsonl", journal=True),
    FileKind("captions", r"captions[^/]*\.jsonl", journal=True),
    FileKind("readers", r"readers/[^/]+\.json"),
    FileKind("generations", r"generations[^/]*\.jsonl", journal=True),
    FileKind("samples", r"samples[^/]*\.jsonl", journal=True),
    FileKind("images", r"images/[0-9a-f]{64}\.(png|jpg|webp|gif|bmp|tiff)"),
    FileKind("run", r"run\.json"),
)
SUFFIX = ".zst"

GOLD_ANSWERS = ("answer", "extra")
"""Fields of a sample that reveal its answer: `extra` has alternatives and tolerances."""
QUESTION = ("question", "choices")
FACTS = (
    "backend",
    "created",
    "git",
    "limit",
    "samples",
    "schema",
    "selection",
    "updated",
    "versions",
)
"""Fields of `run.json` besides the spec. The command is left out: it contains paths and URLs."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Size = Annotated[int, Field(ge=0, strict=True)]
Text = Annotated[str, Field(max_length=1000)]


class BundleFile(Strict):
    """A file of a bundle."""

    path: str
    """Relative to the top of the bundle, with `/`."""
    sha256: Sha256
    size: Size
    content_sha256: Sha256 | None = None
    """Size and hash after decompression; None = the file is not compressed."""
    content_size: Size | None = None

    @property
    def unpacked(self) -> int:
        """Bytes on disk after a download."""
        return self.size if self.content_size is None else self.content_size


class BundleRun(Strict):
    """A run of a bundle."""

    path: str
    """Its folder, below the bundle's top."""
    model: Text
    task: Text
    version: int
    spec_hash: Sha256
    license: Text
    """License of the benchmark, as the task states it."""
    citation: Text
    golds: bool
    images: bool


class Manifest(Strict):
    """The content of a bundle."""

    schema_version: int
    made_by: Text
    root: Annotated[str, Field(pattern=rf"^({ROOT})?$")] = ""
    """Folder, beside the manifest, that its paths start from; empty = the manifest's own."""
    runs: tuple[BundleRun, ...]
    files: tuple[BundleFile, ...]

    def files_of(self, run: BundleRun) -> list[BundleFile]:
        """The files below a run's folder."""
        return [file for file in self.files if file.path.startswith(f"{run.path}/")]

    def location(self, path: str) -> str:
        """Where a file of this manifest lies, from the manifest's folder."""
        return f"{self.root}/{path}" if self.root else path

    def names(self) -> set[str]:
        """Where all of its files lie."""
        return {self.location(file.path) for file in self.files}

    def text(self) -> str:
        """As it is written; a manifest without a root is what earlier versions read."""
        document = self.model_dump(mode="json")
        if not self.root:
            del document["root"]
        return json.dumps(document, indent=1, sort_keys=True) + "\n"


def strict_json(text: str | bytes, where: str) -> Any:
    """Read JSON in which no name occurs twice and every number is finite.

    Raises:
        ExchangeError: it is not such JSON; names `where`.
    """
    try:
        return json.loads(
            text, object_pairs_hook=_once, parse_constant=_not_finite, parse_float=_finite
        )
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]
        raise ExchangeError(f"{where}: not plain JSON ({reason}); nothing of it is used") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"{twice[:80]!r} occurs twice")
    return found


def _not_finite(word: str) -> float:
    raise ValueError(f"{word} is not a number")


def _finite(word: str) -> float:
    number = float(word)
    if not math.isfinite(number):
        raise ValueError(f"{word[:40]} is not finite")
    return number


def read_manifest(text: bytes, where: str) -> Manifest:
    """Read a manifest and check all that can be checked without its files.

    Raises:
        ExchangeError: it is not a manifest, of another version, too big, or names something that
            must not be written; says what.
    """
    if len(text) > MAX_MANIFEST:
        raise ExchangeError(f"{where}: over {MAX_MANIFEST >> 20} MiB is not a manifest of a bundle")
    document = strict_json(text, where)
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version != SCHEMA:
        raise ExchangeError(
            f"{where}: schema version {version!r}, this vsr1-bench reads {SCHEMA}; it is not a "
            "manifest of a bundle, or needs another version of vsr1-bench"
        )
    try:
        manifest = Manifest.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ExchangeError(f"{where}: {place}: {first['msg']}") from error
    check_manifest(manifest, where)
    return manifest


def check_manifest(manifest: Manifest, where: str) -> None:
    """Check names, numbers and sizes. `publish` makes the same check.

    Raises:
        ExchangeError: says what is wrong, and of which file.
    """
    if not manifest.runs or len(manifest.files) > MAX_FILES:
        raise ExchangeError(
            f"{where}: {len(manifest.runs)} runs of {len(manifest.files):,} files; wanted at least "
            f"one run and at most {MAX_FILES:,} files"
        )
    names = [file.path for file in manifest.files]
    for name in (*names, *(run.path for run in manifest.runs)):
        if reason := name_fault(name):
            raise ExchangeError(f"{where}: {_shown(name)}: {reason}; refused")
    _check_twice(names, where)
    _check_twice([run.path for run in manifest.runs], where)
    folders = {run.path for run in manifest.runs}
    for file in manifest.files:
        folder, inside = "/".join(file.path.split("/")[:3]), "/".join(file.path.split("/")[3:])
        if folder not in folders or kind_of(inside) is None:
            raise ExchangeError(
                f"{where}: {_shown(file.path)} is not a file of a run of this bundle; refused"
            )
        _check_size(file, where)
    total = sum(file.unpacked for file in manifest.files)
    if total > MAX_CONTENT:
        raise ExchangeError(
            f"{where}: {total:,} bytes when unpacked, at most {MAX_CONTENT:,}; refused"
        )
    for run in manifest.runs:
        if f"{run.path}/run.json" not in names:
            raise ExchangeError(f"{where}: {_shown(run.path)} has no run.json; refused")


def _check_size(file: BundleFile, where: str) -> None:
    packed = file.path.endswith(SUFFIX)
    if packed != (file.content_size is not None) or packed != (file.content_sha256 is not None):
        raise ExchangeError(
            f"{where}: {_shown(file.path)}: a journal, and only a journal, is compressed; refused"
        )
    if not packed and file.size > MAX_DOCUMENT:
        raise ExchangeError(
            f"{where}: {_shown(file.path)}: {file.size:,} bytes, at most {MAX_DOCUMENT:,}; refused"
        )
    if packed and file.unpacked > RATIO_FROM and file.unpacked > MAX_RATIO * file.size:
        raise ExchangeError(
            f"{where}: {_shown(file.path)}: {file.size:,} bytes that unpack to {file.unpacked:,} "
            "are a decompression bomb; refused"
        )


def _check_twice(names: list[str], where: str) -> None:
    """Refuse names that are the same file on some file system."""
    seen: dict[str, str] = {}
    for name in names:
        folded = unicodedata.normalize("NFKC", name).casefold()
        if folded in seen:
            both = (seen[folded], name)
            raise ExchangeError(
                f"{where}: {_shown(both[0])} and {_shown(both[1])} are one file on some file "
                "systems; refused"
            )
        seen[folded] = name


def kind_of(inside: str) -> FileKind | None:
    """The kind of a file, by its path inside the run's folder of the bundle."""
    for kind in KINDS:
        plain = inside.removesuffix(SUFFIX) if kind.journal else inside
        if re.fullmatch(kind.pattern, plain) and (plain != inside) == kind.journal:
            return kind
    return None


_RESERVED = re.compile(r"(con|prn|aux|nul|clock\$|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


def name_fault(name: str) -> str | None:
    """Why a path must not be written; None = it may be written."""
    if not name:
        return "an empty path"
    if name.startswith(("/", "\\", "~")) or re.match(r"[A-Za-z]:", name):
        return "an absolute path"
    if "\\" in name:
        return "a backslash in a path"
    if any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in name):
        return "a control character in a path"
    parts = name.split("/")
    if ".." in parts:
        return "a path that leaves its folder (..)"
    if "" in parts or "." in parts:
        return "a path with an empty part"
    if len(name) > MAX_PATH or any(len(part) > MAX_PART for part in parts):
        return f"a name of over {MAX_PART} or a path of over {MAX_PATH} characters"
    if any(_RESERVED.fullmatch(part) for part in parts):
        return "a name that Windows keeps for itself"
    if any(part[-1] in ". " or part[0] in " ." for part in parts):
        return "a name that begins or ends in a dot or a space"
    if not re.fullmatch(r"[A-Za-z0-9._+%@=,~ /\[\]()-]+", name):
        return "a character that a bundle's names do not have"
    if len(parts) < 3 or parts[0] != TOP:
        return f"not below {TOP}/<model>/<run>"
    return None


def _shown(name: str) -> str:
    return repr(name if len(name) <= 100 else f"{name[:60]}…{name[-30:]}")


_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpg"),
    (b"GIF8", "gif"),
    (b"BM", "bmp"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
)


def image_kind(data: bytes) -> str | None:
    """The file suffix of an encoded image by its first bytes; None = not a kind of picture."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return next((kind for magic, kind in _MAGIC if data.startswith(magic)), None)


def foreign_names(manifest: Manifest, names: Iterable[str]) -> list[str]:
    """The files below `runs/` of a bundle that the manifest does not name."""
    known, top = manifest.names(), manifest.location(f"{TOP}/")
    return sorted(name for name in names if name.startswith(top) and name not in known)
