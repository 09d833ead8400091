"""`python -m tests.chaos.again SERVICE`: an odd consumer under a supervisor that starts it again as soon as it died.

What is imported is shared by all its lives: the next one is a fork, so that a restart takes no second of its own.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

import consumers.__main__
import consumers.audit
import consumers.lake
import consumers.sinks.blob
import consumers.sinks.cosmos
import consumers.usage  # noqa: F401 - as the ones before: imported once, for every life
from consumers import log
from tests.chaos import odd

DIE_WITH_PARENT = 1  # prctl(2): PR_SET_PDEATHSIG


def main() -> int:
    """The exit status of the life that ended otherwise than by the death that was asked for."""
    while True:
        if not (life := os.fork()):
            ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
            return odd.main()
        signal.signal(signal.SIGTERM, lambda *_, life=life: os.kill(life, signal.SIGTERM))
        status = os.waitstatus_to_exitcode(os.waitpid(life, 0)[1])
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # what the next life begins with
        if status != odd.DIED:
            return status
        log.line("warning", message="died")


if __name__ == "__main__":
    sys.exit(main())
