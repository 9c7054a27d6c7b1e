"""Rollouts without a model: an engine whose answers are written here, and a recipe for them."""

from __future__ import annotations

from typing import Any

from vsr1_bench.records import Completion, Request, Sample, Sampling
from vsr1_bench.train.recipe import Recipe

FINE = "<description> red dots </description> <think> count </think> \\boxed{2}"
SAMPLE = Sample("s", ("How many?",), "2", "number")
PROMPT = Request("", (), Sampling(), sample_id="s")


class Echo:
    """An engine whose answers are a function of the request; some of them fail."""

    capacity = 3

    def __init__(self, answer: Any) -> None:
        self.answer, self.asked = answer, []  # type: ignore[var-annotated]
        self._waiting: list[Request] = []

    def submit(self, request: Request) -> None:
        self.asked.append(request)
        self._waiting.append(request)

    def completions(self) -> Any:
        while self._waiting:
            request = self._waiting.pop()
            yield self.answer(request)

    def generate(self, requests: list[Request]) -> Any:
        for request in requests:
            self.submit(request)
        yield from self.completions()


def said(request: Request, text: str, **fields: Any) -> Completion:
    return Completion(request.key, text, token_ids=(1, 2, 3), logprobs=(0.0,) * 3, **fields)


def scripted(request: Request) -> Completion:
    """Answer 0 is right and read right, 1 wrong, 2 has no description, 3 is cut off, 4 fails."""
    if request.key.endswith("read"):
        return said(request, "<think> a </think> \\boxed{2}")
    if request.index == 3:
        return said(request, FINE, finish_reason="length")
    if request.index == 4:
        return Completion(request.key, finish_reason="error", error="broken image")
    texts = {0: FINE, 1: FINE.replace("{2}", "{7}"), 2: "<think> a </think> \\boxed{2}"}
    return said(request, texts[request.index])


def recipe(**changes: Any) -> Recipe:
    base: dict[str, Any] = {"model": "tiny", "task": "demo", "objective": "summed"}
    return Recipe(**(base | {"samples_per_prompt": 5} | changes))


class OneRank:
    """A training of one process, without a process group."""

    def gather(self, value: Any) -> list[Any]:
        return [value]
