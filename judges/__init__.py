"""The judges: one file per judge."""

if __name__ != "vsr1_bench.judges":
    raise ImportError(f"this package is vsr1_bench.judges, not {__name__}")
