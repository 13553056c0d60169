"""Run folders -> tables, curves, one HTML page, and the closing screen of a run. No torch."""
