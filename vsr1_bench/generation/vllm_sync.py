"""Backend `vllm` for the trainer: the engine in the trainer's own process, its weights replaced.

Under several ranks each has its own engine (`external_launcher`): the trainer has set up
torch.distributed before this one starts.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from vsr1_bench.errors import GenerationError, UsageError
from vsr1_bench.generation.base import SyncableGenerator
from vsr1_bench.generation.models import ModelInfo
from vsr1_bench.generation.vllm import VllmArgs, VllmGenerator
from vsr1_bench.records import Completion, Request

if TYPE_CHECKING:
    from torch import Tensor

    from vsr1_bench.generation.chat import Prompt

BIAS = -100.0
"""Added to the logits of banned tokens; the lowest value that vLLM accepts."""

SLEEP_LEVEL = 2
ASYNC_SCHEDULING = False
"""What the tests run: vLLM has none on CPU. On a GPU its default is True, which schedules a step
before the last one has ended."""


class SyncableVllm(VllmGenerator, SyncableGenerator):
    """A vLLM engine whose weights a trainer replaces."""

    _latest: tuple[Prompt, Any] | None = None
    """The latest prompt of a response, and its form for the engine."""

    def __init__(
        self,
        model: ModelInfo,
        args: VllmArgs,
        *,
        banned: Sequence[int] = (),
        sleep_level: int = SLEEP_LEVEL,
    ) -> None:
        """Start the engine; see `VllmGenerator`.

        Args:
            model: The first weights.
            args: Arguments of the backend.
            banned: Tokens that are never sampled.
            sleep_level: vLLM's: 1 keeps the weights in host memory, 2 discards them, 0 = no sleep.

        Raises:
            UsageError: the engine would span several ranks, which have different prompts.
        """
        if args.tensor_parallel_size * args.pipeline_parallel_size > 1:
            raise UsageError(
                "engine_args: each rank has its own engine and its own prompts; drop "
                "tensor_parallel_size and pipeline_parallel_size"
            )
        self.banned = dict.fromkeys(banned, BIAS)
        self._asleep, self._sleep_level = False, sleep_level
        in_process = args.model_copy(update={"in_process": True, "logprobs": True})
        super().__init__(model, in_process)
        from transformers import PreTrainedTokenizerFast

        self._fast = isinstance(self.renderer.tokenizer, PreTrainedTokenizerFast)

    def _settings(self, model: ModelInfo, *, trust_remote_code: bool) -> dict[str, Any]:
        import torch

        settings = super()._settings(model, trust_remote_code=trust_remote_code)
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            settings["distributed_executor_backend"] = "external_launcher"
        settings["async_scheduling"] = ASYNC_SCHEDULING
        if torch.cuda.is_available():
            settings["enable_sleep_mode"] = self._sleep_level > 0
        return settings

    def _params(self, request: Request) -> Any:
        params = super()._params(request)
        params.logit_bias = self.banned or None
        params.detokenize = not self._decodes_at_end(request)
        return params

    def _input(self, prompt: Prompt, tokens: Sequence[int] = ()) -> Any:
        """As for an evaluation, but the samples of a prompt, which follow each other, share it.

        An engine in another process would be sent the images with each sample.
        """
        if tokens:
            return super()._input(prompt, tokens)
        if self._latest is None or not _alike(prompt, self._latest[0]):
            self._latest = prompt, super()._input(prompt)
        return self._latest[1]

    def _decodes_at_end(self, request: Request) -> bool:
        """Whether a response becomes text when it is finished, and not token by token.

        vLLM decodes each token twice between two forward passes, once for its log-prob, where
        nobody reads it. Only stop strings need the text while it grows.
        """
        return self._fast and not request.sampling.stop

    def _completion(self, request: Request, output: Any) -> Completion:
        completion = super()._completion(request, output)
        if not self._decodes_at_end(request):
            return completion
        ids, ended = output.outputs[0].token_ids, completion.finish_reason == "stop"
        text = text_of(
            self.renderer.tokenizer,
            output.prompt_token_ids,
            ids[:-1] if ended else ids,
            keep_marks=self.renderer.keeps_marks,
        )
        return replace(completion, text=text)

    def sync(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Load the weights in place, through the engine's own loader, and reset the caches."""
        try:
            self.engine.collective_rpc("reload_weights", kwargs={"weights_iterator": iter(weights)})
        except Exception as error:  # half of the weights may be new
            raise GenerationError(
                f"vLLM did not take the new weights: {type(error).__name__}: {error}"
            ) from error
        if self._asleep:
            self.engine.wake_up(["kv_cache"])
            self._asleep = False
        self.reset_caches()

    def reset_caches(self) -> None:
        """Drop cached prefixes, and image embeddings, which vLLM stores by the image's hash.

        Raises:
            GenerationError: requests under way still use prefixes of the old weights.
        """
        self._latest = None
        if not self.engine.reset_prefix_cache():
            raise GenerationError("vLLM kept its prefix cache: requests are still under way")
        self.engine.reset_encoder_cache()

    def checksums(self) -> dict[str, int]:
        """Checksums of the parameters that vLLM has not packed for a kernel (it does on CPU)."""
        (sums,) = self.engine.apply_model(_checksums)
        return dict(sums)

    def sleep(self) -> None:
        """Free weights and KV cache on a GPU; on CPU vLLM has no such mode."""
        if self.engine.vllm_config.model_config.enable_sleep_mode and not self._asleep:
            self.reset_caches()
            self.engine.sleep(self._sleep_level)
            self._asleep = True

    def wake(self) -> None:
        """Allocate the memory of the weights; `sync` allocates that of the KV cache."""
        if self._asleep:
            self.engine.wake_up(["weights"])


def _alike(one: Prompt, other: Prompt) -> bool:
    """Whether two prompts show the same; requests share the decoded images that they have."""
    images = zip_longest(one.images, other.images)
    return one.text == other.text and all(a is b for a, b in images)


def text_of(
    tokenizer: Any, prompt: Sequence[int], tokens: Sequence[int], *, keep_marks: bool
) -> str:
    """The text that vLLM makes of a response: it continues the prompt's, in whole characters.

    The text of the tokens alone may begin with another space, or end with half a character.

    Args:
        tokenizer: A fast one.
        prompt: The tokens before the response.
        tokens: The response's, without the one that ended it.
        keep_marks: Special tokens stay in the text.
    """
    from tokenizers.decoders import DecodeStream

    stream, pieces = DecodeStream(list(prompt), skip_special_tokens=not keep_marks), list[str]()
    for token in tokens:
        try:
            piece = stream.step(tokenizer.backend_tokenizer, token)
        except Exception:  # bytes that change an earlier character; vLLM begins anew, too
            stream = DecodeStream(skip_special_tokens=not keep_marks)
            piece = stream.step(tokenizer.backend_tokenizer, token)
        pieces += [piece] if piece else []
    return "".join(pieces)


def _checksums(model: Any) -> dict[str, int]:
    from vsr1_bench.generation.checksums import checksums

    return checksums((n, p) for n, p in model.named_parameters() if p.numel())
