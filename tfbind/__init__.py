"""tfbind: genome-wide transcription factor binding from DNA, protein and accessibility."""

__version__ = "0.1.0"
