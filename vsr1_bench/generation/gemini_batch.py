"""Gemini's batch service: a file of requests, a batch, a file of results."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from google import genai
from google.genai import types

from vsr1_bench.generation.batch import BatchService, RemoteBatch, Result, State

ENDED = ("SUCCEEDED", "PARTIALLY_SUCCEEDED", "EXPIRED", "CANCELLED")
STATUS = {3: 400, 4: 504, 5: 404, 7: 403, 8: 429, 9: 400, 11: 400, 16: 401}
"""HTTP status of the codes of Google's RPCs; of all others 500."""


class GeminiBatches(BatchService):
    """Batches of generated content, by files of requests."""

    def __init__(self, client: genai.Client, model: str) -> None:
        """Use the client of the generator."""
        self._client, self._model = client.aio, model

    def line(self, key: str, body: Any) -> dict[str, Any]:
        """A line of the file of requests."""
        return {"key": key, "request": body}

    def key(self, line: dict[str, Any]) -> str:
        """The key of a request or a result."""
        return str(line["key"])

    async def upload(self, path: Path, name: str) -> str:
        """Upload a file of requests."""
        config = types.UploadFileConfig(display_name=name, mime_type="application/jsonl")
        uploaded = await self._client.files.upload(file=path, config=config)
        return str(uploaded.name)

    async def create(self, file: str, name: str) -> RemoteBatch:
        """Run it."""
        config = types.CreateBatchJobConfig(display_name=name)
        return _remote(
            await self._client.batches.create(model=self._model, src=file, config=config)
        )

    async def listed(self) -> AsyncIterator[tuple[str, RemoteBatch]]:
        """All batches of the account."""
        config = types.ListBatchJobsConfig(page_size=100)
        async for batch in await self._client.batches.list(config=config):
            yield batch.display_name or "", _remote(batch)

    async def get(self, id: str) -> RemoteBatch:
        """The state of a batch."""
        return _remote(await self._client.batches.get(name=id))

    async def download(self, file: str) -> bytes:
        """A file of results."""
        return await self._client.files.download(file=file)

    def result(self, line: dict[str, Any]) -> Result:
        """Read a line of results."""
        error = line.get("error")
        if error is None:
            return Result(self.key(line), 200, json.dumps(line["response"]).encode())
        code = error.get("code")
        status = code if isinstance(code, int) and 400 <= code < 600 else STATUS.get(code, 500)
        return Result(self.key(line), status, json.dumps({"error": error}).encode())


def _remote(batch: types.BatchJob) -> RemoteBatch:
    status = (batch.state.name if batch.state else "").removeprefix("JOB_STATE_")
    file = batch.dest.file_name if batch.dest else None
    reason = str(batch.error.message or "") if batch.error else ""
    state: State = "ended" if status in ENDED else "failed" if status == "FAILED" else "running"
    return RemoteBatch(
        str(batch.name), state, status.lower(), (file,) if file else (), reason[:300]
    )
