"""Rows of data sets, and the samples that tasks make of them."""
