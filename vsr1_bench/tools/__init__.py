"""Commands around an evaluation: validate, doctor, serve."""
