"""Figures: the style of all of them, and regions of the genome with their tracks."""
