"""The fenced blocks of README and docs, and the reason of each that no test runs.

The reason is a comment on the line before the fence, which a reader of the page does not see:

    <!-- not run: needs a GPU -->
    ```bash
    vsr1-bench serve --model ORG/MODEL
    ```

The word after a block's language says what the block is: the name of a file with this content
(`json prices.json`), or `files` if its lines name files of the runs above.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tree import ROOT, repository_files

PAGES = [
    path
    for path in repository_files()
    if path.suffix == ".md" and (path.parent == Path("docs") or path == Path("README.md"))
]
_FENCE = re.compile(r"^\s*```+ *(\w*) *(\S*)\s*$")
_REASON = re.compile(r"<!-- not run: (\S.*) -->")
_COMMENT = re.compile(r"^<!--.*-->$")


@dataclass(frozen=True)
class Block:
    """A fenced block; `line` is that of its fence, counted from 1."""

    page: Path
    line: int
    language: str
    name: str
    reason: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(page: Path, text: str | None = None) -> list[Block]:
    """The blocks of a page in their order."""
    lines = iter(enumerate((text or (ROOT / page).read_text("utf-8")).splitlines(), 1))
    blocks, reason = [], ""
    for number, line in lines:
        if fence := _FENCE.match(line):
            body = []
            for _, inner in lines:
                if inner.strip() == "```":
                    break
                body.append(inner)
            language, name = fence.groups()
            blocks.append(Block(page, number, language, name, reason, "\n".join(body) + "\n"))
        found = _REASON.fullmatch(line)
        reason = found[1] if found else reason if _COMMENT.match(line) else ""
    return blocks


def indented(text: str) -> list[str]:
    """Lines of blocks that are made by indenting; they would escape the walk over the fences."""
    outside = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"(?<=\n\n) {4}\S.*", outside)
