"""The catalog as declared, put together."""

from catalog.jobs import JOBS
from catalog.kinds import Catalog
from catalog.metrics import METRICS
from catalog.queues import EXCHANGE, HANDLERS, QUEUES
from catalog.services import DATABASE, SERVICES, STORES
from catalog.signals import SIGNALS

CATALOG = Catalog(
    exchange=EXCHANGE,
    queues=QUEUES,
    handlers=HANDLERS,
    services=SERVICES,
    jobs=JOBS,
    stores=STORES,
    database=DATABASE,
    metrics=METRICS,
    signals=SIGNALS,
)
