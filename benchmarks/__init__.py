"""Benchmarks: each measures two things side by side in one run, and prints their ratio.

python -m benchmarks          # all
python -m benchmarks dag      # one
"""
