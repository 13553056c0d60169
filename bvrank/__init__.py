"""bvrank: preference optimisation of language models, exact, fast and honest about noise."""

__version__ = "0.1.0"
