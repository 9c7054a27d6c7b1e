"""Draws docs/images/paper-table.png: the paper's table as `table --format latex` writes it.

Needs pdflatex with siunitx, and pdftoppm (Debian: texlive-science, texlive-latex-recommended,
poppler-utils).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageChops

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "images" / "paper-table.png"
COMMAND = "table --results results/paper --tasks paper --format latex".split()
CAPTION = ("--caption", "Accuracy on the seven visual benchmarks", "--label", "tab:paper")
DOCUMENT = r"""\documentclass{article}
\usepackage[a4paper,landscape,margin=1cm]{geometry}
\usepackage{booktabs,siunitx}
\pagestyle{empty}
\begin{document}
%s
\end{document}
"""


def main() -> None:
    """Compile the table, and cut its margins off."""
    words = [sys.executable, "-m", "vsr1_bench", *COMMAND, *CAPTION]
    table = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "t.tex").write_text(DOCUMENT % table, "utf-8")
        for command in (
            "pdflatex -interaction=nonstopmode -halt-on-error t.tex",
            "pdftoppm -r 130 -png -singlefile t.pdf t",
        ):
            subprocess.run(command.split(), cwd=folder, check=True, stdout=subprocess.DEVNULL)
        page = Image.open(Path(folder) / "t.png").convert("L")
        box = ImageChops.invert(page).getbbox()
        assert box is not None
        left, top, right, bottom = box
        page.crop((left - 20, top - 20, right + 20, bottom + 20)).save(PICTURE, optimize=True)


if __name__ == "__main__":
    main()
