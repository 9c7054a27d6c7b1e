"""Calibration of a judge by a few human labels: its errors, and the numbers without them."""
