"""OpenAI's batch service: a file of requests, a batch, files of results and of errors."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai

from vsr1_bench.generation.batch import BatchService, RemoteBatch, Result, State

NAME = "vsr1_bench"
"""Key of a batch's name in its metadata."""
ENDED = ("completed", "expired", "cancelled")
EXPIRED = 408
"""Status of a request that the batch did not get to; it is tried again."""


class OpenAIBatches(BatchService):
    """Batches of chat completions."""

    def __init__(self, client: openai.AsyncOpenAI) -> None:
        """Use the client of the generator."""
        self._client = client

    def line(self, key: str, body: Any) -> dict[str, Any]:
        """A line of the file of requests."""
        return {"custom_id": key, "method": "POST", "url": "/v1/chat/completions", "body": body}

    def key(self, line: dict[str, Any]) -> str:
        """The key of a request or a result."""
        return str(line["custom_id"])

    async def upload(self, path: Path, name: str) -> str:
        """Upload a file of requests."""
        with path.open("rb") as file:
            uploaded = await self._client.files.create(
                file=(f"{name}.jsonl", file), purpose="batch"
            )
        return uploaded.id

    async def create(self, file: str, name: str) -> RemoteBatch:
        """Run it."""
        return _remote(
            await self._client.batches.create(
                completion_window="24h",
                endpoint="/v1/chat/completions",
                input_file_id=file,
                metadata={NAME: name},
            )
        )

    async def listed(self) -> AsyncIterator[tuple[str, RemoteBatch]]:
        """All batches of the account."""
        async for batch in self._client.batches.list(limit=100):
            yield (batch.metadata or {}).get(NAME, ""), _remote(batch)

    async def get(self, id: str) -> RemoteBatch:
        """The state of a batch."""
        return _remote(await self._client.batches.retrieve(id))

    async def download(self, file: str) -> bytes:
        """A file of results."""
        return (await self._client.files.content(file)).content

    def result(self, line: dict[str, Any]) -> Result:
        """Read a line of results or of errors."""
        response = line.get("response")
        if response is None:
            error = line.get("error")
            return Result(self.key(line), EXPIRED, json.dumps({"error": error}).encode())
        body = json.dumps(response["body"]).encode()
        return Result(self.key(line), int(response["status_code"]), body)


def _remote(batch: Any) -> RemoteBatch:
    status = str(batch.status)
    files = tuple(file for file in (batch.output_file_id, batch.error_file_id) if file)
    errors = (batch.errors.data or []) if batch.errors else []
    reason = "; ".join(str(error.message or error.code) for error in errors[:3])
    state: State = "ended" if status in ENDED else "failed" if status == "failed" else "running"
    return RemoteBatch(batch.id, state, status, files, " ".join(reason.split())[:300])
