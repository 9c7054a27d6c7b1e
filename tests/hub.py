"""A local stand-in of the Hugging Face hub over real HTTP, serving repositories from a folder.

    repositories = Repositories(tmp_path)
    repositories.add("org/name", "main", "test", rows, images=("image",))
    with Hub(repositories.write()) as hub:
        ...a fresh process with `hub.environment(home)`: the real `datasets` and `huggingface_hub`

A repository is `<folder>/datasets/ORG/NAME/<revision>/…` (`models` likewise); `main` is what is
current, and every revision can be asked for by its name or by its commit, a hash of its content.
Listings are cached in a client's process: another state of a repository wants another process.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import uploading
from localserver import LocalServer

from vsr1_bench.records import EncodedImage

KINDS = ("datasets", "models")
LARGE = uploading.LARGE


@dataclass(frozen=True)
class Fault:
    """What goes wrong with a request."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None
    """Bytes of the body that are sent before the connection breaks, the promised length being
    that of the whole; None = all of it."""
    shorten: int | None = None
    """Bytes of the file that exist, while listings and `X-Linked-Size` promise all of it."""
    data: bytes | None = None
    """Other bytes than those of the file, under its hash."""


Plan = Callable[[str, str, int], Fault | None]
"""(method, path, how often this path was asked before) -> what goes wrong."""


class Hub(LocalServer):
    """The server; a context manager."""

    def __init__(self, folder: Path, plan: Plan = lambda method, path, n: None) -> None:
        self.folder = folder
        self.plan = plan
        self.token = "hf_" + "standInOfTheHub" * 2
        """What an upload has to bring."""
        self.asked: list[tuple[float, str, str]] = []
        """Time, method and path of every request."""
        self.lock = threading.Lock()
        super().__init__(_Handler)

    def environment(self, home: Path) -> dict[str, str]:
        """The variables of a process that takes this for the hub."""
        return client_environment(self.url, home)

    def note(self, method: str, path: str) -> int:
        with self.lock:
            before = sum((method, path) == known[1:] for known in self.asked)
            self.asked.append((time.monotonic(), method, path))
        return before

    def commit(self, kind: str, name: str, revision: str) -> tuple[str, Path] | None:
        """The commit of a revision, given by name or as a commit, and its folder."""
        repository = self.folder / kind / name
        for folder in sorted(repository.iterdir()) if repository.is_dir() else ():
            sha = commit_of(folder)
            if revision in (folder.name, sha):
                return sha, folder
        return None


def client_environment(url: str, home: Path) -> dict[str, str]:
    """The variables of a process for which the hub is at `url`, with caches of its own."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HF_", "HUGGINGFACE_", "VSR1_")) and "proxy" not in name.lower()
    }
    home.mkdir(parents=True, exist_ok=True)
    named = {"HF_ENDPOINT": url, "HF_HOME": str(home / "hf"), "VSR1_CACHE": str(home / "vsr1")}
    quiet = {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    return {**kept, **named, **quiet}


def commit_of(folder: Path) -> str:
    """A revision's commit: a hash of its files' names and content."""
    digest = hashlib.sha1(usedforsecurity=False)
    for file in files_of(folder):
        digest.update(f"{file.relative_to(folder)}\0{sha256(file)}\n".encode())
    return digest.hexdigest()


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        """Keep standard error clean."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.server.plan(self.command, path, self.server.note(self.command, path))
        if fault is not None and fault.status != 200:
            self._send(fault.status, b"{}", dict(fault.headers))
            return
        parts = path.strip("/").split("/")
        if uploading.is_upload(self.command, parts):
            allowed = self.headers.get("Authorization") == f"Bearer {self.server.token}"
            if not allowed and self.command != "PUT":  # a signed address needs no token
                self._send(401, b"{}", {})
                return
            status, answer = uploading.answer(self.server.folder, self.server.url, parts, body)
            self._send(status, json.dumps(answer).encode(), {"Content-Type": "application/json"})
        elif parts[0] == "api":
            self._api(parts[1:], body)
        else:
            self._file(parts, fault or Fault())

    def _api(self, parts: list[str], body: bytes) -> None:
        if len(parts) < 3 or parts[0] not in KINDS:
            self._missing("EntryNotFound")
            return
        kind, name, rest = parts[0], "/".join(parts[1:3]), parts[3:]
        if not (self.server.folder / kind / name).is_dir():
            self._missing("RepoNotFound")
            return
        found = self.server.commit(kind, name, rest[1] if len(rest) > 1 else "main")
        if found is None:
            self._missing("RevisionNotFound")
            return
        sha, folder = found
        listed = [_listing(folder, file) for file in files_of(folder)]
        if not rest or rest[0] == "revision":
            siblings = [{"rfilename": entry["path"]} for entry in listed]
            about = {"id": name, "sha": sha, "siblings": siblings, "private": False, "tags": []}
            self._json(about | {"gated": False, "disabled": False, "downloads": 0, "likes": 0})
        elif rest[0] == "tree":
            inside = "/".join(rest[2:])
            self._json([e for e in listed if e["path"].startswith(inside)])
        elif rest[0] == "paths-info":
            wanted = json.loads(body)["paths"]
            self._json([entry for entry in listed if entry["path"] in wanted])
        else:
            self._missing("EntryNotFound")

    def _file(self, parts: list[str], fault: Fault) -> None:
        kind = "datasets" if parts[0] == "datasets" else "models"
        parts = parts[1:] if parts[0] == "datasets" else parts
        if len(parts) < 5 or parts[2] != "resolve":
            self._missing("RepoNotFound")
            return
        found = self.server.commit(kind, "/".join(parts[:2]), parts[3])
        if found is None:
            self._missing("RevisionNotFound")
            return
        sha, folder = found
        file = folder / "/".join(parts[4:])
        if not file.is_file():
            self._missing("EntryNotFound", {"X-Repo-Commit": sha})
            return
        data, etag = file.read_bytes(), sha256(file)
        headers = {"X-Repo-Commit": sha, "ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
        headers |= {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(len(data))}
        if fault.data is not None:
            data = fault.data
        if fault.shorten is not None:
            data = data[: fault.shorten]
        status, start = 200, self.headers.get("Range")
        if start and start.startswith("bytes="):
            first, _, last = start.removeprefix("bytes=").partition("-")
            end = min(int(last) + 1, len(data)) if last else len(data)
            headers["Content-Range"] = f"bytes {first}-{end - 1}/{len(data)}"
            status, data = 206, data[int(first) : end]
        self._send(status, data, headers, fault.cut)

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _missing(self, code: str, headers: dict[str, str] | None = None) -> None:
        self._send(404, b"{}", {"X-Error-Code": code, **(headers or {})})

    def _send(
        self, status: int, data: bytes, headers: dict[str, str], cut: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data if cut is None else data[:cut])
        if cut is not None:
            self.close_connection = True


def _listing(folder: Path, file: Path) -> dict[str, Any]:
    """A file of a tree; all but the small texts are LFS files."""
    size, path = file.stat().st_size, file.relative_to(folder).as_posix()
    blob = hashlib.sha1(f"blob {size}\0".encode() + file.read_bytes(), usedforsecurity=False)
    entry: dict[str, Any] = {"type": "file", "path": path, "size": size, "oid": blob.hexdigest()}
    if file.suffix in LARGE:
        entry["lfs"] = {"oid": sha256(file), "size": size, "pointerSize": 130}
    return entry


class Repositories:
    """Data set repositories of generated rows, laid out as people publish them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.splits: dict[Path, dict[str, dict[str, str]]] = {}
        """Revision's folder -> configuration -> split -> file."""

    def add(
        self,
        hub_id: str,
        config: str | None,
        split: str,
        rows: Sequence[Mapping[str, Any]],
        *,
        images: Sequence[str] = (),
        raw: bool = False,
        revision: str = "main",
    ) -> None:
        """Write a split to parquet, with the features that its values have.

        Args:
            hub_id: ORG/NAME.
            config: Configuration; None = the only one.
            split: Split.
            rows: Its rows; images are `EncodedImage`, tuples of them are lists.
            images: Columns that hold images even where they are empty.
            raw: Images are plain bytes, not of the type Image.
            revision: Branch.
        """
        import datasets

        features = {n: _feature(v, raw, n in images) for n, v in rows[0].items()}
        columns = {name: [_cell(row[name], raw) for row in rows] for name in features}
        folder = self.folder / "datasets" / hub_id / revision
        plain = "".join(c if c.isalnum() else "_" for c in config or "data")
        file = folder / plain / f"{split}-00000-of-00001.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        table = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
        table.to_parquet(file)
        known = self.splits.setdefault(folder, {}).setdefault(config or "default", {})
        known[split] = file.relative_to(folder).as_posix()

    def write(self) -> Path:
        """Write the cards, which say where each split is; returns the folder to serve."""
        for folder, configs in self.splits.items():
            named = [
                {
                    "config_name": config,
                    "data_files": [{"split": s, "path": path} for s, path in splits.items()],
                }
                for config, splits in configs.items()
            ]
            # JSON is YAML.
            card = f"---\nconfigs: {json.dumps(named)}\n---\n# Rows of a test\n"
            (folder / "README.md").write_text(card, "utf-8")
        return self.folder


def _feature(value: Any, raw: bool, image: bool) -> Any:
    from datasets import Image, List, Value

    if isinstance(value, EncodedImage) or (image and value is None):
        return Value("binary") if raw else Image()
    if isinstance(value, dict):
        return {name: _feature(inner, raw, False) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return List(_feature(value[0], raw, False) if value else Value("string"))
    kinds = {str: "string", bool: "bool", int: "int64", float: "float64", bytes: "binary"}
    return Value("null" if value is None else kinds[type(value)])


def _cell(value: Any, raw: bool) -> Any:
    if isinstance(value, EncodedImage):
        return value.read() if raw else {"bytes": value.read(), "path": None}
    if isinstance(value, list | tuple):
        return [_cell(inner, raw) for inner in value]
    return value
