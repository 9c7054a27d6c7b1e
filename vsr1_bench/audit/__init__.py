"""Audits of benchmarks: what their rows give away, repeat or contradict, before any model runs."""
