"""The command line: one thin module per command, over functions that a notebook can call."""
