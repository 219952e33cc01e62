"""`python -m tfbind`: the command line, for those who start it by a Python of their choice."""

from tfbind.cli import main

main(prog_name="tfbind")
