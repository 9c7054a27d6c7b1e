"""The built-in benchmarks: one file each; prompts are chosen elsewhere."""

if __name__ != "vsr1_bench.tasks":
    raise ImportError("this folder is the package vsr1_bench.tasks: import it by that name")
