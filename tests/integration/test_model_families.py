"""Every supported family, as a random model: cold start, one step of GRPO, evaluation.

The cold start teaches a model the form of its replies. So the step that follows has format rewards
of 1, and answers that differ.
"""

from __future__ import annotations

import gc
import io
import json
import shutil
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("deepspeed", reason="the train extra is not installed here")

from PIL import Image  # noqa: E402

from tests.models import by_key, demo_requests  # noqa: E402
from tests.random_models import FAMILIES, THINKING, write  # noqa: E402
from tests.training import metrics, small_recipe, small_sft, trainer  # noqa: E402
from vsr1_bench.generation.base import Generator  # noqa: E402
from vsr1_bench.generation.chat import ChatRenderer  # noqa: E402
from vsr1_bench.generation.images import ImageError  # noqa: E402
from vsr1_bench.generation.models import find_model  # noqa: E402
from vsr1_bench.generation.transformers import TransformersGenerator  # noqa: E402
from vsr1_bench.generation.transformers_args import TransformersArgs  # noqa: E402
from vsr1_bench.pipeline.plan import RunOptions  # noqa: E402
from vsr1_bench.pipeline.run import generate  # noqa: E402
from vsr1_bench.prompts.formats import reading_messages  # noqa: E402
from vsr1_bench.records import (  # noqa: E402
    Completion,
    EncodedImage,
    ImagePlace,
    Message,
    Request,
    Sampling,
)
from vsr1_bench.scoring.runs import judge_and_score  # noqa: E402
from vsr1_bench.tiny.scenes import make_row, to_sample  # noqa: E402
from vsr1_bench.train import sft  # noqa: E402
from vsr1_bench.train.core.checkpoints import export  # noqa: E402
from vsr1_bench.train.core.encoding import MARKS, Encoder, TrainRow  # noqa: E402
from vsr1_bench.train.core.flops import FlopCount  # noqa: E402
from vsr1_bench.train.core.logprobs import Scorer, score_batch  # noqa: E402

PIXELS = {"min_pixels": 3136, "max_pixels": 12_544}
REPLY = "<description> dots </description> <think> see </think> \\boxed{%s}"
READING = "<think> see </think> \\boxed{%s}"
UPDATES = 24


def rows(folder: Path, n: int = 8) -> Path:
    """First passes with images and second passes without; their answers are 1, 2, 1, 2, …"""
    folder.mkdir()
    lines: list[dict[str, Any]] = []
    for number in range(n):
        row = make_row("train", 4 * number)
        (folder / f"{number}.png").write_bytes(row["image"])
        answer = str(1 + number % 2)
        asked = {"problem": f"<image>{row['question']}", "images": [f"{number}.png"]}
        lines.append({**asked, "answer": REPLY % answer})
        sample = to_sample({**row, "image": EncodedImage(data=row["image"])})
        (message,) = reading_messages(sample, "dots")
        turns = [{"role": "user", "content": message.content[0]}]
        turns.append({"role": "assistant", "content": READING % answer})
        lines.append({"messages": turns, "images": []})
    file = folder / "rows.json"
    file.write_text(json.dumps(lines))
    return file


@dataclass
class Trained:
    """What the tests look at."""

    folder: Path
    cold: list[dict[str, float]] = field(default_factory=list)
    step: dict[str, float] = field(default_factory=dict)
    layers: int = 0
    rollouts: list[dict[str, Any]] = field(default_factory=list)
    answers: dict[str, Completion] = field(default_factory=dict)
    """Of the rollouts' engine, with the weights after the step."""

    @property
    def model(self) -> Path:
        return self.folder / "model"


def answered(generator: Generator) -> dict[str, Completion]:
    return by_key(list(generator.generate(demo_requests(10, max_tokens=24, **PIXELS))))


@pytest.fixture(scope="module", params=FAMILIES)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A family's cold start, the step of GRPO from there, and the weights after it."""
    family = request.param
    known = Trained(tmp_path_factory.mktemp(family))
    start = write(family, known.folder / "start")
    changes: dict[str, Any] = {"model": str(start), "schedule_steps": UPDATES, **PIXELS}
    changes |= {"dataset": (str(rows(known.folder / "rows")),), "prompt": "see_think"}
    sft.train(small_sft(known.folder / "sft", **changes, batch_size=8, group_batches=1, lr=3e-3))
    known.cold = metrics(known.folder / "sft")
    export(known.folder / "sft", known.folder / "cold")

    changes = {"model": str(known.folder / "cold"), "max_steps": 1, "max_tokens": 40, **PIXELS}
    changes |= {"objective": "summed", "beta": 0.01, "prompts_per_step": 4, "lr": 2e-4}
    changes |= {"temperature": 0.8}
    if family == "qwen3_vl":
        pytest.importorskip("vllm", reason="backend vllm is not installed here")
        changes |= {"backend": "vllm"}
        changes |= {"engine_args": {"max_model_len": 512, "enforce_eager": True}}
    with trainer(small_recipe(known.folder / "grpo", **changes, minibatch_prompts=4)) as t:
        t.run()
        known.layers = len(t.sync_check.layers)
        known.answers = answered(t.generator)
    gc.collect()
    (known.step,) = metrics(known.folder / "grpo")
    journal = known.folder / "grpo/rollouts/rank-0.jsonl"
    known.rollouts = [json.loads(line) for line in journal.read_text().splitlines()]
    export(known.folder / "grpo", known.model)
    return known


def test_a_cold_start_teaches_it_the_form(trained: Trained) -> None:
    assert len(trained.cold) == UPDATES
    assert trained.cold[-1]["loss"] < 0.5 < 3 < trained.cold[0]["loss"]
    assert all(step["examples/unusable"] == step["examples/overlong"] == 0 for step in trained.cold)


def test_a_step_is_made_and_its_weights_are_proved(trained: Trained) -> None:
    step = trained.step
    assert step["excluded_share"] == 0 and step["grad_norm"] > 0
    assert step["mismatch/max"] < 1e-4
    assert step["proof/mismatch_max"] < step["proof/bound"] == 1e-4
    assert step["proof/distance"] > 100 * step["proof/mismatch_max"]
    assert trained.layers > 20


def test_the_operations_of_an_update_are_those_that_torch_counts(trained: Trained) -> None:
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import AutoModelForImageTextToText

    encoder = Encoder(ChatRenderer(find_model(str(trained.model), backend="transformers")))
    policy = AutoModelForImageTextToText.from_pretrained(
        trained.model, dtype=torch.float32, attn_implementation="eager"
    ).train()
    (request,) = demo_requests(1, **PIXELS)
    batch = encoder.collate([TrainRow(request, tuple(range(10, 50)), ())])
    with FlopCounterMode(display=False) as counter:
        score_batch(Scorer(policy), batch, temperature=1.0, bans=False)[0].sum().backward()
    assert FlopCount(policy).of(batch) == pytest.approx(counter.get_total_flops(), rel=0.01)


def test_the_format_reward_is_not_zero(trained: Trained) -> None:
    """That of the released 2026 code is, always, on Qwen3-VL."""
    assert trained.step["reward/format"] > 0
    assert trained.step["reward/description_format"] > 0
    assert len({line["reward"] for line in trained.rollouts}) > 1
    for line in trained.rollouts:
        if line["components"]["format"]:
            assert "<think>" in line["said"] and line["description"]


def test_tags_that_are_special_tokens_stay_in_its_replies(trained: Trained, tmp_path: Path) -> None:
    """As tokens they would be dropped with the end of the turn, and with them the format reward."""
    shutil.copytree(trained.model, tmp_path / "special")
    file = tmp_path / "special/tokenizer.json"
    words = json.loads(file.read_text())
    for token in words["added_tokens"]:
        token["special"] |= token["content"] in THINKING
    file.write_text(json.dumps(words))
    model = find_model(str(file.parent), backend="transformers")
    with TransformersGenerator(model, TransformersArgs(dtype="float32")) as generator:
        assert generator.renderer.keeps_marks
        texts = {key: completion.text for key, completion in answered(generator).items()}
    assert texts == {key: completion.text for key, completion in trained.answers.items()}
    assert any("<think>" in text for text in texts.values())
    assert not any("<|im_end|>" in text for text in texts.values())


def test_it_answers_alike_alone_in_a_batch_and_in_the_synced_engine(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images and text, in one call: a batch that its processor refuses would be run one by one."""
    calls = []
    run = TransformersGenerator._generate
    monkeypatch.setattr(
        TransformersGenerator, "_generate", lambda self, p: calls.append(len(p)) or run(self, p)
    )
    model = find_model(str(trained.model), backend="transformers")
    args = TransformersArgs(dtype="float32", batch_size=10, logprobs=True)
    with TransformersGenerator(model, args) as generator:
        together = answered(generator)
        assert calls == [10]
        generator.args = args.model_copy(update={"batch_size": 1})
        alone = answered(generator)
    for key, wanted in trained.answers.items():
        assert wanted.error is None and wanted.token_ids
        assert alone[key].logprobs == pytest.approx(together[key].logprobs, abs=1e-4)
        for found in (together[key], alone[key]):
            assert found.token_ids == wanted.token_ids and found.usage == wanted.usage
            # The engine never samples an image token: what that would have had, the others share.
            assert found.logprobs == pytest.approx(wanted.logprobs, abs=5e-3)


def test_it_is_evaluated_and_judged(trained: Trained) -> None:
    options = RunOptions(
        model=str(trained.model),
        tasks="demo",
        output_path=trained.folder / "runs",
        backend="transformers",
        model_args={"dtype": "float32"},
        gen_kwargs=PIXELS | {"max_tokens": 40},
        limit=8,
        progress=False,
        perception="self",
    )
    (run,) = generate(options)
    told = judge_and_score(run.folder, None, progress=False)
    assert told["rates"]["scored"] == told["rates"]["total"] == 8 and not told["rates"]["failed"]
    assert told["metrics"]["lsr"]["n"] > 0


SIZES = ((112, 112), (40, 500), (900, 35), (1024, 640))


def picture(width: int, height: int) -> EncodedImage:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(buffer, "PNG")
    return EncodedImage(data=buffer.getvalue())


def test_its_prompts_are_measured_by_the_headers_of_their_images(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of any size, bounds within and beyond the processor's own; exact, and mostly undecoded."""
    encoder = Encoder(ChatRenderer(find_model(str(trained.model), backend="transformers")), limit=0)
    decoded: list[bool] = []
    encode = encoder._encode

    def counted(request: Request, mask: str = "") -> dict[str, Any]:
        decoded.append(bool(request.images))
        return encode(request, mask)

    monkeypatch.setattr(encoder, "_encode", counted)
    words = Message("user", (ImagePlace(0), "and", ImagePlace(1), "What do they show?"))
    for one, other in pairwise(SIZES):
        for bounds in (PIXELS, {"min_pixels": 784, "max_pixels": 784}, {"max_pixels": 4_194_304}):
            images = (picture(*one), picture(*other))
            request = Request("k", (words,), Sampling(**bounds), images)
            exact = int(encoder.encode(request)["input_ids"].shape[1])
            assert abs(encoder.estimate(request) - exact) <= 2 * MARKS
            assert encoder.fits(request, exact) and not encoder.fits(request, exact - 1)
            decoded.clear()
            assert encoder.fits(request, exact + 4 * MARKS + 1)
            assert not encoder.fits(request, exact - 4 * MARKS - 1)
            assert not any(decoded)


def test_under_a_long_limit_no_image_of_a_qwen_is_read(trained: Trained, tmp_path: Path) -> None:
    encoder = Encoder(ChatRenderer(find_model(str(trained.model), backend="transformers")))
    words = Message("user", (ImagePlace(0), "What is it?"))
    missing = EncodedImage(path=tmp_path / "missing.png")
    request = Request("k", (words,), Sampling(), (missing,))
    with nullcontext() if "qwen" in trained.folder.name else pytest.raises(ImageError):
        assert encoder.fits(request, 12_800)
    with pytest.raises(ImageError):
        encoder.fits(request, 100)
