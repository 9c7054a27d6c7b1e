"""The writing half of the hub's stand-in: what `HfApi.create_repo` and `create_commit` ask.

    POST /api/repos/create                     POST /api/datasets/ORG/NAME/preupload/REV
    POST /datasets/ORG/NAME.git/info/lfs/…     PUT  /lfs/<sha256>
    POST /api/datasets/ORG/NAME/commit/REV     POST /api/datasets/ORG/NAME/branch/REV

Large files go by LFS, as the hub has it by a file's suffix and size, others inside the commit. The
client would rather upload by xet, a protocol of its own: set HF_HUB_DISABLE_XET=1.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

LARGE = (".parquet", ".safetensors", ".bin", ".zst", ".png")
Answer = tuple[int, dict[str, Any]]


def is_upload(method: str, parts: list[str]) -> bool:
    return (
        method == "PUT"
        or parts[-1] == "batch"
        or parts[:3] == ["api", "repos", "create"]
        or parts[:2] == ["api", "validate-yaml"]
        or (method == "POST" and len(parts) > 4 and parts[4] in ("preupload", "commit", "branch"))
    )


def answer(folder: Path, url: str, parts: list[str], body: bytes) -> Answer:
    store = folder / ".lfs"
    if parts[:2] == ["api", "validate-yaml"]:  # of the head of a README.md
        return 200, {"errors": [], "warnings": []}
    if parts[0] == "lfs":
        return _put(store, parts[1], body)
    if parts[-1] == "batch":
        return _batch(store, url, json.loads(body))
    if parts[2] == "create":
        return _create(folder, url, json.loads(body))
    repository = folder / parts[1] / parts[2] / parts[3]
    if not repository.is_dir():
        return 404, {}
    branch = repository / "/".join(parts[5:])
    if parts[4] == "branch":
        if branch.exists():
            return 409, {"error": "exists"}
        shutil.copytree(repository / "main", branch)
        return 200, {}
    if parts[4] == "preupload":
        named = json.loads(body)["files"]
        modes = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular",
                "shouldIgnore": False,
                "oid": None,
            }
            for file in named
        ]
        return 200, {"files": modes}
    return _commit(store, branch, f"{url}/{'/'.join(parts[1:4])}", body)


def _put(store: Path, oid: str, body: bytes) -> Answer:
    if hashlib.sha256(body).hexdigest() != oid:
        return 400, {"error": "another content than was announced"}
    store.mkdir(parents=True, exist_ok=True)
    (store / oid).write_bytes(body)
    return 200, {}


def _batch(store: Path, url: str, asked: dict[str, Any]) -> Answer:
    objects = []
    for one in asked["objects"]:
        known = (store / one["oid"]).exists()
        upload = {"actions": {"upload": {"href": f"{url}/lfs/{one['oid']}", "header": {}}}}
        objects.append({**one, **({} if known else upload)})
    return 200, {"transfer": "basic", "objects": objects}


def _create(folder: Path, url: str, asked: dict[str, Any]) -> Answer:
    name = "/".join(filter(None, (asked.get("organization"), asked["name"])))
    main = folder / f"{asked['type']}s" / name / "main"
    status = 409 if main.exists() else 200
    main.mkdir(parents=True, exist_ok=True)
    (main / ".gitattributes").touch()
    return status, {"url": f"{url}/{asked['type']}s/{name}"}


def _commit(store: Path, branch: Path, url: str, body: bytes) -> Answer:
    from hub import commit_of

    lines = [json.loads(line) for line in body.splitlines()]
    (header,) = (line["value"] for line in lines if line["key"] == "header")
    if header.get("parentCommit") not in (None, commit_of(branch)):
        return 412, {"error": "somebody else was faster"}
    for line in lines:
        value = line["value"]
        target = branch / value.get("path", "")
        if line["key"] == "file":
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(base64.b64decode(value["content"]))
        elif line["key"] == "lfsFile":
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(store / value["oid"], target)
        elif line["key"] == "deletedFile":
            target.unlink()
    made = commit_of(branch)
    return 200, {"commitUrl": f"{url}/commit/{made}", "commitOid": made, "success": True}
