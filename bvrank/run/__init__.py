"""The run folder: named by content, opened once, written whole, read by anyone.

    outputs/<name>/
      config.yaml     resolved, written once
      manifest.json   command line, git, versions, machine, data, seeds, times, exit status
      metrics.jsonl   one line per logged step (bvrank.tracking.jsonl)
      refused.jsonl   the rows that could not train, and why
      examples.jsonl  greedy completions of a few prompts, before and after
      checkpoints/  evals/  summary.json
      lock            held by the process that trains here, released by the kernel when it dies

`manifest["status"]` is running, finished, failed or interrupted. A folder appears under its name
only once config and manifest are in it. Nothing here imports torch or Hydra.
"""

from bvrank.run.files import from_json, read_jsonl, to_json, write_atomic
from bvrank.run.folder import Follower, RunFolder
from bvrank.run.identity import IGNORED, label, run_name
from bvrank.run.opening import is_aside, open_run
from bvrank.run.record import RunRecord, is_run, read_run
from bvrank.run.store import kept

__all__ = [
    "IGNORED",
    "Follower",
    "RunFolder",
    "RunRecord",
    "from_json",
    "is_aside",
    "is_run",
    "kept",
    "label",
    "open_run",
    "read_jsonl",
    "read_run",
    "run_name",
    "to_json",
    "write_atomic",
]
