r"""Escape text for the terminal, so that untrusted text cannot control it.

Model answers, rows of data sets, messages of endpoints and of downloaded bundles end up in tables,
lists and errors. An escape sequence in them could move the cursor, rewrite earlier lines, set the
window's title or, on some terminals, type. A directional override shows words in another order. So
everything that the command line prints passes through this module. Control characters appear as
`\x1b`, half a surrogate pair as `\ud83d`, and a character that the terminal cannot show as its
escape.
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
    """Escape characters that would act on a terminal; line ends and tabs stay."""
    return _ACTING.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


class Plain:
    """A text stream that escapes everything that acts on a terminal."""

    def __init__(self, stream: Any) -> None:
        """Wrap a stream; everything but writing is delegated to it."""
        self.acting = stream
        """The stream itself, for progress bars."""

    def write(self, text: str) -> int:
        """Write an escaped text."""
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
    """Print through `Plain` inside the context."""
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
    """Standard error without escaping, for progress bars, which move the cursor."""
    return sys.stderr.acting if isinstance(sys.stderr, Plain) else sys.stderr
