"""The run store: folders, journals, specs and their lines."""
