"""The genome: reference, chromosome names, windows, intervals, bigWig in and out."""
