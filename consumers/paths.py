"""Where an event ends up in a sink: names made of its own id and date, whatever the id looks like."""

import hashlib
import re

# Anything that some store, URL or file system does not keep as it is; each byte of it becomes `=` and two hex digits.
_UNSAFE = re.compile(r"[^a-z0-9._-]|\A\.|\.\Z")
_UNSAFE_KEY = re.compile(r"[^a-z0-9._]|\A\.|\.\Z")
_LONGEST = 200
_HEAD = 60


def blob(folder: str, key: str, identity: str, timestamp: str, suffix: str) -> str:
    """`<folder>/year=YYYY/month=MM/day=DD/<routing key>-<event id>.<suffix>`, the path of an event in the lake.

    `timestamp` is the event's own, ISO-8601 in UTC, so that a redelivery after midnight meets its own blob.
    """
    # A key never holds the dash, so it is clear where it ends.
    name = f"{_segment(key, _UNSAFE_KEY)}-{_segment(identity, _UNSAFE)}.{suffix}"
    return f"{day(folder, timestamp)}/{name}"


def day(folder: str, date: str) -> str:
    """The folder of one day; `date` begins with YYYY-MM-DD."""
    return f"{folder}/year={date[:4]}/month={date[5:7]}/day={date[8:10]}"


def document(identity: str) -> str:
    """An id that Cosmos takes: no slash, backslash, `?` or `#`, at most 255 characters. A uuid stays as it is."""
    return _segment(identity, _UNSAFE)


def _segment(text: str, unsafe: re.Pattern[str]) -> str:
    """One name in at most `_LONGEST` characters; different texts have names that differ in more than case.

    A text that is too long keeps its beginning and ends in its hash, after `==`, which no escape can produce.
    """
    name = unsafe.sub(_escape, text)
    if len(name) <= _LONGEST:
        return name
    return f"{name[:_HEAD]}=={hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()}"


def _escape(found: re.Match[str]) -> str:
    return "".join(f"={byte:02x}" for byte in found[0].encode(errors="surrogatepass"))
