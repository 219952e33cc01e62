"""Benchmarks: each measures two things side by side in one run, and prints their ratio.

python -m benchmarks                          # all, at sizes of minutes on 2 cores
python -m benchmarks dag                      # one
python -m benchmarks bigwig --full --results  # at real sizes; the JSON line goes to results/bigwig.json
python -m benchmarks --help                   # what there is
"""
