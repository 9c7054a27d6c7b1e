"""lmms-eval, both ways: its tasks through our generation path, our generator as its model.

    --tasks lmms_eval/NAME    `harness` is what the engine asks: `index` finds it, `loading` loads
                              it, `data` makes samples of its documents, `scoring` has `worker`
                              score them with its own code
    lmms_eval --model vsr1    `model`, registered by `entry`

lmms-eval is an optional package for a separate environment (docs/lmms-eval.md). Only `loading`,
`worker`, `model` and `entry` import it; stored runs of its tasks are shown without it.
"""

NAME = "lmms_eval"
"""Of this harness: before the `/` of its tasks' names, and where a judge's name is."""
