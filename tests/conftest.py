"""One thread per process: with two, tensors as small as these wait for each other (90 s, not 3)."""

import os

from tests.signals import heard

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported
heard()
