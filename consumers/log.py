"""What a process says: one JSON line per message, and one for everything else worth a line."""

import logging
import os
import sys
import traceback
from datetime import UTC, datetime
from typing import Any

import msgspec

_encode = msgspec.json.Encoder(enc_hook=str).encode
_always: dict[str, Any] = {}


def begin(**always: Any) -> None:
    """Name the fields that every line carries, and send what libraries log the same way."""
    _always.update(always)
    logging.basicConfig(level=logging.WARNING, handlers=[_Lines()], force=True)
    for noisy in ("pika", "azure"):  # both log what they also raise, and we log what is raised
        logging.getLogger(noisy).setLevel(logging.CRITICAL)


def line(level: str, **fields: Any) -> None:
    """Write one line to standard output, unbuffered: what was said before a SIGKILL is the part that matters."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    os.write(sys.stdout.fileno(), _encode({"time": now, "level": level, **_always, **fields}) + b"\n")


def failure(message: str, error: BaseException, **fields: Any) -> None:
    """One line for something nobody foresaw, with its traceback."""
    line("error", message=message, error=repr(error), traceback=_trace(error), **fields)


def _trace(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


class _Lines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info and record.exc_info[1]
        trace = {"error": repr(error), "traceback": _trace(error)} if error else {}
        line(record.levelname.lower(), logger=record.name, message=record.getMessage(), **trace)
