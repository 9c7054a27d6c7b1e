"""`vsr1-bench train`: the training add-on from the command line."""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import shutil
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vsr1_bench._util.installing import install_command
from vsr1_bench._util.paths import user_text
from vsr1_bench._util.processes import OWN_PYTHON, die_with_parent
from vsr1_bench.cli import common
from vsr1_bench.errors import EXIT_DONE, EXIT_INTERRUPTED, BenchError, UsageError

if TYPE_CHECKING:
    from vsr1_bench.train.core.session import Session
    from vsr1_bench.train.core.settings import Training
    from vsr1_bench.train.recipe import Recipe
    from vsr1_bench.train.sft_recipe import SftRecipe

ACTIONS = ("sft", "grpo", "plan", "export")
LAUNCHED = "vsr1-"
"""Prefix of the run id of launched processes; the launcher's process id follows."""
NEEDED = ("torch", "transformers", "deepspeed", "matplotlib")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = (
        "  train sft RECIPE [key=value …]     fine-tune on replies (cold start)\n"
        "  train grpo RECIPE [key=value …]    train with rewards\n"
        "  train plan RECIPE [key=value …]    print the resolved recipe and what a step needs\n"
        "  train export CHECKPOINT OUT        write the weights as a plain Hugging Face folder\n"
        "                                     (LoRA: merged; --adapter: the adapter alone)\n\n"
        "The same command resumes a training that was stopped.\n"
        "Recipes: vsr1-bench ls recipes, or a TOML file. Keys: vsr1-bench train grpo --help\n"
        "Several processes: --nproc N, or torchrun --nproc_per_node N -m vsr1_bench train grpo …"
    )
    parser.add_argument("action", choices=ACTIONS, action=_Action, help="what to do, see below")
    parser.add_argument(
        "what",
        type=user_text,
        metavar="RECIPE | CHECKPOINT",
        help="a recipe; for export a checkpoint or the folder of a training",
    )
    parser.add_argument(
        "settings",
        nargs="*",
        type=user_text,
        metavar="key=value | OUT",
        help="settings in place of the recipe's; for export the folder to write",
    )
    parser.add_argument(
        "--nproc", type=common.positive_int, help="processes on this machine, one per GPU"
    )
    parser.add_argument(
        "--cards",
        metavar="COUNTxGB",
        help="plan: the cards to count for, e.g. 4x80 (default: many)",
    )
    parser.add_argument(
        "--last",
        action="store_true",
        help="export the last weights instead of the best by validation",
    )
    parser.add_argument(
        "--adapter",
        action="store_true",
        help="export the adapter of a training with LoRA instead of merged weights",
    )
    parser.add_argument(
        "--accept_changed_data",
        action="store_true",
        help="resume even if the rows or their order have changed since the checkpoint",
    )


class _Action(argparse.Action):
    """Stores the action; `train grpo --help` and `train sft --help` also show the recipe's keys."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, *_: Any
    ) -> None:
        setattr(namespace, self.dest, values)
        if values in ("sft", "grpo"):
            parser.epilog = f"{parser.epilog}\n\n{_keys(values)}"


def _keys(trainer: str) -> str:
    from vsr1_bench._util.keys import REQUIRED, keys_of
    from vsr1_bench.train.recipe import Recipe
    from vsr1_bench.train.sft_recipe import SftRecipe

    width = shutil.get_terminal_size().columns - 2
    lines = [f"keys of a recipe of train {trainer}:"]
    for key in keys_of(Recipe if trainer == "grpo" else SftRecipe):
        default = key.default if key.default == REQUIRED else f"default: {key.default or 'empty'}"
        lines += _wrapped(f"{key.name}: {key.type}; {default}", width, "  ")
        lines += _wrapped(key.meaning, width, _INDENT)
    return "\n".join(lines)


_INDENT = " " * 8


def _wrapped(text: str, width: int, first: str) -> list[str]:
    return textwrap.wrap(text, width, initial_indent=first, subsequent_indent=_INDENT)


def execute(options: argparse.Namespace) -> int:
    """Run the action."""
    if options.cards and options.action != "plan":
        raise UsageError(f"--cards goes with train plan, not with train {options.action}")
    if options.action == "export":
        return _export(options)
    if options.adapter:
        raise UsageError("--adapter goes with train export; LoRA is trained by lora_rank=64")
    if options.action == "plan":
        from vsr1_bench.train.plan import describe, describe_memory, read_cards

        cards = read_cards(options.cards) if options.cards else None
        if cards and options.nproc not in (None, cards.count):
            raise UsageError(
                f"--cards {options.cards} has one process per card: drop --nproc {options.nproc}"
            )
        world = cards.count if cards else options.nproc or 1
        recipe = _recipe(options)
        print(describe(recipe, world), describe_memory(recipe, world, cards), sep="\n\n")
        return EXIT_DONE
    rank = os.environ.get("RANK", "0")
    try:
        return _train(options)
    except (BenchError, KeyboardInterrupt) as error:
        if rank == "0":
            raise
        if getattr(error, "exit_code", EXIT_INTERRUPTED) == EXIT_INTERRUPTED:
            return EXIT_INTERRUPTED  # rank 0 reports it
        error.args = (f"rank {rank}: {error}",)
        raise


def _recipe(options: argparse.Namespace) -> Recipe | SftRecipe:
    """The recipe of the action; `plan` accepts recipes of both trainers."""
    from vsr1_bench.train.recipe import load_recipe
    from vsr1_bench.train.sft_recipe import load_any_recipe, load_sft_recipe

    if options.action == "sft":
        return load_sft_recipe(options.what, options.settings)
    if options.action == "grpo":
        return load_recipe(options.what, options.settings)
    return load_any_recipe(options.what, options.settings)


def _train(options: argparse.Namespace) -> int:
    from vsr1_bench.train.recipe import Recipe

    launcher = os.environ.get("TORCHELASTIC_RUN_ID", "")
    if launcher.startswith(LAUNCHED):  # of `--nproc`: ends with its launcher, even by SIGKILL
        die_with_parent(int(launcher.removeprefix(LAUNCHED)))
    recipe = _recipe(options)
    check_installed(recipe)
    if options.nproc and "RANK" not in os.environ:
        return _launch(options)
    if isinstance(recipe, Recipe):
        from vsr1_bench.train import grpo

        done = grpo.train(recipe, accept_changed_data=options.accept_changed_data)
    else:
        from vsr1_bench.train import sft

        done = sft.train(recipe, accept_changed_data=options.accept_changed_data)
    if os.environ.get("RANK", "0") == "0":
        folder = shlex.quote(str(recipe.output_dir))
        print(f"{what_was_done(done)}; curves: vsr1-bench view {folder}")
        print(f"next: vsr1-bench train export {recipe.output_dir} OUT", file=sys.stderr)
    return EXIT_DONE


def what_was_done(trainer: Session) -> str:
    """How many steps a training made, or why it made none."""
    here, first, wanted = trainer.progress.step, trainer.first_step, trainer.steps
    if here > first:
        return f"trained {here} steps" + (f", {first} of them before" if first else "")
    return f"trained nothing: the checkpoint has {here} steps already, max_steps is {wanted}"


def check_installed(recipe: Training) -> None:
    """Refuse to train a recipe without the libraries that it needs.

    Raises:
        UsageError: names what is missing and how to get it.
    """
    from vsr1_bench.generation.adapters import require_peft
    from vsr1_bench.train.core.metrics import check_loggers

    if missing := [name for name in NEEDED if not find_spec(name)]:
        raise UsageError(
            f"training needs {', '.join(missing)}: {install_command('train')}, and a vLLM "
            "that fits this machine (vsr1-bench doctor)"
        )
    check_loggers(recipe.loggers)
    if recipe.lora_rank is not None:
        require_peft("lora_rank")


def _export(options: argparse.Namespace) -> int:
    from vsr1_bench.train.core.checkpoints import export

    if len(options.settings) != 1:
        raise UsageError("train export CHECKPOINT OUT: wanted one output folder")
    out = Path(options.settings[0])
    taken = export(Path(options.what), out, last=options.last, adapter=options.adapter)
    print(f"{out} holds the {'adapter' if options.adapter else 'weights'} of {taken}")
    model = f"BASE --adapter {out}" if options.adapter else out
    print(f"next: vsr1-bench --model {model} --tasks demo", file=sys.stderr)
    return EXIT_DONE


def _launch(options: argparse.Namespace) -> int:
    """Run this command in several processes, with torchrun's own launcher.

    Returns:
        The exit code of the process that failed first, which has printed why.

    Raises:
        TrainError: a process was killed before it could print anything.
    """
    # The launcher would print its own reports.
    os.environ.setdefault("LOGLEVEL", "CRITICAL")
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # as torchrun does
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    from vsr1_bench.train.core.ranks import TrainError

    config = LaunchConfig(
        *(1, 1, options.nproc),
        run_id=f"{LAUNCHED}{os.getpid()}",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
    )
    what = ("train", options.action, options.what, *options.settings)
    flags = ["--nproc", str(options.nproc), "--verbosity", options.verbosity]
    flags += ["--accept_changed_data"] if options.accept_changed_data else []
    python, *safe = OWN_PYTHON
    try:
        elastic_launch(config, python)(*safe, "-m", "vsr1_bench", *what, *flags)
    except ChildFailedError as error:
        rank, first = error.get_first_failure()
        if first.exitcode > 0:
            return int(first.exitcode)
        raise TrainError(
            f"process {rank} of {options.nproc} was killed ({first.signal_name()}; out of memory?);"
            " the same command continues from the last checkpoint"
        ) from None
    except SignalException:  # passed on to all processes already
        return EXIT_INTERRUPTED
    return EXIT_DONE


def recipe_keys() -> set[str]:
    """The keys of the recipes of both trainers."""
    from vsr1_bench.train.recipe import Recipe
    from vsr1_bench.train.sft_recipe import SftRecipe

    return {*Recipe.model_fields, *SftRecipe.model_fields}


def recipe_rows() -> list[tuple[str, str, str]]:
    """Name, objective (or `sft`) and description of each built-in recipe (for `ls recipes`)."""
    from vsr1_bench.train.recipe import built_in
    from vsr1_bench.train.sft_recipe import load_any_recipe

    recipes = [(name, load_any_recipe(name)) for name in built_in()]
    return [
        (n, getattr(recipe, "objective", recipe.trainer), recipe.about) for n, recipe in recipes
    ]
