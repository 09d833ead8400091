"""The one place where a queue, service, job, metric or signal is declared; everything else is rendered from here."""

from catalog.kinds import Alert, Catalog, Exchange, Handler, Job, Metric, Queue, Service, Signal, Store
from catalog.laws import problems
from catalog.resolve import CatalogError, environment, resolve
from catalog.whole import CATALOG

__all__ = [
    "CATALOG",
    "Alert",
    "Catalog",
    "CatalogError",
    "Exchange",
    "Handler",
    "Job",
    "Metric",
    "Queue",
    "Service",
    "Signal",
    "Store",
    "environment",
    "problems",
    "resolve",
]
