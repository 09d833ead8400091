"""What a handler can say of an event: return when it is written, else raise Reject or Retry with a reason."""

from enum import Enum
from typing import Self


class Reason(Enum):
    """Why an event was not written: a metric label and a log field.

    One that is for ever is a header of the dead letter and a heading in its runbook, too. The values are stable; each
    carries the sentence that a person reads.
    """

    def __new__(cls, value: str, _sentence: str) -> Self:
        member = object.__new__(cls)
        member._value_ = value
        return member

    def __init__(self, _value: str, sentence: str) -> None:
        self.sentence = sentence


class Never(Reason):
    """Reasons for which no further try can succeed: the event becomes a dead letter."""

    UNDECODABLE = "undecodable", "the body is not a JSON object in UTF-8, or nests too deep"
    TOO_LARGE = (
        "too_large",
        "the body is larger than any event may be, or what is made of it larger than its store takes",
    )
    NO_ID = "no_id", "the event has no id, so a second delivery could not be recognised"
    NO_TYPE = "no_type", "the event does not say what it is"
    NO_TENANT = "no_tenant", "the event belongs to no tenant"
    BAD_TIMESTAMP = "bad_timestamp", "the timestamp is not an ISO-8601 time in UTC"
    WRONG_TYPE = "wrong_type", "a field is missing or has a type that the sink cannot hold"
    UNKNOWN_JOB = "unknown_job", "the trigger names a job that does not exist"
    CONFLICT = "conflict", "another event with the same id was written before"


class Later(Reason):
    """Reasons for which a later try can succeed: the event goes back to the broker."""

    SINK_UNAVAILABLE = "sink_unavailable", "the sink does not answer, or says that it cannot now"
    SINK_THROTTLED = "sink_throttled", "the sink asks for fewer requests"
    SINK_REFUSED = "sink_refused", "the sink refuses the request: credentials, or a missing container"
    UNKNOWN_TYPE = "unknown_type", "this version does not know the event type; a newer one may"
    BUSY = "busy", "another worker holds the run, or another event is handled alone first"
    FENCED = "fenced", "another worker took the run over, and nothing of this one's is written any more"
    STOPPING = "stopping", "the process is ending"
    PAUSED = "paused", "the sink has been down for longer than an event may be held"
    UNEXPECTED = "unexpected", "the handler failed in a way nobody foresaw; the log has the traceback"


class Reject(Exception):
    """The event can never succeed; `detail` names field, value (shortened) and what was expected."""

    def __init__(self, reason: Never, detail: str) -> None:
        self.reason, self.detail = reason, detail
        super().__init__(f"{reason.value}: {detail}")


class Retry(Exception):
    """The event may succeed later; `detail` says what stood in the way."""

    def __init__(self, reason: Later, detail: str) -> None:
        self.reason, self.detail = reason, detail
        super().__init__(f"{reason.value}: {detail}")
