"""The report of a run: pages from the tables that the rules wrote, and Snakemake's report, which holds them."""
