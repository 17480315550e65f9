"""What `benchmark` shows: memory in children, the report page, comparisons; committed results in `results/`."""
