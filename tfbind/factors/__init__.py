"""What is known of a factor: its protein (sequence and per-residue embedding) and its motif.

`proteins` and `motifs` read them, `physicochemical` and `esm2` embed residues, `embeddings` caches that work,
and `factorset` packs all a model needs of a list of factors into one folder.
"""
