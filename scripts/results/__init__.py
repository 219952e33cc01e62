"""The page of results, docs/results.md: its tables, its figures, and the small copies that both are made from.

    snakemake --cores 1 --snakefile workflow/results.smk

copies what the cross-validations of the protocols came to (results/NAME/cross_validation) to docs/results, and
makes figures and page from the copies alone. Protocols that were not run here keep the copies that they have.
"""
