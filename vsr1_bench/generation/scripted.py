r"""Backend `scripted`: replays given answers and simulates failures. Needs no model.

The script is a JSON Lines file, given by `--model_args script=FILE`. A line applies to the sample
`id` (`*` = every sample; an exact id takes precedence), to one `index` if it has one, and to the
first pass unless `stage` is `reading` or `caption`:

    {"id": "q1", "response": "\\boxed{4}"}                  the answer
    {"id": "q2", "error": "no luck"}                   the request fails with this reason
    {"id": "q3", "response": "…", "finish_reason": "length"}
    {"id": "q4", "die": "the engine burned down"}      the whole engine dies at this request
    {"id": "*", "response": "\\boxed{A}", "seconds": 0.2}   each answer takes so long
    {"id": "q5", "stage": "reading", "response": "…"}  what is answered without the image
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator

from vsr1_bench._util.paths import user_text
from vsr1_bench.errors import GenerationError, ModelError
from vsr1_bench.generation.base import (
    NO_SCHEMA,
    PACE,
    BackendArgs,
    Generator,
    InSpec,
    NotInSpec,
    failed,
)
from vsr1_bench.records import Completion, Request, Usage


class ScriptedArgs(BackendArgs):
    """`--model_args` of the scripted backend."""

    script: Annotated[Path, BeforeValidator(user_text), InSpec("model.fingerprint")]
    """JSON lines `{"id", "response"}`, read in order."""
    capacity: Annotated[int, NotInSpec(PACE)] = 8
    """Requests held at once."""


class ScriptedGenerator(Generator):
    """Answers from a script, in the order of submission."""

    def __init__(self, args: ScriptedArgs) -> None:
        """Read the script.

        Raises:
            ModelError: the script is missing, or a line of it cannot be used.
        """
        self.capacity = args.capacity
        self._queue: deque[Request] = deque()
        self._lines: dict[tuple[str, str, int | None], dict[str, Any]] = {}
        try:
            text = args.script.read_text("utf-8")
        except OSError as error:
            raise ModelError(f"script {args.script}: {error.strerror}") from error
        for number, line in enumerate(text.split("\n"), start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
                known = record.keys() & {"response", "error", "die"}
                stage = str(record.get("stage", "answer"))
                self._lines[stage, str(record["id"]), record.get("index")] = record
            except (ValueError, KeyError, AttributeError):
                known = set()
            if len(known) != 1:
                raise ModelError(
                    f"{args.script}:{number}: wanted an object with id and one of response, error "
                    "and die"
                )

    def submit(self, request: Request) -> None:
        """Queue a request."""
        self._queue.append(request)

    def completions(self) -> Iterator[Completion]:
        """Yield the scripted completions in order."""
        while self._queue:
            yield self._answer(self._queue.popleft())

    def _answer(self, request: Request) -> Completion:
        if request.json_schema is not None:
            return failed(request, NO_SCHEMA)
        places = product((request.sample_id, "*"), (request.index, None))
        lines = (self._lines.get((request.stage, *place)) for place in places)
        line = next((line for line in lines if line is not None), None)
        if line is None:
            reason = "the script has no line for this sample"
            reason += "" if request.stage == "answer" else f" at stage {request.stage!r}"
            return failed(request, reason)
        if line.get("seconds"):
            time.sleep(float(line["seconds"]))
        if "die" in line:
            raise GenerationError(f"the scripted engine died: {line['die']}")
        if "error" in line:
            return failed(request, str(line["error"]))
        text = str(line["response"])
        finish = str(line.get("finish_reason", "stop"))
        return Completion(request.key, text, finish, usage=Usage(None, len(text.split())))

    def close(self) -> None:
        """Drop what is queued."""
        self._queue.clear()
