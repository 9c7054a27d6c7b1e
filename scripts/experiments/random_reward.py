"""A reward that knows nothing: the control of what training alone changes."""

import hashlib


def score(text, description, reading, verdicts, sample):
    """0 or 1, by the checksum of the question and the response."""
    digest = hashlib.sha256(f"{sample.id} {text}".encode()).digest()
    return {"random": float(digest[0] % 2)}
