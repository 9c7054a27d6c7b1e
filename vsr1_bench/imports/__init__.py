"""Responses, raw outputs and rows that were made elsewhere."""
