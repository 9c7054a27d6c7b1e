"""Batches without padding: the same log-probs, gradients and steps as with it."""

from __future__ import annotations

import sys
import types
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
)
from tree import load_script

from tests.models import demo_requests, tiny
from tests.random_models import FAMILIES, write
from tests.responses import qwen2_5, qwen3, rows_on, two_images
from tests.training import small_recipe, trainer
from vsr1_bench.errors import UsageError
from vsr1_bench.generation.chat import ChatRenderer
from vsr1_bench.generation.models import find_model
from vsr1_bench.records import Message
from vsr1_bench.tiny import weights_path
from vsr1_bench.train.core import packed
from vsr1_bench.train.core.encoding import Encoder, TrainRow
from vsr1_bench.train.core.flops import FlopCount
from vsr1_bench.train.core.layout import Segments
from vsr1_bench.train.core.logprobs import Scorer, score_batch
from vsr1_bench.train.core.metrics import StepMetrics
from vsr1_bench.train.core.packed import is_packed, set_packing


def prompts(kind: str) -> list[Any]:
    shown = [*demo_requests(2), replace(two_images(), sample_id="both")]
    if kind == "image":
        return shown
    words = ("How many?", "What is one and one, and why?")
    return [
        replace(shown[0], images=(), messages=(Message("user", (text,)),), sample_id=text)
        for text in words
    ]


def scored(
    model: Any, encoder: Encoder, rows: Sequence[TrainRow]
) -> tuple[dict[tuple[str, int, bool], Tensor], dict[str, Tensor], tuple[int, ...]]:
    """Log-probs of each row, the gradient of their weighted sum, and the shape of the batch."""
    batch = encoder.collate(rows)
    model.zero_grad()
    logprobs, _ = score_batch(Scorer(model), batch, temperature=1.0, bans=False)
    each = [(row.request.index + 1) * torch.linspace(-1, 1, len(row.tokens)) for row in rows]
    (logprobs * torch.cat(each)).sum().backward()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return by_row(rows, logprobs.detach()), gradients, tuple(batch.inputs["input_ids"].shape)


def pack(model: Any, encoder: Encoder) -> None:
    """Let a model and its encoder pack, as the trainers do."""
    set_packing(model, None)
    encoder.make_batches_for(model)
    assert encoder.packs


def check(found: Any, wanted: Any) -> None:
    """The same log-probs and gradients, but for rounding."""
    assert found[0].keys() == wanted[0].keys()
    for name, values in found[0].items():
        torch.testing.assert_close(values, wanted[0][name], rtol=0, atol=2e-5)
    assert found[1].keys() == wanted[1].keys()
    for name, gradient in found[1].items():
        error = float((gradient - wanted[1][name]).abs().max())
        assert error <= 1e-4 * float(wanted[1][name].abs().max()) + 1e-6, name


def by_row(rows: Sequence[TrainRow], values: Tensor) -> dict[tuple[str, int, bool], Tensor]:
    parts = torch.split(values, [len(row.tokens) for row in rows])
    names = [(row.request.sample_id, row.request.index, row.masked) for row in rows]
    return dict(zip(names, parts, strict=True))


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("kind", ["image", "text", "masked"])
@pytest.mark.parametrize("build", [qwen2_5, qwen3])
def test_responses_are_scored_as_alone(build: Any, kind: str, checkpointing: bool) -> None:
    model, encoder = build(), Encoder(ChatRenderer(tiny()))
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.train()
    rows = rows_on(prompts("text" if kind == "text" else "image"), 4)
    named = "text" if kind == "text" else "image"

    def cut() -> list[TrainRow]:
        (micro,) = encoder.microbatches(rows, 10**6, len(rows))[named]
        return [*micro, *(replace(r, masked=True) for r in micro)] if kind == "masked" else micro

    alone = cut()
    wanted = scored(model, encoder, alone)
    assert wanted[2][0] == len(alone)
    pack(model, encoder)
    found = scored(model, encoder, cut())
    check(found, wanted)
    copies = sum(encoder.encode(r.request)["input_ids"].shape[1] for r in alone) // 4
    assert found[2] == (1, copies + sum(len(row.tokens) for row in alone))


def text_only(folder: Path) -> None:
    """A random Llama with the embedded model's tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(weights_path())
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=len(tokenizer), **sizes, **heads)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def made(family: str, folder: Path) -> tuple[Any, Encoder]:
    """A random model of a family, and its encoder."""
    if family == "llama":
        text_only(folder)
    else:
        folder = folder / family
        write(family, folder)
    renderer = ChatRenderer(find_model(str(folder), backend="transformers"))
    kind = AutoModelForImageTextToText if renderer.sees else AutoModelForCausalLM
    return kind.from_pretrained(folder, dtype=torch.float32), Encoder(renderer)


@pytest.mark.parametrize("family", ["llama", *FAMILIES])
def test_models_of_each_family(family: str, tmp_path: Path) -> None:
    model, encoder = made(family, tmp_path)
    rows = rows_on(prompts("image" if encoder.renderer.sees else "text")[:2], 3)
    wanted = scored(model, encoder, rows)
    set_packing(model, None)
    encoder.make_batches_for(model)
    assert encoder.packs is (family != "gemma3")
    found = scored(model, encoder, rows)
    check(found, wanted)
    assert found[2][0] == (6 if family == "gemma3" else 1)


def test_the_operations_of_a_packed_batch_are_those_that_torch_counts() -> None:
    model, encoder = qwen2_5().train(), Encoder(ChatRenderer(tiny()))
    pack(model, encoder)
    batch = encoder.collate(rows_on(prompts("image"), 3))
    # torch does not count the fast kernels of attention on a CPU.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        score_batch(Scorer(model), batch, temperature=1.0, bans=False)[0].sum().backward()
    assert FlopCount(model).of(batch) == pytest.approx(counter.get_total_flops(), rel=0.01)


def test_a_cache_that_holds_one_prompt_changes_nothing() -> None:
    model = qwen2_5()
    encoder, bounded = (Encoder(ChatRenderer(tiny()), limit) for limit in (None, 1))
    rows = rows_on(prompts("image"), 3)
    wanted = scored(model, encoder, rows)
    pack(model, bounded)
    check(scored(model, bounded, rows), wanted)


def test_a_prompt_with_one_response_is_one_segment() -> None:
    model, encoder = qwen2_5(), Encoder(ChatRenderer(tiny()))
    rows = rows_on(prompts("image"), 1)
    wanted = scored(model, encoder, rows)
    pack(model, encoder)
    segments = encoder.collate(rows).segments
    assert segments is not None and segments.prompts == [None] * len(rows)
    check(scored(model, encoder, rows), wanted)


def varlen(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    starts: Tensor,
    key_starts: Tensor,
    longest: int,
    longest_key: int,
    scale: float,
) -> Tensor:
    """What kernels of flash attention for different lengths document; those need a GPU."""
    assert starts.dtype == key_starts.dtype == torch.int32
    assert (longest, longest_key) == (int(starts.diff().max()), int(key_starts.diff().max()))
    assert (len(query), len(key)) == (starts[-1], key_starts[-1])
    groups, outputs = query.shape[1] // key.shape[1], []
    key, value = (whole.repeat_interleave(groups, 1) for whole in (key, value))
    for n in range(len(starts) - 1):
        q = query[starts[n] : starts[n + 1]]
        k, v = (whole[key_starts[n] : key_starts[n + 1]] for whole in (key, value))
        scores = torch.einsum("qhd,khd->hqk", q, k) * scale
        # Causal from the last query and the last key backwards.
        seen = torch.ones(scores.shape[1:], dtype=torch.bool).tril(len(k) - len(q))
        shares = scores.masked_fill(~seen, -torch.inf).softmax(-1)
        outputs.append(torch.einsum("hqk,khd->qhd", shares, v))
    return torch.cat(outputs)


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("family", ["llama", "qwen2_vl"])
@pytest.mark.parametrize("kernel", ["torch", "flash_attn"])
def test_kernels_for_all_segments_at_once(
    kernel: str, family: str, samples: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[dict[str, Any]] = []

    def ours(*args: Any, window_size: Any, scale: float, enable_gqa: bool) -> Tensor:
        calls.append({"window_size": window_size, "enable_gqa": enable_gqa})
        return varlen(*args, scale)

    def theirs(*args: Any, dropout_p: float, softmax_scale: float, causal: bool) -> Tensor:
        calls.append({"dropout_p": dropout_p, "causal": causal})
        return varlen(*args, softmax_scale)

    model, encoder = made(family, tmp_path)
    rows = rows_on(prompts("image" if encoder.renderer.sees else "text"), samples)
    wanted = scored(model, encoder, rows)
    text = model.config.get_text_config()
    if kernel == "torch":
        monkeypatch.setattr(packed, "varlen_of_torch", lambda query: ours)
        gqa = text.num_key_value_heads != text.num_attention_heads
        told = {"window_size": (-1, 0), "enable_gqa": gqa}  # causal
    else:
        package = types.ModuleType("flash_attn")
        package.__spec__ = ModuleSpec("flash_attn", None)
        package.flash_attn_varlen_func = theirs  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "flash_attn", package)
        text._attn_implementation = "flash_attention_2"
        told = {"dropout_p": 0.0, "causal": True}
    pack(model, encoder)
    check(scored(model, encoder, rows), wanted)
    assert calls == [told] * text.num_hidden_layers


def test_the_kernel_of_torch_takes_these_arguments() -> None:
    """Its shapes, forward and backward, with tensors that hold no data: it runs on GPUs only."""
    segments = Segments([3, 2, 1, 2], [None, 0, 0, None])
    varlen_attn = pytest.importorskip("torch.nn.attention.varlen").varlen_attn
    with FakeTensorMode():
        query = torch.empty(1, 4, 8, 32, dtype=torch.bfloat16, requires_grad=True)
        key = torch.empty(1, 2, 8, 32, dtype=torch.bfloat16, requires_grad=True)
        at_once = partial(varlen_attn, window_size=(-1, 0), scale=0.2, enable_gqa=True)
        output = packed._at_once(at_once, query, key, key, segments)
        assert output.shape == (1, 8, 4, 32)
        output.sum().backward()
    assert query.grad is not None and query.grad.shape == query.shape
    assert key.grad is not None and key.grad.shape == key.shape
    assert packed.varlen_of_torch(torch.empty(1, dtype=torch.bfloat16)) is None


def test_the_same_sample_in_two_slots_of_a_step_has_two_masked_images() -> None:
    model, encoder = qwen2_5(), Encoder(ChatRenderer(tiny()))
    first = demo_requests(1)[0]
    slots = [replace(first, sampling=replace(first.sampling, seed=seed)) for seed in (1, 2)]
    rows = [replace(row, masked=True) for slot in slots for row in rows_on([slot], 2)]
    alone = [scored(model, encoder, [row])[0] for row in rows]
    pack(model, encoder)
    (micro,) = encoder.microbatches(rows, 10**6, len(rows))["image"]
    batch = encoder.collate(micro)
    with torch.no_grad():
        found, _ = score_batch(Scorer(model), batch, temperature=1.0, bans=False)
    parts = torch.split(found, batch.lengths)
    for row, part in zip(micro, parts, strict=True):
        (wanted,) = alone[rows.index(row)].values()
        torch.testing.assert_close(part, wanted, rtol=0, atol=2e-5)
    assert batch.segments is not None and batch.segments.prompts == [None, 0, 0, None, 3, 3]


@pytest.mark.parametrize("of", ["response", "prompt"])
def test_no_response_sees_another_one_or_another_prompt(of: str) -> None:
    model, encoder = qwen2_5(), Encoder(ChatRenderer(tiny()))
    pack(model, encoder)
    rows = rows_on(prompts("image"), 3)
    (micro,) = encoder.microbatches(rows, 10**6, len(rows))["image"]
    batch = encoder.collate(micro)
    before = [row.request.sample_id for row in micro]
    other = before.index(before[-1])  # the first response to the last prompt
    if of == "response":
        place, changed = int(batch.places[sum(batch.lengths[:other]) + 1]), [other]
    else:
        place = int(batch.places[sum(batch.lengths[:other])])
        changed = [n for n, sample in enumerate(before) if sample == before[-1]]
    with torch.no_grad():
        wanted, _ = score_batch(Scorer(model), batch, temperature=1.0, bans=False)
        batch.inputs["input_ids"][0, place] += 1
        found, _ = score_batch(Scorer(model), batch, temperature=1.0, bans=False)
    parts = zip(*(torch.split(p, batch.lengths) for p in (found, wanted)), strict=True)
    assert [n for n, (one, two) in enumerate(parts) if not torch.equal(one, two)] == changed


def test_a_packed_step_is_the_padded_step(tmp_path: Path) -> None:
    """Both passes, a reference, two updates from the same rollouts."""
    told: list[dict[str, float]] = []
    shapes: list[bool] = []
    for packing in (None, False):
        changes = {"packing": packing, "beta": 0.01, "minibatch_prompts": 1, "lr": 1e-4}
        changes |= {"max_tokens": 16}
        with trainer(small_recipe(tmp_path / str(packing), **changes)) as t:
            collate = t.encoder.collate

            def noted(rows: Sequence[TrainRow], collate: Any = collate) -> Any:
                batch = collate(rows)
                shapes.append(batch.segments is not None)
                return batch

            t.encoder.collate = noted
            t.start()
            metrics = StepMetrics()
            shapes.clear()
            t.step(metrics)
            assert {*shapes} == {packing is None}
            told.append(t.log(metrics))
    one, other = told
    assert one["flops"] < 0.95 * other["flops"]
    for name in ("loss", "grad_norm", "kl", "entropy", "ratio", "mismatch/mean"):
        assert one[name] == pytest.approx(other[name], rel=1e-3, abs=1e-6), name
    assert one["tokens_trained"] == other["tokens_trained"]


def test_which_models_are_packed() -> None:
    def of(wanted: bool | None, model: Any) -> bool:
        set_packing(model, wanted)
        return is_packed(model)

    assert of(True, qwen2_5()) and of(None, qwen3()) and not of(False, qwen2_5())
    for change in (
        {"_attn_implementation": "eager"},
        {"_attn_implementation": "flash_attention_2"},  # without its package
        {"layer_types": ["full_attention", "sliding_attention"]},
        {"model_type": "gemma3_text"},
    ):
        model = qwen2_5()
        for name, value in change.items():
            setattr(model.config.get_text_config(), name, value)
        assert not of(None, model)
        with pytest.raises(UsageError, match=r"^packing=true: wanted .* drop packing"):
            set_packing(model, True)


def test_attention_that_needs_a_mask_is_refused_in_one_line(tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path, packing=True, attention="eager")
    refused = r"^packing=true: wanted .* got qwen2_5_vl with eager; drop packing"
    with pytest.raises(UsageError, match=refused), trainer(recipe):
        pass


def test_a_response_without_tokens_has_no_share() -> None:
    model, encoder = qwen2_5(), Encoder(ChatRenderer(tiny()))
    full, empty = rows_on(demo_requests(1), 2)
    empty = replace(empty, tokens=())
    pack(model, encoder)
    for rows in ([full, empty], [empty]):
        batch = encoder.collate(rows)
        logprobs, _ = score_batch(Scorer(model), batch, temperature=1.0, bans=False)
        logprobs.sum().backward()
        assert len(logprobs) == sum(len(row.tokens) for row in rows)


def test_the_benchmark_makes_the_same_update_in_both_ways(tmp_path: Path) -> None:
    ways, (padded, packed_flops), prompt = load_script("bench_packing").updates(0, 8)
    assert packed_flops < padded and prompt > 20
    for way in ways.values():
        way(tmp_path)
