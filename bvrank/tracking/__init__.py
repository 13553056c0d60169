"""Where a run's figures go: metrics.jsonl, the live line, or several places at once."""
