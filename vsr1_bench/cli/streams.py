"""Standard output and error that outlive their readers.

A log reader that goes away (`| head`, a closed terminal, a dead `tee`), or a full disk under a log,
must stop the printing, not the work, and not change how the work ended. Standard output on a full
disk stays an error: what a command was asked to print is then incomplete in a file.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import IO, Any

_GONE = frozenset({errno.EPIPE, errno.EIO})
"""No reader, or no terminal, any more."""
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class LastingStream(io.TextIOWrapper):
    """A text stream that drops what is written once nobody reads it any more."""

    dropped_at = _GONE

    def write(self, text: str, /) -> int:
        """Write a text; it is dropped where the reader has gone."""
        try:
            return super().write(text)
        except OSError as error:
            if error.errno not in self.dropped_at:
                raise
            self._drop_from_here()
            return len(text)

    def flush(self) -> None:
        """Hand on what is buffered; it is dropped where the reader has gone."""
        try:
            super().flush()
        except OSError as error:
            if error.errno not in self.dropped_at:
                raise
            self._drop_from_here()

    def _drop_from_here(self) -> None:
        # The descriptor itself, not this object: what is still buffered, libraries that write by
        # descriptor and processes started from now on all need an end that takes their words.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self.fileno())
        os.close(null)


def keep_printing() -> None:
    """Make the standard streams of this process lasting ones."""
    sys.stdout = _lasting(sys.stdout)
    sys.stderr = _lasting(sys.stderr)
    if isinstance(sys.stderr, LastingStream):
        sys.stderr.dropped_at = _GONE | _FULL


def _lasting(stream: IO[str] | Any) -> Any:
    # A notebook's or a test's stream has no pipe behind it; a closed one is None.
    if type(stream) is not io.TextIOWrapper:
        return stream
    # Model output may hold lone surrogates: they are shown as escapes and end no command.
    encoding, lines, through = stream.encoding, stream.line_buffering, stream.write_through
    return LastingStream(
        stream.detach(),
        encoding=encoding,
        errors="backslashreplace",
        line_buffering=lines,
        write_through=through,
    )
