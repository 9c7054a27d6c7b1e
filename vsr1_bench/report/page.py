"""`index.html`: the viewer with script and style inline; the policy knows them by their hashes."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files

from vsr1_bench.errors import StoreError

BUILT = files("vsr1_bench.report") / "web" / "dist"
# A page from disk has no origin that every browser takes for 'self': `file:` says so to the others.
FROM_HERE = "'self' file:"
# Who may make markup or the address of a script of a text: the sanitiser and the loader of data/.
TYPES = "dompurify vsr1-data"


def index_page() -> bytes:
    """Write the page around the built viewer.

    Raises:
        StoreError: the built viewer is missing or would end its own element.
    """
    script, style = (_built(name) for name in ("viewer.js", "viewer.css"))
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}' {FROM_HERE}; "
        f"style-src '{_hash(style)}'; img-src {FROM_HERE} data:; base-uri 'none'; "
        f"form-action 'none'; require-trusted-types-for 'script'; trusted-types {TYPES}"
    )
    page = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="referrer" content="no-referrer">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>vsr1-bench report</title>
<style>{style}</style>
</head>
<body>
<main id="app"></main>
<noscript>This report needs JavaScript. It uses no network.</noscript>
<script>{script}</script>
</body>
</html>
"""
    return page.encode("utf-8")


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


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"sha256-{digest}"
