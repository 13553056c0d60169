"""Scores of final answers: what `bvrank sample` ranks its responses by.

A reward sees the final answer alone, as the one extractor (bvrank.answers) took it out of a
response: no trace is ever judged. Each is a frozen dataclass whose constructor is the schema of
conf/reward/<x>.yaml; what is slow (weights, a server, a process) starts at the first question.
"""
