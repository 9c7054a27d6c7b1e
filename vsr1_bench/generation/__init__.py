"""The one generation path: requests in, completions out, whatever runs the model.

Nothing is imported here: judge files need `costs` and `flags`, and stay light.
"""
