"""What is known of a factor: its proteins (sequence and per-residue embedding) and its motif.

`proteins` and `motifs` read them; `physicochemical`, `fair_esm` and `huggingface` embed residues (`pieces` holds
what the language models share), `alphafold` reads what was embedded before, and `embeddings` caches that work;
`structure` and `regions` say more of residues, and which of them count; `factorset` packs all a model needs of a
list of factors into one folder.
"""
