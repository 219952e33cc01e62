"""A run on the genome: the page, its tracks, and tracks that are rendered as they are looked at."""
