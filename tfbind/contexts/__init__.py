"""What is known of a cell type: its accessibility track and its description."""
