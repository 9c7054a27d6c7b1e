"""The remotes of bundles: a hub data set, an https address, a folder (by fsspec).

    hf://datasets/ORG/NAME[@REVISION]     https://HOST/FOLDER     file://FOLDER, or a plain path

Broken transfers resume. The caller checks whether the content is correct.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from vsr1_bench.errors import ExchangeError, TransferError, UsageError
from vsr1_bench.publish.bundle import MANIFEST
from vsr1_bench.publish.folders import FolderPlace
from vsr1_bench.publish.http import fetch_url
from vsr1_bench.publish.place import BLOCK, WANTED, Moved, NotThereError, Place, Upload, shown


def open_place(address: str) -> Place:
    """Read an address.

    Raises:
        UsageError: it is not an address.
    """
    scheme, _, rest = address.partition("://")
    if not rest or not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme):
        return FolderPlace(address)
    if scheme == "hf":
        found = re.fullmatch(r"datasets/([\w.-]+/[\w.-]+?)(?:@([^@/\s]+))?/?", rest)
        if not found:
            raise UsageError(f"{address}: wanted hf://datasets/ORG/NAME[@REVISION]")
        return HubPlace(found[1], found[2])
    if scheme in ("https", "http"):
        return HttpPlace(address)
    return FolderPlace(address)


class HttpPlace(Place):
    """Files behind a web address; read-only."""

    def __init__(self, address: str) -> None:
        """Take the address of the folder, or of the manifest in it."""
        try:
            parts = urlsplit(address)
            port = parts.port
        except ValueError as error:  # half an IPv6 address, a port that is not a number
            raise UsageError(f"{shown(address)}: {error}; {WANTED}") from error
        if not parts.hostname:
            raise UsageError(f"{shown(address)}: {WANTED}")
        path = parts.path.removesuffix(MANIFEST).rstrip("/") + "/"
        self._url = parts._replace(path=path, fragment="")
        host = parts.hostname if port is None else f"{parts.hostname}:{port}"
        self.name = urlunsplit((parts.scheme, host, path, "", ""))

    def fetch(self, path: str, target: Path, size: int | None, most: int, moved: Moved) -> None:
        """Request the missing part by `Range`."""
        fetch_url(self._url, path, target, size, most, moved)

    def listing(self) -> None:
        """A web server cannot list its files."""

    def push(self, upload: Upload) -> str:
        """Nothing can be written over https."""
        raise UsageError(
            f"{self.name}: an https address can be read, not written; publish to a folder "
            "(--to FOLDER) and put that folder on your server"
        )


@dataclass(frozen=True, slots=True)
class HubFile:
    """What the hub states about a file."""

    size: int
    sha256: str | None
    """Of large files; others have only a git hash."""
    blob: str

    def matches(self, path: Path) -> bool:
        """Whether a file has this content."""
        with path.open("rb") as file:
            if self.sha256 is not None:
                return hashlib.file_digest(file, "sha256").hexdigest() == self.sha256
            digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
            while block := file.read(BLOCK):
                digest.update(block)
        return digest.hexdigest() == self.blob


class HubPlace(Place):
    """A data-set repository of the Hugging Face hub, at one commit."""

    def __init__(self, repository: str, revision: str | None) -> None:
        """Store the id; the hub is not contacted yet."""
        self.repository, self.revision = repository, revision
        self.name = f"hf://datasets/{repository}" + (f"@{revision}" if revision else "")
        self._commit: str | None = None
        self._files: dict[str, HubFile] | None = None

    def resolve(self) -> str:
        """The commit to read from, resolved once, so that all files are from one state.

        Raises:
            ExchangeError: the repository or the revision is not there, or nobody answers.
        """
        if self._commit is None:
            from huggingface_hub import HfApi

            with self._named():
                found = HfApi().dataset_info(self.repository, revision=self.revision, timeout=30)
            self._commit = found.sha or self.revision or "main"
            self.name = f"hf://datasets/{self.repository}@{self._commit}"
        return self._commit

    def _named(self) -> _HubErrors:
        return _HubErrors(self.name)

    def files(self) -> dict[str, HubFile]:
        """Path -> what the hub says of each file of the commit."""
        commit = self.resolve()
        if self._files is None:
            from huggingface_hub import HfApi
            from huggingface_hub.hf_api import RepoFile

            with self._named():
                tree = HfApi().list_repo_tree(
                    self.repository, repo_type="dataset", revision=commit, recursive=True
                )
                self._files = {
                    entry.path: HubFile(
                        entry.size, entry.lfs.sha256 if entry.lfs else None, entry.blob_id
                    )
                    for entry in tree
                    if isinstance(entry, RepoFile)
                }
        return self._files

    def fetch(self, path: str, target: Path, size: int | None, most: int, moved: Moved) -> None:
        """Download with the hub's own client, which resumes broken transfers.

        The client silently accepts wrong bytes of the right length, so they are compared with the
        hash that the hub states.
        """
        from huggingface_hub import hf_hub_download

        known = self.files().get(path)
        if known is None:
            raise NotThereError(f"{self.name}: has no {path}")
        if known.size > most:
            raise ExchangeError(
                f"{self.name}: {path} has {known.size:,} bytes, more than the {most:,} it may have"
            )
        # The client keeps what it has of a file here until it has all of it.
        inner = target.with_name(f"{target.name}.hub")
        with self._named():
            fetched = Path(
                hf_hub_download(
                    self.repository,
                    path,
                    repo_type="dataset",
                    revision=self.resolve(),
                    local_dir=inner,
                )
            )
        right = known.matches(fetched)
        if right:
            fetched.replace(target)
        shutil.rmtree(inner)
        if not right:
            raise ExchangeError(
                f"{self.name}: {path} is not what the hub says it is (its hash differs); deleted. "
                "Run the same command again"
            )
        moved(known.size)

    def listing(self) -> list[str]:
        """The files of the commit."""
        return list(self.files())

    def push(self, upload: Upload) -> str:
        """Upload everything in one commit: it is there completely, or not at all."""
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token

        if re.fullmatch(r"[0-9a-f]{40}", self.revision or ""):
            raise UsageError(
                f"--to {self.name}: a commit cannot be written; name a branch, or none"
            )
        if get_token() is None:
            raise UsageError(
                f"--to {self.name}: publishing needs a token of the hub: set HF_TOKEN, or log in "
                "once with `hf auth login`"
            )
        api, manifest = HfApi(), upload.manifest
        operations: list[CommitOperationAdd | CommitOperationDelete] = [
            CommitOperationAdd(manifest.place(path), str(upload.folder / path))
            for path in upload.packed
        ]
        operations.append(CommitOperationAdd(MANIFEST, str(upload.folder / MANIFEST)))
        stale = (upload.known.names() if upload.known is not None else set()) - manifest.names()
        operations += [CommitOperationDelete(path) for path in sorted(stale)]
        with self._named():
            api.create_repo(self.repository, repo_type="dataset", exist_ok=True)
            if self.revision and self._commit is None:
                api.create_branch(
                    self.repository, repo_type="dataset", branch=self.revision, exist_ok=True
                )
            done = api.create_commit(
                self.repository,
                operations,
                commit_message=upload.note,
                repo_type="dataset",
                revision=self.revision,
                parent_commit=self._commit,
            )
        return f"hf://datasets/{self.repository}@{done.oid}"


class _HubErrors:
    """Reduce errors of the hub's client to one line."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        from huggingface_hub.errors import (
            EntryNotFoundError,
            GatedRepoError,
            HfHubHTTPError,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )

        if error is None or not isinstance(error, Exception) or isinstance(error, ExchangeError):
            return
        text = " ".join(str(error).split())[:200]
        kinds: type[ExchangeError] = ExchangeError
        if isinstance(error, GatedRepoError):
            reason = "is gated: ask for access on its page, and set HF_TOKEN"
        elif isinstance(error, RepositoryNotFoundError):
            kinds = NotThereError
            reason = (
                "is not there, or private: check the name, and set HF_TOKEN where it is private"
            )
        elif isinstance(error, RevisionNotFoundError):
            kinds, reason = NotThereError, "has no such revision"
        elif isinstance(error, EntryNotFoundError):
            kinds, reason = NotThereError, f"has no such file ({text})"
        elif isinstance(error, HfHubHTTPError):
            status = error.response.status_code
            if status in (401, 403):
                reason = f"is not open to this token (HTTP {status}); check HF_TOKEN and its rights"
            elif status in (409, 412):
                reason = "was changed by somebody else meanwhile; run the same command again"
            else:
                raise TransferError(f"{self.name}: {type(error).__name__}: {text}") from error
        elif isinstance(error, OSError) or type(error).__module__.startswith("httpx"):
            raise TransferError(f"{self.name}: {type(error).__name__}: {text}") from error
        else:
            return
        raise kinds(f"{self.name} {reason}") from error
