"""`vsr1-bench run`: generate, judge, score, table."""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vsr1_bench._util.paths import user_path, user_text
from vsr1_bench.cli import common
from vsr1_bench.errors import EXIT_DONE, EXIT_INCOMPLETE, UsageError, nearest

if TYPE_CHECKING:
    from vsr1_bench.generation.costs import Spending
    from vsr1_bench.judging.choose import Chosen
    from vsr1_bench.judging.open import JudgePool
    from vsr1_bench.pipeline.run import RunOptions
    from vsr1_bench.pipeline.stream import TaskRun


PARALLEL = ("tensor_parallel_size", "data_parallel_size")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags; lm-eval's names where it has them."""
    parser.add_argument(
        "--model", "-m", type=user_text, required=True, help="tiny, a folder, a hub id or served id"
    )
    parser.add_argument(
        "--tasks", "-t", required=True, help="tasks, suites or patterns, e.g. demo,math*"
    )
    parser.add_argument(
        "--limit", "-L", type=common.positive_int, help="first N samples of each task"
    )
    parser.add_argument("--output_path", "-o", type=user_path, default=Path("runs"), metavar="DIR")
    parser.add_argument(
        "--prompt", default="see_think", help="prompt format (vsr1-bench ls prompts)"
    )
    parser.add_argument("--system_instruction", help="system message of every request")
    parser.add_argument("--judge", help="judge of every task (default: each task's own)")
    common.add_judging(parser)
    common.add_seeing(parser)
    engine = parser.add_argument_group("engine")
    engine.add_argument(
        "--backend", default="auto", help="auto, vllm, transformers, openai, scripted"
    )
    engine.add_argument("--base_url", help="OpenAI-compatible endpoint; its key: OPENAI_API_KEY")
    engine.add_argument("--model_args", "-a", default="", help="arguments of the backend: a=1,b=2")
    engine.add_argument(
        "--batch_size", help="requests at once, whatever the backend calls them; auto = its default"
    )
    engine.add_argument("--device", help="of backend transformers: cpu, cuda, cuda:1")
    for size in PARALLEL:
        engine.add_argument(
            f"--{size}", type=common.positive_int, help="of backend vllm, handed through"
        )
    engine.add_argument("--revision", help="of the model, on the hub")
    engine.add_argument(
        "--trust_remote_code", action="store_true", help="execute code that comes with the model"
    )
    sampling = parser.add_argument_group("sampling")
    sampling.add_argument(
        "--gen_kwargs",
        default="",
        help="temperature, top_p, top_k, min_p, repetition_penalty, max_tokens, stop, min_pixels, "
        "max_pixels: temperature=0.7,max_tokens=2048",
    )
    sampling.add_argument("--seed", type=int, default=0)
    sampling.add_argument(
        "--num_samples", type=common.positive_int, default=1, help="responses a sample"
    )
    common.add_data(parser)
    common.add_include_path(parser)
    rest = parser.add_argument_group("control")
    rest.add_argument("--predict_only", action="store_true", help="generate, don't judge")
    rest.add_argument("--shard", type=common.shard, default=(0, 1), metavar="i/n")
    rest.add_argument("--force_unlock", action="store_true", help="take over a dead host's lock")
    rest.add_argument(
        "--log_samples", "-s", action="store_true", help="always on; accepted for lm-eval's sake"
    )
    rest.add_argument("--num_fewshot", type=int, help=argparse.SUPPRESS)
    rest.add_argument("--use_cache", help=argparse.SUPPRESS)
    rest.add_argument("--apply_chat_template", action="store_true", help=argparse.SUPPRESS)


def run_options(options: argparse.Namespace, spending: Spending | None = None) -> RunOptions:
    """Turn flags into `RunOptions`; `spending` = that of the judges.

    Raises:
        UsageError: a refused flag, or a value that cannot be read.
    """
    from vsr1_bench.data.blind import parse_variants
    from vsr1_bench.pipeline.run import RunOptions

    if options.num_fewshot:
        raise UsageError(
            "--num_fewshot: vsr1-bench is zero-shot only, as the paper's tables are; drop the flag"
        )
    if options.use_cache:
        raise UsageError(
            "--use_cache: the run folder is the cache; rerun with the same --output_path"
        )
    return RunOptions(
        model=options.model,
        tasks=options.tasks,
        output_path=options.output_path,
        backend=options.backend,
        base_url=options.base_url,
        model_args=model_args(options),
        gen_kwargs=gen_kwargs(options),
        prompt=options.prompt,
        system_instruction=options.system_instruction,
        limit=options.limit,
        shard=options.shard,
        data=common.data_options(options),
        include_path=tuple(options.include_path),
        revision=options.revision,
        trust_remote_code=options.trust_remote_code,
        force_unlock=options.force_unlock,
        progress=options.verbosity in ("DEBUG", "INFO"),
        perception=options.perception,
        reader=common.reader_options(options, spending),
        blind=parse_variants(options.blind),
    )


# What --batch_size is called by each backend.
BATCH = {"transformers": "batch_size", "vllm": "max_num_seqs", "openai": "concurrency"}


def model_args(options: argparse.Namespace) -> dict[str, Any]:
    """Read `--model_args`, with `--batch_size` and `--device` under the backend's own names.

    Raises:
        UsageError: a value that cannot be read.
    """
    found = common.key_values(options.model_args, "--model_args")
    for name in ("device", *PARALLEL):
        if getattr(options, name) is not None:
            found[name] = getattr(options, name)
    if options.batch_size not in (None, "auto"):
        from vsr1_bench.generation import choose_backend

        backend = choose_backend(options.backend, options.base_url)
        if not options.batch_size.isdigit() or int(options.batch_size) < 1:
            raise UsageError(
                f"--batch_size {options.batch_size}: wanted a whole number of at least 1, or auto"
            )
        if backend in BATCH:
            found[BATCH[backend]] = int(options.batch_size)
    return found


# lm-eval and Hugging Face users know some fields by other names.
ALIASES = {"max_gen_toks": "max_tokens", "max_new_tokens": "max_tokens", "until": "stop"}
KINDS: dict[str, type] = {
    "temperature": float,
    "top_p": float,
    "top_k": int,
    "min_p": float,
    "repetition_penalty": float,
    "max_tokens": int,
    "min_pixels": int,
    "max_pixels": int,
}


def gen_kwargs(options: argparse.Namespace) -> dict[str, Any]:
    """Read `--gen_kwargs`, `--seed` and `--num_samples`.

    Raises:
        UsageError: an unknown field or a value of the wrong kind.
    """
    fields: dict[str, Any] = {"seed": options.seed, "n": options.num_samples}
    sampled: Any = None
    for given, value in common.key_values(options.gen_kwargs, "--gen_kwargs").items():
        name = ALIASES.get(given, given)
        if name == "do_sample":
            if not isinstance(value, bool):
                raise UsageError(f"--gen_kwargs {given}={value}: wanted true or false")
            sampled = value
            continue
        if name == "stop":
            fields["stop"] = stop_strings(options.gen_kwargs, given)
            continue
        if name not in KINDS:
            known = (*KINDS, "stop")
            raise UsageError(f"--gen_kwargs {given}: no such field; {nearest(given, known)}")
        wanted = KINDS[name]
        kind = "a whole number" if wanted is int else "a number"
        number = not isinstance(value, bool) and isinstance(value, int | float)
        if not number or not math.isfinite(value) or wanted(value) != value:
            raise UsageError(f"--gen_kwargs {given}={value}: wanted {kind}")
        fields[name] = wanted(value)
    _check_sampled(sampled, fields.get("temperature", 0.0))
    return fields


def _check_sampled(sampled: bool | None, temperature: float) -> None:
    """Refuse a `do_sample` that the temperature contradicts: it is the temperature that decides.

    Raises:
        UsageError: it does.
    """
    if sampled is True and temperature == 0:
        raise UsageError(
            "--gen_kwargs do_sample=true: sampling needs a temperature above 0; add temperature=…"
        )
    if sampled is False and temperature > 0:
        raise UsageError(
            f"--gen_kwargs do_sample=false contradicts temperature={temperature:g}; drop one"
        )


def stop_strings(text: str, name: str) -> tuple[str, ...]:
    """Read `stop=END` or `stop=["END","STOP"]`, as it was typed.

    Raises:
        UsageError: a list that is not one of texts.
    """
    typed = (piece.partition("=") for piece in common.pieces(text))
    raw = next(value for field, _, value in typed if field.strip() == name)
    if not raw.startswith("["):
        return (raw,)
    try:
        listed = json.loads(raw)
    except ValueError:
        listed = None
    if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
        raise UsageError(f'--gen_kwargs {name}={raw}: wanted a text, or a list ["…", "…"]')
    return tuple(listed)


def execute(options: argparse.Namespace) -> int:
    """Run everything; the exit code is 75 while any response is missing or unscored."""
    from vsr1_bench.judging.choose import choose_judges
    from vsr1_bench.judging.open import JudgePool
    from vsr1_bench.registry import resolve_tasks

    judging = common.judge_options(options)
    chosen = run_options(options, judging.spending)
    with JudgePool(chosen.include_path, judging) as pool:
        tasks = resolve_tasks(chosen.tasks, chosen.include_path)
        # Before anything is generated: a missing key or a typing error must not cost a run.
        judges: dict[str, Chosen] = {}
        if not options.predict_only:
            judges = choose_judges(tasks, options.judge, pool)
        elif options.judge:
            pool.missing(options.judge, tasks[0])  # it may lack its key, not be unknown
        for judge in judges.values():
            if judge.warning:
                print(f"vsr1-bench: {judge.warning}", file=sys.stderr)
        return _run(options, chosen, judges, pool, asked=len(tasks))


def _run(
    options: argparse.Namespace,
    chosen: RunOptions,
    judges: dict[str, Chosen],
    pool: JudgePool,
    *,
    asked: int,
) -> int:
    from vsr1_bench.pipeline.run import generate

    runs = generate(chosen)
    failed = sum(run.failed for run in runs) + asked - len({run.task.name for run in runs})
    for run in runs:
        _report_responses(run)
    if options.predict_only:
        where = chosen.output_path
        print(f"generated; judge and score with: vsr1-bench judge {where}", file=sys.stderr)
        return EXIT_INCOMPLETE if failed else EXIT_DONE
    if chosen.shard != (0, 1):
        print(
            "this shard is generated; when all are, judge and score with: "
            f"vsr1-bench judge {chosen.output_path}",
            file=sys.stderr,
        )
        return EXIT_INCOMPLETE if failed else EXIT_DONE
    unscored = _assess(runs, judges, chosen, pool)
    return EXIT_INCOMPLETE if failed or unscored else EXIT_DONE


def _report_responses(run: TaskRun) -> None:
    """Say how many responses are not new, and which are missing."""
    name = f"{run.task.name} (blind: {run.spec.variant})" if run.blind else run.task.name
    if run.reused:
        from vsr1_bench.store.provenance import reuse_line

        print(reuse_line(name, run.reused, run.total, run.makers), file=sys.stderr)
    common.report_failures(name, run.answers, run.total)
    for tally in run.further:
        common.report_failures(name, tally)
    for reason, count in run.left_out.items():
        print(f"vsr1-bench: {name}: {count} samples left out: {reason}", file=sys.stderr)


def _assess(
    runs: list[TaskRun], judges: dict[str, Chosen], chosen: RunOptions, pool: JudgePool
) -> int:
    """Judge, score and print; return how many responses stay without a verdict."""
    from vsr1_bench.judging.runs import judge_and_score, score_unjudged
    from vsr1_bench.leaderboard import render
    from vsr1_bench.scoring.groups import score_groups

    documents = []
    for run in sorted(runs, key=lambda run: not run.blind):  # the gain is part of the others' score
        judge, paths = judges[run.task.name], chosen.include_path
        if judge.usable:
            document = judge_and_score(
                run.folder, judge.spec, paths, progress=chosen.progress, pool=pool
            )
        else:
            document = score_unjudged(run.folder, judge.spec, paths)
        documents.append(document)
    folders = [run.folder for run in runs]
    counted = {document["judge"] for document in documents}
    documents += score_groups(folders, chosen.include_path, judges=counted)
    print(render(documents, "markdown"))
    print(f"\nstored in: {' '.join(str(folder.path) for folder in folders)}", file=sys.stderr)
    print(f"again, without the model: vsr1-bench table {chosen.output_path}", file=sys.stderr)
    return common.unscored(documents)
