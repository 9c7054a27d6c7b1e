"""Stored runs in the formats of other tools: parquet, the hub's result files."""
