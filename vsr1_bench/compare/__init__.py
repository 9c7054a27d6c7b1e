"""Two runs on the same samples, or one cell under two judges: what differs, and by how much."""
