"""The documents of an lmms-eval task as samples, with the task's own messages."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from vsr1_bench.data.rows import go_offline, keep_encoded
from vsr1_bench.errors import TaskError
from vsr1_bench.harness import ExternalData, TaskOverrides
from vsr1_bench.lmms_eval.identity import digest_of
from vsr1_bench.lmms_eval.loading import FEWSHOT_SEED, Plan, load_task, seeded
from vsr1_bench.lmms_eval.messages import read_messages, sampling_of
from vsr1_bench.records import ImagePlace, Sample
from vsr1_bench.store.spec import DataSpec
from vsr1_bench.task import ExternalTask


def open_documents(source: ExternalTask, *, offline: bool = False) -> ExternalData:
    """Open a task's documents.

    Raises:
        UsageError: lmms-eval is not installed, or has no such task.
        TaskError: the task does not load, or cannot write its few-shot examples.
    """
    if offline:
        go_offline()
    with seeded():
        theirs, plan = load_task(source.name, source.include_path)
    _try_examples(source.name, theirs)
    documents = _Documents(theirs)
    config = theirs.config
    where = str(theirs.DATASET_PATH)
    overrides = TaskOverrides(
        prompt_hash=digest_of(source.name, plan)[:16],
        sampling={**own_sampling(config, plan), "n": int(config.repeats or 1)},
    )
    spec = DataSpec(
        id=Path(where).name if Path(where).exists() else where,
        config=theirs.DATASET_NAME,
        split=documents.split,
        revision=None,
        fingerprint=fingerprint(theirs.eval_docs),
    )
    return ExternalData(spec, len(theirs.eval_docs), documents.sample, overrides)


def own_sampling(config: Any, plan: Plan) -> dict[str, Any]:
    """The task's own sampling settings.

    lmms-eval adds a blank line as `until` to a task that sets none; that one is dropped.
    """
    settings = config.generation_kwargs or {}
    if plan.config is not None:
        stop = "until" in (plan.config.get("generation_kwargs") or {})
    else:  # a Python class: its original setting is not known
        stop = settings.get("until") != [config.fewshot_delimiter]
    return sampling_of(settings, stop=stop)


def _try_examples(name: str, theirs: Any) -> None:
    """Have few-shot examples written once, by the call with which lmms-eval's evaluator begins.

    Its gsm8k wants five and does not say how they are drawn; lmms-eval then makes no sampler.
    """
    shots = theirs.config.num_fewshot
    if not shots:
        return
    try:
        theirs.fewshot_context(theirs.eval_docs_no_media[0], shots)
    except Exception as error:  # its code
        way = "num_fewshot: 0"
        if theirs.config.fewshot_config is None:
            way = "fewshot_config: {sampler: default}, or " + way
        raise TaskError(
            f"lmms_eval/{name} cannot write its {shots} few-shot examples: {type(error).__name__}: "
            f"{error}; lmms-eval's own evaluator ends with the same error. To run it, write a file "
            f"that includes the task's own and sets {way} (docs/lmms-eval.md)"
        ) from error


class _Documents:
    """Documents by number; the task itself writes the messages of each sample."""

    def __init__(self, theirs: Any) -> None:
        self._theirs = theirs
        config = theirs.config
        self.split = str(config.test_split if theirs.has_test_docs() else config.validation_split)

    def sample(self, number: int) -> Sample:
        """Make the sample of a document, with the messages that the task writes for it.

        Raises:
            TaskError: the task fails on it, or shows something other than text and images.
        """
        try:
            self._theirs.set_fewshot_seed(seed=FEWSHOT_SEED)
            request = instance(self._theirs, number, self.split)
            document = self._theirs.dataset[self.split][number]
            chat = request.args[1](document)
            gold = self._theirs.doc_to_target(document)
        except Exception as error:  # its code, on one document: that one fails, the run goes on
            raise TaskError(f"its own code fails: {type(error).__name__}: {error}") from error
        messages, images = read_messages(chat)
        extra: dict[str, Any] = {}
        if len(messages) != 1 or messages[0].role != "user":
            extra["turns"] = [
                [
                    m.role,
                    [{"image": p.index} if isinstance(p, ImagePlace) else p for p in m.content],
                ]
                for m in messages
            ]
        return Sample(
            id=str(number),
            question=tuple(part for message in messages for part in message.content),
            answer=gold if isinstance(gold, str) else json.dumps(gold, default=str),
            answer_type="text",
            images=images,
            extra=extra,
        )


def instance(theirs: Any, number: int, split: str) -> Any:
    """The task's request for one document; chat models ignore the context it is built with."""
    metadata = {
        "task": theirs.config.task,
        "doc_id": number,
        "repeats": theirs.config.repeats,
        "split": split,
    }
    more = theirs.config.metadata
    if more and type(more) is dict:
        metadata.update(more)
    requests = theirs.construct_requests(doc_id=number, ctx="", metadata=metadata)
    return requests[0] if isinstance(requests, list) else requests


def fingerprint(documents: Any) -> str:
    """Hash every document, with images as they are stored; equal in every process."""
    digest = hashlib.sha256()
    for row in keep_encoded(documents):
        digest.update(json.dumps(_canonical(row), sort_keys=True).encode())
    return digest.hexdigest()[:32]


def _canonical(value: Any) -> Any:
    """A document's value as JSON, with hashes of images instead of their paths."""
    from PIL.Image import Image

    if isinstance(value, dict):
        if value.keys() == {"bytes", "path"}:
            file = Path(str(value["path"]))
            data = value["bytes"] or (file.read_bytes() if file.is_file() else b"")
            return hashlib.sha256(data).hexdigest()
        return {key: _canonical(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(inner) for inner in value]
    if isinstance(value, bytes | bytearray):
        return hashlib.sha256(value).hexdigest()
    if isinstance(value, Image):  # `datasets` has opened it, deep in a document
        return [value.mode, value.size, hashlib.sha256(value.tobytes()).hexdigest()]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
