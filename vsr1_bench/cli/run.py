"""`vsr1-bench run`: generate, judge, score, table."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from vsr1_bench._util.paths import user_text
from vsr1_bench.cli import common
from vsr1_bench.errors import EXIT_DONE, EXIT_INCOMPLETE

if TYPE_CHECKING:
    from vsr1_bench.pipeline.flags import RunFlags


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags, with lm-eval's names if it has them."""
    parser.add_argument(
        "--model",
        "-m",
        type=user_text,
        required=True,
        help="tiny, a folder, a hub id, or the id that an endpoint serves",
    )
    parser.add_argument(
        "--tasks", "-t", required=True, help="tasks, suites or patterns, e.g. demo,math*"
    )
    common.add_limit(parser)
    parser.add_argument(
        "--samples",
        metavar="FILE|ID,…",
        help="only the samples with these ids: a file with one per line, or a,b,c",
    )
    parser.add_argument(
        "--sample_seed",
        type=int,
        metavar="S",
        help="draw the samples of --limit at random with this seed, stratified by the task's "
        "groups, instead of the first ones",
    )
    common.add_output_path(parser)
    parser.add_argument(
        "--prompt",
        default="see_think",
        help="prompt format (default: see_think; list: vsr1-bench ls prompts)",
    )
    parser.add_argument("--system_instruction", help="system message of every request")
    parser.add_argument("--judge", help="judge for all tasks (default: each task's own)")
    common.add_judging(parser)
    common.add_seeing(parser)
    engine = parser.add_argument_group("engine")
    engine.add_argument(
        "--backend",
        default="auto",
        help="auto (default: vllm; transformers for a small model on a CPU), vllm, transformers, "
        "openai or scripted",
    )
    engine.add_argument(
        "--base_url",
        metavar="URL",
        help="OpenAI-compatible endpoint; its key is in OPENAI_API_KEY (default for --backend "
        "openai: the environment variable OPENAI_BASE_URL)",
    )
    engine.add_argument(
        "--model_args",
        "-a",
        default="",
        help="arguments of the backend: a=1,b=2. vllm, transformers: dtype, max_model_len, …; "
        "openai: concurrency, timeout, max_retries, …; all: vsr1-bench ls model_args",
    )
    engine.add_argument(
        "--batch_size",
        metavar="N",
        help="requests at the same time, on any backend; auto = its default",
    )
    engine.add_argument("--device", help="device of backend transformers: cpu, cuda, cuda:1")
    for size in ("tensor_parallel_size", "data_parallel_size"):
        engine.add_argument(
            f"--{size}", type=common.positive_int, metavar="N", help="passed to backend vllm"
        )
    engine.add_argument("--revision", help="revision of the model on the hub")
    engine.add_argument(
        "--adapter",
        type=user_text,
        metavar="DIR",
        help="LoRA adapter of the model, a folder or a hub id; it is merged into the weights",
    )
    common.add_trust_remote_code(engine)
    sampling = parser.add_argument_group("sampling")
    sampling.add_argument(
        "--gen_kwargs",
        default="",
        help="temperature, top_p, top_k, min_p, repetition_penalty, max_tokens, stop, min_pixels, "
        "max_pixels: temperature=0.7,max_tokens=2048; openai: reasoning_effort, extra_body={…}; "
        "openai and vllm: presence_penalty, frequency_penalty",
    )
    sampling.add_argument("--seed", type=int, default=0, help="seed of all sampling (default: 0)")
    sampling.add_argument(
        "--num_samples",
        type=common.positive_int,
        default=1,
        metavar="N",
        help="responses per sample (default: 1)",
    )
    common.add_data(parser)
    common.add_include_path(parser)
    rest = parser.add_argument_group("control")
    rest.add_argument("--predict_only", action="store_true", help="generate, but do not judge")
    rest.add_argument(
        "--shard",
        type=common.shard,
        default=(0, 1),
        metavar="i/n",
        help="generate only the i-th of n parts, counted from 0",
    )
    common.add_force_unlock(rest)
    rest.add_argument(
        "--loggers",
        metavar="NAME,…",
        help="also send the scores to wandb or trackio, as one run per command",
    )
    rest.add_argument(
        "--log_samples",
        "-s",
        action="store_true",
        help="no effect, because samples are always stored; for compatibility with lm-eval",
    )
    rest.add_argument("--num_fewshot", type=int, help=argparse.SUPPRESS)
    rest.add_argument("--use_cache", help=argparse.SUPPRESS)
    rest.add_argument("--apply_chat_template", action="store_true", help=argparse.SUPPRESS)


def run_flags(options: argparse.Namespace) -> RunFlags:
    """The flags as the engine takes them.

    Raises:
        UsageError: a value that cannot be read.
    """
    from vsr1_bench.pipeline.flags import RunFlags

    return RunFlags.of(vars(options))


def execute(options: argparse.Namespace) -> int:
    """Run everything; the exit code is 75 if any response is missing or unscored."""
    from vsr1_bench.api import estimate_evaluation, run_evaluation
    from vsr1_bench.pipeline.report import closing_account

    flags = run_flags(options)
    judging = flags.judge_options()
    if options.dry_run:
        common.print_estimates(estimate_evaluation(flags), judging.spending.currency)
        return EXIT_DONE
    with closing_account(judging.spending):
        done = run_evaluation(flags, judging)
        if done.documents is not None:
            common.print_scores(done.documents)
            where = " ".join(str(run.path) for run in done.runs)
            print(f"\nstored in: {where}", file=sys.stderr)
            print(
                f"again, without the model: vsr1-bench table {options.output_path}",
                file=sys.stderr,
            )
            common.print_unread(done.documents)
    return EXIT_DONE if done.complete else EXIT_INCOMPLETE
