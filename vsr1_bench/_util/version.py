"""The version: read by the build from this file, and by whatever records who made something."""

__version__ = "0.1.0"
