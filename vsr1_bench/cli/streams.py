"""Standard streams that work on after their reader has gone.

A reader that goes away (`| head`, a closed terminal, a dead `tee`), or a full disk under a log,
must stop the printing, but not the work, and must not change its exit code. Standard output to a
full disk stays an error, because the file would be incomplete.
"""

from __future__ import annotations

import errno
import io
import os
import sys
import warnings
from typing import IO, Any

_GONE = frozenset({errno.EPIPE, errno.EIO})
"""The reader or the terminal has gone."""
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class LastingStream(io.TextIOWrapper):
    """A text stream that drops what is written after its reader has gone."""

    dropped_at = _GONE

    def write(self, text: str, /) -> int:
        """Write a text; it is dropped if the reader has gone."""
        try:
            return super().write(text)
        except OSError as error:
            if error.errno not in self.dropped_at:
                raise
            self._drop_from_here()
            return len(text)

    def flush(self) -> None:
        """Flush the buffer; its text is dropped if the reader has gone."""
        try:
            super().flush()
        except OSError as error:
            if error.errno not in self.dropped_at:
                raise
            self._drop_from_here()

    def _drop_from_here(self) -> None:
        # Replace the descriptor, not this object: buffered text, libraries that write by descriptor
        # and processes that are started later must also have somewhere to write to.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self.fileno())
        os.close(null)


def keep_printing() -> None:
    """Make the standard streams of this process `LastingStream`s."""
    sys.stdout = _lasting(sys.stdout)
    sys.stderr = _lasting(sys.stderr)
    if isinstance(sys.stderr, LastingStream):
        sys.stderr.dropped_at = _GONE | _FULL


def quiet_libraries() -> None:
    """Silence the warnings of other packages, in this process and in those that it starts.

    Their deprecations, advice on NUMA and the like are not for users. Errors still appear.
    """
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    warnings.filterwarnings("ignore", module=r"(?!vsr1_bench\b)")


def _lasting(stream: IO[str] | Any) -> Any:
    # The stream of a notebook or a test has no pipe; a closed one is None.
    if type(stream) is not io.TextIOWrapper:
        return stream
    # Model output may contain lone surrogates: print them as escapes instead of failing.
    encoding, lines, through = stream.encoding, stream.line_buffering, stream.write_through
    return LastingStream(
        stream.detach(),
        encoding=encoding,
        errors="backslashreplace",
        line_buffering=lines,
        write_through=through,
    )
