"""Prompts: for questions to models, and for answers to judging models."""

from __future__ import annotations

from vsr1_bench.prompts.formats import (
    DEFAULT_FORMAT,
    FORMATS,
    PromptFormat,
    build_messages,
    get_format,
)

__all__ = ["DEFAULT_FORMAT", "FORMATS", "PromptFormat", "build_messages", "get_format"]
