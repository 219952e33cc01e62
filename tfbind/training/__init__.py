"""Targets, sampling, the loss and the loop: window-major training."""
