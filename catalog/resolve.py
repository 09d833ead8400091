"""Between a stack's settings and every renderer: the catalog with the stack's overrides applied and checked again."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from catalog.kinds import Catalog
from catalog.laws import problems

DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


class CatalogError(ValueError):
    """A catalog, or a stack's settings for it, breaks a law; `problems` lists every fault as a sentence."""

    def __init__(self, faults: list[str]) -> None:
        self.problems = faults
        super().__init__("\n".join(faults))


@dataclass(frozen=True)
class Setting:
    """One thing a stack may set: its key, the entry and field it replaces, and how its text is read and written."""

    key: str
    kind: str
    entry: str
    field: str
    read: Callable[[Any], Any]
    write: Callable[[Any], str] = str

    @property
    def variable(self) -> str:
        """The environment variable that carries it to a consumer."""
        return re.sub(r"[.-]", "_", self.key).upper()


def settings(catalog: Catalog) -> dict[str, Setting]:
    """Everything a stack may set about a catalog, by key."""
    return {setting.key: setting for setting in _settings(catalog)}


def resolve(catalog: Catalog, overrides: Mapping[str, Any]) -> Catalog:
    """Apply a stack's overrides, {setting key: value}, and check the laws. Raises CatalogError with every fault."""
    known, faults = settings(catalog), []
    changes: dict[tuple[str, str], dict[str, Any]] = {}
    for key, value in overrides.items():
        if key not in known:
            faults.append(f"{key} is no setting{_nearest(key, known)}")
            continue
        setting = known[key]
        try:
            changes.setdefault((setting.kind, setting.entry), {})[setting.field] = setting.read(value)
        except ValueError as error:
            faults.append(f"{key} is {value!r}: {error}")
    resolved = _replaced(catalog, changes)
    faults += problems(resolved)
    if faults:
        raise CatalogError(faults)
    return resolved


def environment(catalog: Catalog, service: str) -> dict[str, str]:
    """What a process of a service has to be told, {VARIABLE: text}: the names and prefetches that it works with.

    Keys, thresholds and replica counts are left out, so that changing one restarts nobody.
    """
    entries = {queue.setting for queue in catalog.queues_of(service)} | set(catalog.service(service).stores)
    return {
        setting.variable: setting.write(value_of(catalog, setting))
        for setting in _settings(catalog)
        if setting.entry in entries and setting.field in ("name", "prefetch")
    }


def overrides_from(catalog: Catalog, variables: Mapping[str, str]) -> dict[str, str]:
    """The overrides that an environment carries, by setting key: the inverse of `environment`."""
    return {setting.key: variables[setting.variable] for setting in _settings(catalog) if setting.variable in variables}


def _replaced(catalog: Catalog, changes: Mapping[tuple[str, str], Mapping[str, Any]]) -> Catalog:
    """The catalog with fields replaced, {(kind, entry): {field: value}}."""
    entries: dict[str, Any] = {
        kind: tuple(replace(entry, **changes.get((kind, _identity(entry)), {})) for entry in getattr(catalog, kind))
        for kind in ("queues", "services", "jobs", "stores")
    }
    return replace(catalog, **entries)


def _settings(catalog: Catalog) -> Iterator[Setting]:
    for queue in catalog.queues:
        yield Setting(f"{queue.setting}.queue", "queues", queue.setting, "name", _word)
        yield Setting(queue.bindings, "queues", queue.setting, "keys", _words, ",".join)
        yield Setting(f"{queue.setting}.prefetch", "queues", queue.setting, "prefetch", _whole)
        yield Setting(f"{queue.setting}.drain_within", "queues", queue.setting, "drain_within", _duration, _seconds)
    for service in catalog.services:
        yield Setting(f"replicas.{service.name}", "services", service.name, "replicas", _whole)
    for job in catalog.jobs:
        yield Setting(f"jobs.{job.name}.budget", "jobs", job.name, "budget", _duration, _seconds)
    for store in catalog.stores:
        yield Setting(store.setting, "stores", store.setting, "name", _word)


def _identity(entry: Any) -> str:
    """What stays the same when an entry is renamed: its setting, else its name."""
    return str(getattr(entry, "setting", None) or entry.name)


def value_of(catalog: Catalog, setting: Setting) -> Any:
    """What a catalog has for a setting."""
    entry = next(entry for entry in getattr(catalog, setting.kind) if _identity(entry) == setting.entry)
    return getattr(entry, setting.field)


def _nearest(key: str, known: Mapping[str, Setting]) -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    return f": did you mean {near[0]}?" if near else ": `python -m catalog settings` lists all there are"


def _word(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("give a name")
    return value.strip()


def _words(value: Any) -> tuple[str, ...]:
    words = value.split(",") if isinstance(value, str) else value
    if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words):
        raise ValueError("give routing keys as a list, or as text with commas")
    return tuple(word.strip() for word in words if word.strip())


def _whole(value: Any) -> int:
    try:
        return int(str(value))
    except ValueError:
        raise ValueError("give a whole number") from None


def _duration(value: Any) -> timedelta:
    """A duration such as 90s, 15m, 1h30m; a bare number is refused, since its unit would be a guess."""
    match = DURATION.fullmatch(str(value).strip())
    if not match or not match.group():
        raise ValueError("give a duration such as 90s, 15m or 1h30m")
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return timedelta(hours=hours, minutes=minutes, seconds=seconds)


def _seconds(duration: timedelta) -> str:
    return f"{duration.total_seconds():.0f}s"
