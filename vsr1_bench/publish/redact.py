"""Redact what must not leave this machine: keys, host and user names, absolute paths.

There are two lines of defence. Text that the tool wrote (errors, reasons, names of judging models)
is rewritten: paths, URLs, names and keys become `<path>`, `<url>`, `<host>`, `<user>`, `<key>`.
Text of a model or a benchmark is never changed; if it contains a key or a folder of this machine,
nothing is published.
"""

from __future__ import annotations

import getpass
import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vsr1_bench.errors import ExchangeError

REDACTED = frozenset({"error", "reason", "judge_model", "models", "footnote", "backend"})
"""Fields that the tool wrote itself, about how something was made or went wrong."""

_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)
_URL = re.compile(r"\b[a-z][a-z0-9+.-]{1,15}://[^\s'\"<>|\\^`{}]+", re.IGNORECASE)
_KEY = re.compile(
    r"\b(?:hf_\w{20,}|sk-[\w-]{16,}|AIza[\w-]{30,}|gh[pousr]_\w{20,}|AKIA[0-9A-Z]{16})"
)
# At least two parts, so that "and/or" and "1/2" stay; or one of them after a tilde or a drive.
_PATH = re.compile(
    r"(?<![\w.:/\\~<>-])(?:/[^\s/'\"<>|:;,()\[\]]+){2,}/?"
    r"|(?<![\w/\\])~[\w.-]*/[^\s'\"<>|:;,()]*"
    r"|(?<![\w/\\])[A-Za-z]:\\[^\s'\"<>|:;,()]*"
    r"|\\\\[\w.-]+\\[^\s'\"<>|:;,()]*"
)
_SHORTEST_SECRET = 8


@dataclass(frozen=True, slots=True)
class Private:
    """Everything about this machine that must not be published."""

    secrets: tuple[str, ...]
    folders: tuple[str, ...]
    hosts: tuple[str, ...]
    users: tuple[str, ...]

    @classmethod
    def here(cls, *folders: Path) -> Private:
        """Read the environment; `folders` are further paths that must not be published."""
        from huggingface_hub import get_token

        named = [value for name, value in os.environ.items() if _SECRET_NAME.search(name)]
        secrets = {value.strip() for value in (*named, get_token() or "")}
        paths = {str(path) for path in (Path.cwd(), *map(Path.resolve, folders))}
        home = str(Path.home())
        host = socket.gethostname()
        try:
            user = getpass.getuser()
        except (KeyError, OSError):  # a number without a name, in a container
            user = ""
        return cls(
            secrets=tuple(sorted(s for s in secrets if len(s) >= _SHORTEST_SECRET)),
            # A folder of one part is a word like any other, unless something follows it.
            folders=tuple(
                sorted(p if _parts(p) > 1 else f"{p}/" for p in {*paths, home} if _parts(p))
            ),
            hosts=tuple(sorted({host, host.partition(".")[0]} - {"", "localhost"})),
            users=(user,) if user else (),
        )

    def redact(self, text: str) -> str:
        """Redact a text that the tool wrote."""
        for secret in self.secrets:
            text = text.replace(secret, "<key>")
        text = _URL.sub("<url>", _KEY.sub("<key>", text))
        for folder in self.folders:
            text = text.replace(folder, "<path>")
        text = _PATH.sub("<path>", text)
        for names, mark in ((self.hosts, "<host>"), (self.users, "<user>")):
            for name in names:
                text = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", mark, text)
        return text

    def redacted(self, record: Any, ours: bool = False) -> Any:
        """Redact the fields of a record that the tool wrote; keep the rest."""
        if isinstance(record, dict):
            return {k: self.redacted(v, k in REDACTED) for k, v in record.items()}
        if isinstance(record, list):
            return [self.redacted(value, ours) for value in record]
        return self.redact(record) if ours and isinstance(record, str) else record

    def check(self, text: str, where: str) -> None:
        """Refuse a text that contains a key or a folder of this machine.

        Raises:
            ExchangeError: says where and what kind, but not the secret itself.
        """
        for found, kind in ((self.secrets, "a key"), (self.folders, "a folder")):
            if any(word in text for word in found):
                raise ExchangeError(
                    f"{where}: {kind} of this machine is in it; nothing is published. "
                    "Leave that record's run out, or take it out of a copy of the run"
                )


def _parts(folder: str) -> int:
    return len(Path(folder).parts) - 1
