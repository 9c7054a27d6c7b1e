"""Bundles of runs: pack, publish, download, verify."""
