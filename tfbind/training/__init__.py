"""Targets, sampling, what is minimised and the loop: window-major training."""
