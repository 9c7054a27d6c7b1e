r"""Escape text for the terminal, so that untrusted text cannot control it.

Answers of models, rows of data sets, words of endpoints and of other people's bundles end up in
tables, lists and errors. An escape sequence in them could move the cursor, rewrite what is
above, set the window's title or, on some terminals, type; a directional override shows words in
another order than they have. So whatever the command line prints is written out here, in one place:
control characters appear as `\x1b`, half a surrogate pair as `\ud83d`, and a terminal that cannot
show a character gets its escape.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

_ACTING = re.compile(
    r"[\x00-\x08\x0b-\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]|\r(?!\n)"
)


def shown(text: str) -> str:
    """Write out what would act on a terminal; line ends and tabs stay."""
    return _ACTING.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    code = ord(found.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


class Plain:
    """A text stream that lets nothing through that acts on a terminal."""

    def __init__(self, stream: Any) -> None:
        """Stand before a stream; all but writing is its own."""
        self.acting = stream
        """The stream itself, for progress bars."""

    def write(self, text: str) -> int:
        """Write a text, made harmless."""
        harmless = shown(text)
        try:
            self.acting.write(harmless)
        except UnicodeEncodeError:
            coding = self.acting.encoding or "ascii"
            self.acting.write(harmless.encode(coding, "backslashreplace").decode(coding))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.acting, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.acting)


@contextmanager
def plain_streams() -> Iterator[None]:
    """Print through `Plain` while the context lasts."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (
        stream if stream is None or isinstance(stream, Plain) else Plain(stream)
        for stream in before
    )
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def acting_stderr() -> Any:
    """Standard error as it is, for what moves the cursor itself."""
    return sys.stderr.acting if isinstance(sys.stderr, Plain) else sys.stderr
