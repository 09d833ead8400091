"""Between the stores and the pods: which credentials a service needs, and the Secret that has them; pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256

from catalog import Catalog, Service
from infra.cluster.settings import Sinks

# Kind of store -> key in the Secret; the variable that names its file is the key in capitals with _FILE behind it.
KEYS = {"blob": "data_lake_connection_string", "cosmos": "cosmos_db_key"}


def kinds(catalog: Catalog, service: Service) -> list[str]:
    """The kinds of stores that a service reads or writes, sorted."""
    return sorted({catalog.store(setting).kind for setting in service.stores})


def keys(catalog: Catalog, service: Service, sinks: Sinks) -> list[str]:
    """The keys of the Secret that a service needs; none where it has an identity instead."""
    return [] if sinks.client_id else [KEYS[kind] for kind in kinds(catalog, service)]


def contents(catalog: Catalog, service: Service, sinks: Sinks) -> dict[str, str]:
    """What our own Secret for a service holds; nothing where it has an identity, or somebody else's Secret."""
    values = {KEYS["blob"]: sinks.connection_string, KEYS["cosmos"]: sinks.cosmos_key}
    return {} if sinks.secret else {key: values[key] for key in keys(catalog, service, sinks)}


def secret_name(catalog: Catalog, service: Service, sinks: Sinks) -> str:
    """The Secret's name, empty where there is none: new contents have a new one, so that pods roll, and roll back."""
    if sinks.secret or not (inside := contents(catalog, service, sinks)):
        return sinks.secret
    return f"{service.name}-sinks-{_digest(inside)}"


def _digest(inside: Mapping[str, str]) -> str:
    return sha256(json.dumps(inside, sort_keys=True).encode()).hexdigest()[:8]
