"""Run folders -> tables, curves, one Markdown page, and the closing screen of a run. No torch."""
