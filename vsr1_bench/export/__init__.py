"""Stored runs in the formats of other tools: inspect logs, parquet, the hub's result files."""
