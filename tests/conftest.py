"""One thread per process: with two, tensors as small as these wait for each other (90 s, not 3)."""

import os
import signal

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported

# A background job of a shell starts with these ignored, and every process below it inherits that.
_USUAL = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
for _number, _handler in _USUAL.items():
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)
