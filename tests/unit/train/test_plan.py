"""`train plan` counts without the model: shapes, measured micro-batches, cards."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from cli import here
from tree import ROOT

from vsr1_bench.errors import UsageError
from vsr1_bench.train.core import memory
from vsr1_bench.train.core.encoding import DISTINCT
from vsr1_bench.train.core.flops import FlopCount, known_peak, peak_of
from vsr1_bench.train.core.memory import GB, Cards, budget_of, fits, fitting, micro_of
from vsr1_bench.train.core.settings import Training
from vsr1_bench.train.core.shapes import Shape, counted, known_models, shape_of
from vsr1_bench.train.plan import COUNTS, adapted, describe_memory, parameters, read_cards
from vsr1_bench.train.recipe import built_in, load_recipe
from vsr1_bench.train.sft_recipe import load_any_recipe

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from vsr1_bench.train.core.footprint import (  # noqa: E402 - it imports torch
    Footprint,
    MicroBatch,
    batch_of,
    build,
    dropped_gradients,
    measure,
    run,
)

SEVEN, THREE = "Qwen/Qwen2.5-VL-7B-Instruct", "Qwen/Qwen2.5-VL-3B-Instruct"
RECIPE = "qwen2_5_vl_7b/vision_sr1_2025"


def shape(model: str) -> Shape:
    found = shape_of(model)
    assert found is not None
    return found


@pytest.mark.parametrize("model", known_models())
def test_known_shapes_have_the_published_number_of_parameters(model: str) -> None:
    """`parameters` is what others counted in the released weights."""
    assert parameters(model) == known_models()[model]["parameters"]
    assert set(shape(model).parts) == {"vision", "projector", "language"}


def test_every_recipe_s_model_has_a_shape() -> None:
    assert all(shape_of(load_any_recipe(name).model) for name in built_in())


def test_an_adapter_is_counted_as_peft_makes_it() -> None:
    """Rank 64 on 28 layers of 7B: q, k, v, o, gate, up, down."""
    ends = (3584 + 3584) * 2 + (3584 + 512) * 2 + (3584 + 18_944) * 3
    assert shape(SEVEN).adapter(64, ("language",)) == 64 * 28 * ends


def small(kind: str) -> Any:
    """A configuration with more layers than are run, so that some are added."""
    from transformers import AutoConfig

    settings = dict(known_models()[SEVEN if kind == "qwen2_5_vl" else "Qwen/Qwen3-VL-4B-Instruct"])
    settings = dict(settings["config"])
    sizes = {"hidden_size": 128, "num_attention_heads": 4, "num_key_value_heads": 2}
    rope = settings["text_config"]["rope_parameters"] | {"mrope_section": [4, 6, 6]}
    text = settings["text_config"] | sizes | {"intermediate_size": 384, "num_hidden_layers": 8}
    text |= {"vocab_size": 1000, "head_dim": 32, "rope_parameters": rope}
    vision = settings["vision_config"] | {"hidden_size": 64, "intermediate_size": 192, "depth": 9}
    vision |= {"num_heads": 4, "out_hidden_size": 128}
    if kind == "qwen2_5_vl":
        vision["fullatt_block_indexes"] = [3, 8]
    else:
        vision["deepstack_visual_indexes"] = [2, 4, 7]
    del settings["model_type"]
    settings |= {"text_config": text, "vision_config": vision, "image_token_id": 999}
    return AutoConfig.for_model(kind, **settings)


MICRO = MicroBatch(2, 260, 120, (20, 20))


def real_peak(config: Any, **how: Any) -> int:
    """Bytes that torch's CPU allocator gave out at most during a run with data."""
    scorer = build(config, torch.float32, **how)
    activities = [torch.profiler.ProfilerActivity.CPU]
    with (
        dropped_gradients(scorer),
        torch.profiler.profile(activities=activities, profile_memory=True) as profile,
    ):
        run(scorer, batch_of(config, MICRO))  # pixels count too
    events = profile.profiler.kineto_results.events()
    memory = [e for e in events if e.name() == "[memory]"]
    now = most = 0
    for event in sorted(memory, key=lambda e: e.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most


@pytest.mark.parametrize("kind", ["qwen2_5_vl", "qwen3_vl"])
@pytest.mark.parametrize(
    "how",
    [{"checkpointing": True}, {"checkpointing": False}, {"checkpointing": True, "lora_rank": 8}],
    ids=["checkpoints", "everything kept", "adapters"],
)
def test_a_measured_micro_batch_takes_what_a_real_one_takes(kind: str, how: dict[str, Any]) -> None:
    config = small(kind)
    planned, real = measure(config, MICRO, torch.float32, **how).peak, real_peak(config, **how)
    assert planned == pytest.approx(real, rel=0.15), f"planned {planned:,}, real {real:,}"


@pytest.mark.parametrize("kind", ["qwen2_5_vl", "qwen3_vl"])
@pytest.mark.parametrize(
    ("how", "patches"),
    [
        ({}, (20, 20)),
        ({}, None),
        ({"freeze": ("vision",)}, (20, 12)),
        ({"freeze": ("language",)}, (20, 20)),
        ({"lora_rank": 8}, (20, 20)),
    ],
    ids=["all", "text", "tower frozen", "language frozen", "adapters"],
)
def test_operations_are_those_that_torch_counts_in_a_real_run(
    kind: str, how: dict[str, Any], patches: tuple[int, int] | None
) -> None:
    """`FlopCounterMode` knows the matrix products of eager attention on every device."""
    from torch.utils.flop_counter import FlopCounterMode

    config = small(kind)
    config._attn_implementation = "eager"
    scorer = build(config, torch.float32, checkpointing=False, **how)
    batch = batch_of(config, MicroBatch(1, 260, 120, patches))
    with FlopCounterMode(display=False) as counter:
        run(scorer, batch)
    # Into the first layer of adapters flows no gradient, and it is counted.
    exact = 0.02 if how.get("lora_rank") else 1e-3
    real = counter.get_total_flops()
    assert FlopCount(scorer.policy).of(batch) == pytest.approx(real, rel=exact)


def test_neither_padding_nor_images_shown_twice_are_operations() -> None:
    """A padded row counts as long as it is; rows that share an image share the tower's pass."""
    config = small("qwen2_5_vl")
    count = FlopCount(build(config, torch.float32, checkpointing=True).policy)
    one, two = (batch_of(config, MicroBatch(n, 260, 120, (20, 20))) for n in (1, 2))
    both = count.of(two)
    assert count.of(one) < both < 2 * count.of(one)  # one token of padding
    two.inputs[DISTINCT] = one.inputs["image_grid_thw"]
    tower = count.of(one) - count.of(batch_of(config, MicroBatch(1, 260, 120)))
    assert both - count.of(two) == pytest.approx(tower)


@pytest.mark.parametrize(
    ("card", "peak"),
    [
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H200", 989e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA GeForce RTX 4090", 165e12),
        ("NVIDIA A10G", None),
        ("Tesla V100-SXM2-16GB", None),
    ],
)
def test_a_card_s_peak_is_known_by_its_name(card: str, peak: float | None) -> None:
    assert known_peak(card) == peak


def test_the_recipe_s_peak_takes_precedence() -> None:
    assert peak_of(load_recipe(RECIPE, ["peak_tflops=100"])) == 100e12
    assert peak_of(load_recipe("tiny/vision_sr1")) is None  # fp32
    with pytest.raises(UsageError, match="peak_tflops=0"):
        load_recipe(RECIPE, ["peak_tflops=0"])


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """A micro-batch that takes 1 MB per token, half of it with LoRA."""

    def footprint(recipe: Training, shape: Shape, micro: MicroBatch) -> Footprint:
        each = 500_000 if memory.adapters(recipe)[0] else 1_000_000
        return Footprint(micro.rows * micro.tokens * each, 0)

    monkeypatch.setattr(memory, "footprint_of", footprint)


@pytest.mark.usefixtures("measured")
def test_bytes_of_a_rank_are_those_of_zero() -> None:
    model, recipe = shape(SEVEN), load_recipe(RECIPE)
    count = model.parameters
    four = budget_of(recipe, model, Cards(4, 80)).parts
    assert four["weights"] == four["reference"] == 2 * count / 4
    assert four["optimizer"] == 12 * count / 4
    assert four["gradients"] == 4 * count / 4 + 2 * 2 * 200_000_000
    assert four["engine"] == 0.35 * 80 * GB
    two = budget_of(load_recipe(RECIPE, ["deepspeed=zero2"]), model, Cards(4, 80)).parts
    assert two["weights"] == two["reference"] == 2 * count and two["gathered weights"] == 0
    assert two["optimizer"] == four["optimizer"]
    lora = budget_of(adapted(recipe), model, Cards(1, 80)).parts
    assert lora["optimizer"] == 12 * model.adapter(64, ("language",)) and lora["reference"] == 0
    no_kl = budget_of(load_recipe(RECIPE, ["beta=0"]), model, Cards(4, 80)).parts
    assert no_kl["reference"] == 0
    away = budget_of(load_recipe(RECIPE, ["deepspeed=zero3_offload"]), model, Cards(4, 80))
    assert away.parts["weights"] == away.parts["optimizer"] == 0 and away.host > 12 * count
    frozen = load_any_recipe("qwen2_5_vl_7b/cold_start")
    sft = budget_of(frozen, model, Cards(8, 80))
    assert sft.parts["optimizer"] == 12 * model.parts["language"] / 8
    assert "generate" not in sft.moments and "engine" not in sft.parts


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize("model", [SEVEN, THREE])
def test_the_named_settings_make_it_fit(model: str) -> None:
    """They are given back to the command line, in the first and smallest form that does it."""
    model_shape, found = shape(model), 0
    for count in COUNTS:
        for gigabytes in (24, 40, 80, 141):
            cards = Cards(count, gigabytes)
            settings = fitting(load_recipe(RECIPE, [f"model={model}"]), model_shape, cards)
            if settings is None:
                continue
            words = shlex.split(" ".join(settings))
            assert fits(load_recipe(RECIPE, [f"model={model}", *words]), model_shape, cards)
            found += bool(settings)
            for less in range(len(words)):
                fewer = [f"model={model}", *words[:less], *words[less + 1 :]]
                assert not fits(load_recipe(RECIPE, fewer), model_shape, cards)
    assert found


@pytest.mark.usefixtures("measured")
def test_the_named_engine_arguments_can_be_given_back() -> None:
    """Whatever their types: a truth value is `true`, and text is quoted."""
    own = "{ gpu_memory_utilization = 0.9, enforce_eager = true, kv_cache_dtype = 'fp8' }"
    recipe = load_recipe(RECIPE, [f"engine_args={own}"])
    settings = fitting(recipe, shape(SEVEN), Cards(4, 80))
    assert settings and settings[-1].startswith("engine_args=")
    given = load_recipe(RECIPE, shlex.split(" ".join(settings))).engine_args
    assert given["gpu_memory_utilization"] < 0.9
    assert given | {"gpu_memory_utilization": 0.9} == recipe.engine_args


@pytest.mark.usefixtures("measured")
def test_more_cards_and_larger_ones_never_fit_less() -> None:
    recipe, model = load_recipe(RECIPE), shape(SEVEN)
    fit = {
        (count, size): fitting(recipe, model, Cards(count, size), offload=False) is not None
        for count in COUNTS
        for size in (24, 40, 80, 141)
    }
    assert not fit[1, 24] and fit[8, 141]
    for (count, size), good in fit.items():
        assert not good or all(fit[c, s] for c, s in fit if c >= count and s >= size)


def test_a_micro_batch_at_the_limit_has_rows_of_full_length() -> None:
    recipe = load_recipe(RECIPE)
    micro = micro_of(recipe, shape(SEVEN))
    assert micro.patches == (146, 146)  # 2,044 x 2,044 pixels, 73 x 73 tokens
    assert (micro.rows, micro.tokens) == (2, 73 * 73 + 512 + 2048)
    assert micro_of(load_recipe(RECIPE, ["microbatch_tokens=100"]), shape(SEVEN)).rows == 1
    both = ["masked_pass=papo", "papo_masked_entropy=0.03", "microbatch_tokens=100"]
    assert micro_of(load_recipe(RECIPE, both), shape(SEVEN)).rows == 2  # one is the masked copy
    sft = micro_of(load_any_recipe("qwen2_5_vl_7b/cold_start"), shape(SEVEN))
    assert (sft.rows, sft.tokens) == (2, 4092)


@pytest.mark.parametrize("given", ["80", "4x", "x80", "0x80", "4x80GB", "-1x80", "4x0", "4 x 80"])
def test_bad_cards_are_refused_in_one_line(given: str) -> None:
    with pytest.raises(UsageError, match=r"wanted COUNTxGB, e\.g\. 4x80") as error:
        read_cards(given)
    assert "\n" not in str(error.value)


def test_cards_go_with_plan_alone() -> None:
    assert "--cards goes with train plan" in here("train", "grpo", "x", "--cards", "4x80").stderr
    mixed = here("train", "plan", "tiny/vision_sr1", "--cards", "4x80", "--nproc", "2")
    assert "--cards 4x80 has one process per card: drop --nproc 2" in mixed.stderr


@pytest.mark.usefixtures("measured")
def test_a_plan_needs_no_model_on_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    told = here("train", "plan", RECIPE, "--cards", "4x80").stdout
    assert "8,292,166,656 parameters, ZeRO stage 3" in told and "\non 4 ranks: 128 prompts" in told
    for part in ("weights", "gradients", "optimizer", "reference", "engine", "activations"):
        assert f"\n| {part} | " in told
    assert "\n| loading | " in told and "\n4 x 80 GB: fits" in told
    many = here("train", "plan", RECIPE).stdout
    assert many.count(" GB | ") == 12 and "| LoRA, rank 64 |" in many


def test_an_unknown_model_names_the_known_ones(tmp_path: Path) -> None:
    told = describe_memory(load_recipe(RECIPE, [f"model={tmp_path / 'none'}"]), 1)
    assert "is not known: give a folder, or one of Qwen/Qwen2.5-VL-3B-Instruct" in told
    assert parameters(str(tmp_path)) is None


def test_a_folder_s_own_configuration_is_counted(tmp_path: Path) -> None:
    config = small("qwen3_vl")
    config.save_pretrained(tmp_path)
    assert parameters(str(tmp_path)) == counted(config).parameters


@pytest.mark.parametrize("page", ["README.md", "docs/training.md"])
def test_the_hardware_table_is_what_the_script_prints(page: str) -> None:
    """3B, measured; the other rows are printed by the same code and take a minute."""
    import runpy

    script = runpy.run_path(str(ROOT / "scripts/hardware_table.py"))
    shown = (ROOT / page).read_text("utf-8")
    for row in script["rows"](THREE):
        assert f"\n{row}\n" in shown
    for model in script["MODELS"]:
        assert f"\n| {model.removeprefix('Qwen/')} | full |" in shown


@pytest.mark.parametrize("family", ["internvl", "gemma3"])
def test_memory_of_images_that_are_not_measured_is_not_counted(tmp_path: Path, family: str) -> None:
    from tests.random_models import FAMILIES

    config, _ = FAMILIES[family]()
    config.save_pretrained(tmp_path)
    (line,) = describe_memory(load_recipe(RECIPE, [f"model={tmp_path}"]), 1).splitlines()
    assert line.startswith(f"memory: not counted, because images of type {family} are not measured")
    assert f"({parameters(str(tmp_path)):,} parameters)" in line
