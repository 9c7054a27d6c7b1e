"""What both trainers share: the engine, sessions, checkpoints, ranks, metrics, encoding."""
