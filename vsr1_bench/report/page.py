"""`index.html`: the frame of every page around the built viewer."""

from __future__ import annotations

from importlib.resources import files

from vsr1_bench._util.look import html_document
from vsr1_bench.errors import StoreError

BUILT = files("vsr1_bench.report") / "web" / "dist"
# A page from disk has no origin that every browser takes for 'self': `file:` says so to the others.
FROM_HERE = "'self' file:"
# Who may make markup or the address of a script of a text: the sanitiser and the loader of data/.
TYPES = "dompurify vsr1-data"


def index_page(*, labelling: bool = False) -> bytes:
    """Write the page around the built viewer.

    Args:
        labelling: It shows a labelling sheet instead of a report.

    Raises:
        StoreError: the built viewer is missing or would end its own element.
    """
    page = ' data-page="labels"' if labelling else ""
    body = f"""<main id="app"{page}></main>
<noscript>This page needs JavaScript. It uses no network.</noscript>"""
    document = html_document(
        "vsr1-bench labels" if labelling else "vsr1-bench report",
        body,
        style=_built("viewer.css"),
        script=_built("viewer.js"),
        policy={
            "script-src": FROM_HERE,
            "img-src": f"{FROM_HERE} data:",
            "require-trusted-types-for": "'script'",
            "trusted-types": TYPES,
        },
    )
    return document.encode("utf-8")


def _built(name: str) -> str:
    try:
        text = (BUILT / name).read_text(encoding="utf-8")
    except OSError as error:
        raise StoreError(
            f"the report's viewer is not built ({name}); run: npm run build in "
            "vsr1_bench/report/web"
        ) from error
    # HTML parsers turn CRLF into LF before the policy's hash is checked.
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if any(mark in text.lower() for mark in ("</script", "<!--", "</style")):
        raise StoreError(f"{name}: holds a mark that ends its element; build the viewer again")
    return text
