"""Recipes: typed, complete, refused in one line where they are wrong."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from cli import here

from vsr1_bench.errors import UsageError
from vsr1_bench.train.core.curves import curves_figure, draw_curves
from vsr1_bench.train.core.settings import DS_CONFIGS, LATER, NOT_TRAINING
from vsr1_bench.train.plan import describe
from vsr1_bench.train.recipe import Recipe, built_in, load_recipe
from vsr1_bench.train.sft_recipe import load_any_recipe

BASE = 'model = "tiny"\ntask = "demo"\nobjective = "summed"\n'


def test_every_built_in_recipe_is_valid_and_says_what_it_is() -> None:
    recipes = {name: load_any_recipe(name) for name in built_in()}
    for size in ("3b", "7b"):
        for name in (*PUBLISHED, "cold_start"):
            assert f"qwen2_5_vl_{size}/{name}" in recipes
    assert all(recipe.about for recipe in recipes.values())
    assert len({recipe.about for recipe in recipes.values()}) == len(recipes)
    assert all((DS_CONFIGS / f"{r.deepspeed}.json").is_file() for r in recipes.values())


INSTRUCT, COLD = "Instruct", "Cold-Start"
PUBLISHED = {
    "vision_sr1_2025": ("summed", "see_think_2025", 2048, COLD, 1.0),
    "vision_sr1_2025_instruct": ("summed", "see_think_2025", 2048, INSTRUCT, 1.0),
    "vision_r1_2025": ("answer_only", "cot_2025", 2048, COLD, 1.0),
    "vision_r1_2025_instruct": ("answer_only", "cot_2025", 2048, INSTRUCT, 1.0),
    "see_think_no_self_reward_2025": ("answer_only", "see_think_2025", 2048, COLD, 1.0),
    "vision_sr1_2026": ("multi_advantage", "see_think_2026", 4096, INSTRUCT, 0.0),
    "vision_r1_2026": ("answer_only", "cot", 4096, INSTRUCT, 1.0),
    "decoupled": ("decoupled", "see_think", 4096, COLD, 1.0),
    "external_reward": ("external_perception", "see_think_2025", 2048, COLD, 0.0),
}


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("size", ["3", "7"])
def test_published_settings(size: str, name: str) -> None:
    """method.md section 3: RL batch, sampling, KL, clip, images, prompts; of every recipe."""
    r = load_recipe(f"qwen2_5_vl_{size}b/{name}")
    assert (r.prompts_per_step, r.samples_per_prompt, r.minibatch_prompts) == (512, 8, 128)
    # One epoch: 47K rows at 512 prompts a step.
    assert (r.epochs, r.max_steps, r.dtype) == (1, 92, "bfloat16")
    assert (r.lr, r.weight_decay, r.warmup_steps, r.max_grad_norm) == (1e-6, 0.01, 0, 1.0)
    assert (r.schedule, r.filter_groups, r.scale_rewards) == ("constant", False, True)
    assert (r.temperature, r.beta, r.clip_low, r.clip_high, r.dual_clip) == (1, 0.01, 0.2, 0.3, 3)
    assert (r.min_pixels, r.max_pixels, r.max_prompt_tokens) == (262_144, 4_194_304, 12_800)
    assert r.format_weight == (0.0 if name == "vision_r1_2026" else 0.1)
    assert (r.lambda_answer, r.lambda_visual) == (0.5, 0.5)
    assert (r.dataset, r.split) == ("LMMs-Lab-Turtle/Vision-SR1-47K", "train")
    assert (r.judge, r.freeze, r.credit) == ("mathruler", (), "reader")
    objective, prompt, tokens, weights, reader = PUBLISHED[name]
    assert (r.objective, r.prompt, r.max_tokens) == (objective, prompt, tokens)
    assert r.reading_temperature == reader
    assert r.reader_prompt_tokens == (2048 if name == "vision_sr1_2026" else None)
    assert f"{size}B" in r.model and r.model.endswith(weights)
    assert r.output_dir == Path(f"outputs/qwen2_5_vl_{size}b-{name}")
    # The longest prompt and the longest answer fit into the rollouts' engine.
    assert r.engine_args["max_model_len"] >= r.max_prompt_tokens + r.max_tokens
    assert f"\nsource: {r.source}\n" in describe(r, world=8)
    assert r.source and f"{size}B" in r.about
    assert (f"8 x {'40' if size == '3' else '80'} GB" in r.about) == (name != "external_reward")


def test_the_command_line_lists_recipes_and_names_their_source() -> None:
    listed = here("ls", "recipes").stdout
    for name in built_in():
        assert f"\n{name} " in listed
    plan = ("train", "plan", "--cards", "8x80")
    told = here(*plan, "qwen2_5_vl_3b/vision_sr1_2025", "seed=3").stdout
    assert "\nsource: zli12321/Vision-SR1 at 3b39d81: train_examples/2-3b_selfReward" in told
    assert "none: this project's own recipe" in here(*plan, "tiny/vision_sr1").stdout


@pytest.mark.parametrize("size", ["3", "7"])
def test_the_lora_variant_differs_by_its_adapters_only(size: str) -> None:
    """method.md section 3: rank and alpha 64, lr 1e-5, language layers only."""
    full, lora = (
        load_recipe(f"qwen2_5_vl_{size}b/{name}").model_dump(mode="json")
        for name in ("vision_sr1_2026", "vision_sr1_2026_lora")
    )
    differing = {key: value for key, value in lora.items() if full[key] != value}
    for key in ("about", "source", "output_dir"):
        del differing[key]
    assert differing == {
        "lora_rank": 64,
        "lora_alpha": 64.0,
        "lora_target": ["language"],
        "lr": 1e-5,
        "deepspeed": "zero2",
    }


def test_components_of_the_2026_code() -> None:
    assert load_recipe("qwen2_5_vl_7b/vision_sr1_2026").component_weights == {
        "accuracy": 1.0,
        "format": 0.1,
        "description_accuracy": 1.0,
        "description_format": 0.1,
    }


def test_sizes_differ_by_model_and_hardware_only() -> None:
    pairs = [name for name in built_in() if name.startswith("qwen2_5_vl_3b/")]
    assert len(pairs) == len(PUBLISHED) + 2  # cold_start, vision_sr1_2026_lora
    for name in pairs:
        other = name.replace("3b", "7b")
        assert built_in()[name] == built_in()[other]  # one file
        small, large = (load_any_recipe(n).model_dump(mode="json") for n in (name, other))
        differing = {key for key in small if small[key] != large[key]}
        assert differing - {"about", "source"} == {"model", "output_dir"}
        assert small["model"].replace("3B", "7B") == large["model"]


def test_no_two_recipe_files_are_alike() -> None:
    texts = [path.read_text() for path in set(built_in().values())]
    assert len(set(texts)) == len(texts)
    assert "{size}" not in "".join(load_any_recipe(name).model_dump_json() for name in built_in())


def test_what_no_released_code_implements_says_so() -> None:
    for name in built_in():
        recipe = load_any_recipe(name)
        if getattr(recipe, "objective", None) == "decoupled":
            assert "in no released code" in recipe.about and "results/tiny/prior" in recipe.about
    # What the documents recommend is what the released code implements.
    assert load_recipe("tiny/vision_sr1").objective == "summed"


def test_settings_go_last_and_keep_their_types() -> None:
    r = load_recipe(
        "tiny/vision_sr1",
        [
            "max_steps=7",
            "lr=1e-3",
            "output_dir=elsewhere/x",
            "dual_clip=none",
            "seed=3",
            "eval_tasks=a,b",
        ],
    )
    assert (r.max_steps, r.lr, r.dual_clip, r.seed, r.eval_tasks) == (7, 1e-3, None, 3, "a,b")
    assert r.output_dir == Path("elsewhere/x")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["max_step=3"], "unknown key 'max_step'; did you mean max_steps"),
        (["lr=fast"], "lr='fast'"),
        (["max_steps"], "wanted key=value"),
        (["minibatch_prompts=7"], "minibatch_prompts 7 does not divide prompts_per_step 32"),
        (["dataset=x.jsonl", "task=demo"], "either task or dataset"),
        (["prompt=cot"], "cot asks for none"),
        (["credit=description", "objective=summed"], "credit description goes with decoupled"),
        (["objective=external_perception"], "perception_model"),
        (["schedule=cosine"], "schedule_steps"),
        (["eval_every=2", 'eval_tasks=""'], "needs eval_tasks"),
        (["temperature=0"], "temperature"),
        (["objective=decoupled", "reader=greedy"], "a greedy answer is no sample of the policy"),
        (
            [
                *("objective=external_perception", "perception_model=m", "perception_base_url=u"),
                "reader_prompt_tokens=9",
            ],
            "reader_prompt_tokens: prompts of another model are not cut here",
        ),
        (["reward=r.py:f", "objective=decoupled"], "reward: decoupled has two rewards of its own"),
        (["objective=moca"], "objective moca needs moca_protect and moca_punish; tiny/moca has"),
        (["moca_punish=1"], "go with objective moca, not summed"),
        (
            ["objective=moca", "moca_punish=1", "moca_protect=1", "aggregation=gspo"],
            "aggregation gspo has one ratio for a response, and moca several advantages",
        ),
        (["normalize_batch=true"], "normalize_batch goes with multi_advantage, not summed"),
        (["overlong_tokens=161"], "overlong_tokens 161 is more than max_tokens 160"),
        (
            ["objective=multi_advantage", "overlong_tokens=16"],
            "overlong_tokens: give component_weights a weight for overlong, too",
        ),
        (["component_weights={overlong=1.0}"], "component_weights ['overlong']: known are"),
        (["prompt=see_thing"], "unknown prompt 'see_thing'; did you mean see_think"),
    ],
)
def test_what_is_wrong_is_one_line(settings: list[str], said: str) -> None:
    with pytest.raises(UsageError) as error:
        load_recipe("tiny/vision_sr1", settings)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_files_extend_others(tmp_path: Path) -> None:
    own = tmp_path / "mine.toml"
    own.write_text('extends = "tiny/vision_sr1"\nlr = 1e-2\n')
    assert load_recipe(str(own)).lr == 1e-2 and load_recipe(str(own)).max_tokens == 160
    own.write_text(f'extends = "{own}"\n')
    with pytest.raises(UsageError, match="extends itself"):
        load_recipe(str(own))
    own.write_text("lr = = 1")
    with pytest.raises(UsageError, match="TOML"):
        load_recipe(str(own))
    with pytest.raises(UsageError, match=r"did you mean tiny/vision_sr1"):
        load_recipe("tiny/vision_sr")


def test_only_what_changes_the_training_is_a_change() -> None:
    first = Recipe(model="tiny", task="demo", objective="summed")
    stored: dict[str, Any] = json.loads(json.dumps(first.model_dump(mode="json")))
    later = Recipe(model="tiny", task="demo", objective="summed", max_steps=9, output_dir=Path("x"))
    assert later.changed(stored) == [] and later.digest() == first.digest()
    memory = {"proof_bound": 0.7, "microbatch_tokens": 100, "gradient_checkpointing": False}
    memory |= {"attention": "eager", "peak_tflops": 989.0}
    assert first.model_copy(update=memory).changed(stored) == []
    other = Recipe(model="tiny", task="demo", objective="summed", lr=1.0)
    assert other.changed(stored) == ["lr: 1e-06 -> 1.0"] and other.digest() != first.digest()
    asleep = {"sleep_level": 1, "engine_args": {"gpu_memory_utilization": 0.3}}
    assert first.model_copy(update=asleep).changed(stored) == []


def test_checkpoints_older_than_a_setting_were_trained_with_its_default() -> None:
    """They resume, and a recipe without the setting keeps its hash."""
    recipe = Recipe(model="tiny", task="demo", objective="summed")
    old = recipe.model_dump(mode="json")
    for key in LATER:
        del old[key]
    assert recipe.changed(old) == []
    hashed = {key: value for key, value in old.items() if key not in NOT_TRAINING}
    text = json.dumps(hashed, sort_keys=True)
    assert recipe.digest() == hashlib.sha256(text.encode()).hexdigest()
    other = recipe.model_copy(update={"importance_mode": "sequence_mask"})
    assert other.changed(old) == ["importance_mode: 'token_truncate' -> 'sequence_mask'"]
    assert other.digest() != recipe.digest()


def test_the_plan_says_what_a_step_takes() -> None:
    told = describe(load_recipe("tiny/vision_sr1"), world=2)
    assert "32 prompts x 8 = 256 responses, two passes" in told
    assert "16 prompts of a step" in told
    big = describe(load_recipe("qwen2_5_vl_7b/vision_sr1_2025"), world=8)
    assert "512 prompts x 8 = 4096 responses" in big and "updates per step: 4" in big


def test_curves_of_a_run_are_a_picture_without_empty_panels(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert draw_curves(tmp_path) is None and list(tmp_path.iterdir()) == []
    lines = [{"step": s, "loss": 1 / (s + 1), "validation/<b>": 50.0, "lr": 1} for s in range(3)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert draw_curves(tmp_path) == tmp_path / "curves.png"
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert not list(tmp_path.glob("*.html"))  # `vsr1-bench view` shows a training run
    panels = curves_figure(lines).axes
    assert [panel.get_title(loc="center") or panel.get_title(loc="left") for panel in panels] == [
        "validation, %", "loss", "learning rate"
    ]  # fmt: skip
    for panel in panels:
        assert [list(line.get_xdata()) for line in panel.get_lines()] == [[0, 1, 2]]


def test_one_source_of_rows_replaces_the_other(tmp_path: Path) -> None:
    """A recipe's `task` need not be unset by hand, nor an inherited one."""
    (tmp_path / "base.toml").write_text(BASE)
    child = tmp_path / "child.toml"
    child.write_text(f'extends = "{tmp_path}/base.toml"\ndataset = "rows.jsonl"\n')
    assert load_recipe(str(child)).task is None
    recipe = load_recipe(str(tmp_path / "base.toml"), ["dataset=rows.jsonl"])
    assert (recipe.task, recipe.dataset) == (None, "rows.jsonl")
    back = load_recipe(str(child), ["task=demo"])
    assert (back.task, back.dataset) == ("demo", None)
