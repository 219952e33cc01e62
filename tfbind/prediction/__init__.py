"""Embed a genome once, render any track from it, call peaks."""
