"""From a trigger's data to what a job is asked for, with every fault named at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import msgspec

from catalog import Catalog, Job
from consumers.events import Event, data_as, shortened
from consumers.verdicts import Never, Reject


@dataclass(frozen=True, kw_only=True)
class Request:
    """One run as it was asked for.

    `asked` is the trigger's own timestamp: a default window counts from it, so that a run that is resumed tomorrow
    covers the same days. `first` and `last` are days (UTC, inclusive); no `tenants` means all.
    """

    job: Job
    trigger: str
    asked: datetime
    first: date | None = None
    last: date | None = None
    tenants: frozenset[str] = frozenset()


class Trigger(msgspec.Struct):
    """The `data` of a trigger, before it is judged: of `metadata`, each field is told what is wrong with it."""

    job: Any = None
    metadata: Any = None


def read(event: Event, catalog: Catalog) -> Request:
    """Raises Reject: UNKNOWN_JOB, or WRONG_TYPE with every field that is not what it should be."""
    data = data_as(event, Trigger)
    name, jobs = data.job, {job.name: job for job in catalog.jobs}
    if isinstance(name, str) and name not in jobs:
        raise Reject(Never.UNKNOWN_JOB, f"data.job is {_shown(name)}: there are {', '.join(sorted(jobs))}")
    faults = [] if isinstance(name, str) else [f"data.job is {_shown(name)}: give the name of a job"]
    given = _metadata(data.metadata, faults)
    first, last = given.get("from"), given.get("to")
    if first and last and first > last:
        faults.append(f"data.metadata.from is {first}, after data.metadata.to, {last}: swap them")
    if faults:
        raise Reject(Never.WRONG_TYPE, "; ".join(faults))
    tenants = {*given.get("tenantIds", ()), *([given["tenantId"]] if "tenantId" in given else [])}
    return Request(
        job=jobs[name],
        trigger=event.id,
        asked=event.timestamp,
        first=first,
        last=last,
        tenants=frozenset(tenants),
    )


def _metadata(metadata: Any, faults: list[str]) -> dict[str, Any]:
    """The fields that are given, read; those that are null or unknown to us are left out."""
    if metadata is None:
        return {}
    if not isinstance(metadata, dict):
        faults.append(f"data.metadata is {_shown(metadata)}: give an object")
        return {}
    given = {}
    for name, reader in READERS.items():
        if metadata.get(name) is None:
            continue
        try:
            given[name] = reader(metadata[name])
        except ValueError as error:
            faults.append(f"data.metadata.{name} is {_shown(metadata[name])}: {error}")
    return given


def _day(value: Any) -> date:
    """A day of this century: a year with a slip in it would have a job look at a million empty folders."""
    try:
        moment = datetime.fromisoformat(value)
        day = moment.astimezone(UTC).date() if moment.tzinfo else moment.date()
        if day.year // 100 == 20:
            return day
    except (OverflowError, TypeError, ValueError):
        pass
    raise ValueError("give a day such as 2026-01-31")


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("give a text")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(entry, str) and entry for entry in value):
        raise ValueError("give a list of at least one text, or leave it out for all")
    return tuple(value)


def _period(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", value):
        raise ValueError("give a month such as 2026-01")
    return value


def _shown(value: Any) -> str:
    return shortened(msgspec.json.encode(value).decode())


READERS: Mapping[str, Callable[[Any], Any]] = {
    "from": _day,
    "to": _day,
    "tenantId": _text,
    "tenantIds": _texts,
    "industryIds": _texts,
    "period": _period,
    "schedule": _text,
}
