"""Reports read back: what the viewer would be told."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vsr1_bench.data.dataset import DataOptions
from vsr1_bench.judging.runs import text_hash
from vsr1_bench.records import Generation, Judgment, Sample, Verdict
from vsr1_bench.report.report import Report, ReportOptions, write_report
from vsr1_bench.scoring.runs import score_run
from vsr1_bench.store.lines import record_of_sample
from vsr1_bench.store.run_folder import RunFolder
from vsr1_bench.store.spec import RunSpec

CALL = re.compile(rb'vsr1_data\("([a-z0-9-]+)","([A-Za-z0-9+/=]+)"\);\n')

HOSTILE = {
    "script": "<script>document.title = 'owned'</script>",
    "handler": "<img src=x onerror=\"document.title='owned'\">",
    "closing": "</script></style><!--<script>document.title='owned'</script>-->\u2028\u2029",
    "markdown": "[x](javascript:document.title='owned') ![y](https://example.org/z.png)",
    "latex": "$\\href{javascript:alert(1)}{z}$ $\\includegraphics{https://example.org/z.png}$",
    "nul": "before\0after",
    "surrogates": "half \ud83d a pair \udc00",
    "bidi": "\u202eright to left\u202c \u2066isolated\u2069",
    "ansi": "\x1b[31mred\x1b[0m \x1b]0;title\x07",
    "astral": "\U0001f600 \\boxed{A}",
}
"""Name → a response that a report must show as text, and nothing more."""


def data(folder: Path, name: str) -> Any:
    """What a file of `data/` hands to the viewer; the file holds one call and nothing else."""
    found = CALL.fullmatch((folder / "data" / f"{name}.js").read_bytes())
    assert found is not None and found.group(1).decode() == name
    encoded = gzip.decompress(base64.b64decode(found.group(2), validate=True))
    encoded.decode("ascii")
    return json.loads(encoded)


def view(
    root: Path,
    runs: Sequence[RunFolder],
    trainings: Sequence[Path] = (),
    *,
    plugins: Sequence[str] = (),
    images: bool = True,
) -> tuple[Path, Report]:
    """Write a report of runs; return its folder."""
    folder = root / "report"
    options = ReportOptions(
        folder,
        include_path=plugins,
        data=DataOptions(offline=True) if images else None,
        progress=False,
    )
    return folder, write_report(runs, trainings, options)


def samples(folder: Path, task: int = 0) -> list[dict[str, Any]]:
    """All samples of a task, chunk by chunk."""
    index = data(folder, f"task-{task}")
    found: list[dict[str, Any]] = []
    for place, first in enumerate(index["chunks"]):
        chunk = data(folder, f"task-{task}-chunk-{place}")
        assert chunk["first"] == first == len(found)
        found += chunk["samples"]
    assert [one["id"] for one in found] == index["ids"]
    return found


def written_run(
    root: Path, spec: RunSpec, texts: Mapping[str, str], plugins: str, *, right: bool = True
) -> RunFolder:
    """A judged and scored run whose ids, questions and responses are these texts."""
    run = RunFolder.of(root, spec)
    run.write_meta(spec, len(texts), {"command": "", "limit": None, "versions": {}})
    asked, made, judged = [], [], []
    for row, (name, text) in enumerate(texts.items()):
        one = Sample(name, (text,), "A", "choice", choices=(text, "y"), groups={"kind": text[:40]})
        asked.append(record_of_sample(one, row))
        made.append(asdict(Generation(f"k{row}", name, 0, text, "stop")))
        at = text.rfind("A")
        verdict = Verdict(
            "correct" if right else "incorrect",
            extracted=text[:200],
            reason=text[:200],
            how="boxed",
            span=(at, at + 1) if at >= 0 else None,
        )
        judgment = Judgment(f"k{row}", name, 0, verdict, text_hash=text_hash(text), raw=text[:200])
        judged.append(asdict(judgment))
    verdicts = run.judgment_path("string_match", "0" * 8)
    verdicts.parent.mkdir(parents=True)
    for path, records in (
        (run.path / "samples.jsonl", asked),
        (run.path / "generations.jsonl", made),
        (verdicts, judged),
    ):
        path.write_text("".join(json.dumps(record) + "\n" for record in records), "ascii")
    score_run(run, "string_match", [plugins])
    return run


def rollout(step: int, prompt: int, index: int, **changes: Any) -> dict[str, Any]:
    """A line of the rollouts journal of `train grpo`."""
    right = float((index + prompt) % 2)
    line = {
        "step": step,
        "sample_id": f"s{prompt}",
        "index": index,
        "dropped": False,
        "question": "how many?",
        "answer": "4",
        "said": f"<description>{index} dots</description><think>t</think>\\boxed{{{index}}}",
        "finish_reason": "stop",
        "error": None,
        "tokens": 12,
        "description": f"{index} dots",
        "read": f"\\boxed{{{index}}}",
        "read_finish_reason": "stop",
        "read_error": None,
        "read_tokens": 5,
        "components": {"accuracy": right, "format": 1.0, "description_accuracy": 0.0},
        "reward": right + 0.1,
        "reasons": {"accuracy": "equal"},
        "advantage": right - 0.5,
        "visual_advantage": None,
    }
    return line | changes
