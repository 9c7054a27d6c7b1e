"""The remotes of bundles: a hub data set, an https address, a folder (by fsspec).

    hf://datasets/ORG/NAME[@REVISION]     https://HOST/FOLDER     file://FOLDER, or a plain path

Broken transfers resume. The caller checks whether the content is correct.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from vsr1_bench.errors import ExchangeError, TransferError, UsageError
from vsr1_bench.publish.bundle import MANIFEST
from vsr1_bench.publish.folders import FolderRemote
from vsr1_bench.publish.http import fetch_url
from vsr1_bench.publish.remote import (
    BLOCK,
    WANTED,
    Moved,
    NotThereError,
    Remote,
    Upload,
    sha256_of,
    shown,
)


def open_remote(address: str) -> Remote:
    """Read an address.

    Raises:
        UsageError: it is not an address.
    """
    scheme, _, rest = address.partition("://")
    if not rest or not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme):
        return FolderRemote(address)
    if scheme == "hf":
        found = re.fullmatch(r"datasets/([\w.-]+/[\w.-]+?)(?:@([^@/\s]+))?/?", rest)
        if not found:
            raise UsageError(f"{address}: wanted hf://datasets/ORG/NAME[@REVISION]")
        return HubRemote(found[1], found[2])
    if scheme in ("https", "http"):
        return HttpRemote(address)
    return FolderRemote(address)


class HttpRemote(Remote):
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
        if self.sha256 is not None:
            return sha256_of(path) == self.sha256
        digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
        return digest.hexdigest() == self.blob


class HubRemote(Remote):
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

            with _hub_errors(self.name):
                found = HfApi().dataset_info(self.repository, revision=self.revision, timeout=30)
            self._commit = found.sha or self.revision or "main"
            self.name = f"hf://datasets/{self.repository}@{self._commit}"
        return self._commit

    def files(self) -> dict[str, HubFile]:
        """Path -> what the hub says of each file of the commit."""
        commit = self.resolve()
        if self._files is None:
            from huggingface_hub import HfApi
            from huggingface_hub.hf_api import RepoFile

            with _hub_errors(self.name):
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
        with _hub_errors(self.name):
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
            CommitOperationAdd(manifest.location(path), str(upload.folder / path))
            for path in upload.packed
        ]
        operations += [
            CommitOperationAdd(path, str(upload.folder / path)) for path in upload.beside
        ]
        operations.append(CommitOperationAdd(MANIFEST, str(upload.folder / MANIFEST)))
        stale = (upload.known.names() if upload.known is not None else set()) - manifest.names()
        stale |= set(upload.stale) - set(upload.beside)
        operations += [CommitOperationDelete(path) for path in sorted(stale)]
        with _hub_errors(self.name):
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


@contextmanager
def _hub_errors(name: str) -> Iterator[None]:
    """Reduce errors of the hub's client to one line."""
    from huggingface_hub import errors as hub

    try:
        yield
    except ExchangeError:
        raise
    except hub.GatedRepoError as error:
        raise ExchangeError(
            f"{name} is gated: ask for access on its page, and set HF_TOKEN"
        ) from error
    except hub.RepositoryNotFoundError as error:
        raise NotThereError(
            f"{name} is not there, or private: check the name, and set HF_TOKEN where it is private"
        ) from error
    except hub.RevisionNotFoundError as error:
        raise NotThereError(f"{name} has no such revision") from error
    except hub.EntryNotFoundError as error:
        raise NotThereError(f"{name} has no such file ({_line(error)})") from error
    except Exception as error:
        status = error.response.status_code if isinstance(error, hub.HfHubHTTPError) else None
        if status in (401, 403):
            raise ExchangeError(
                f"{name} is not open to this token (HTTP {status}); check HF_TOKEN and its rights"
            ) from error
        if status in (409, 412):
            raise ExchangeError(
                f"{name} was changed by somebody else meanwhile; run the same command again"
            ) from error
        if isinstance(error, OSError) or type(error).__module__.startswith("httpx"):
            raise TransferError(f"{name}: {type(error).__name__}: {_line(error)}") from error
        raise


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
