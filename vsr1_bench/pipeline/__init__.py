"""A run: plan it, generate what is missing, store each response as it arrives."""
