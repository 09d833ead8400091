"""The three Deployments that run the handlers, and the containers they write to."""

from catalog.kinds import Service, Store

# One blob account takes 20,000 requests/s; a tenth of it is ours (Azure, scalability targets for standard accounts).
BLOB_RATE = 2_000.0
# A 1 kB write costs about 6 RU; the usage container is provisioned with 4,000 RU/s.
COSMOS_RATE = 650.0

RISK_ANALYTICS = Service(
    name="risk-analytics",
    port=3048,
    replicas=1,
    most_replicas=4,
    sink_rate=COSMOS_RATE,
    rss=111,
    stores=("data_lake.container", "cosmos_db.containers.risk_snapshots", "cosmos_db.containers.batch_job_runs"),
    publishes=("workflow.job.completed", "workflow.job.failed", "workflow.job.trigger"),
)
LOGGING = Service(
    name="logging",
    port=3014,
    replicas=1,
    most_replicas=6,
    sink_rate=BLOB_RATE,
    rss=89,
    stores=("data_lake.container",),
)
ANALYTICS = Service(
    name="analytics-service",
    port=3030,
    replicas=1,
    most_replicas=4,
    sink_rate=COSMOS_RATE,
    rss=52,
    stores=("cosmos_db.containers.usage_ml",),
)

SERVICES = (RISK_ANALYTICS, LOGGING, ANALYTICS)

DATABASE = "castiel"

STORES = (
    Store(setting="data_lake.container", name="risk"),
    Store(setting="cosmos_db.containers.usage_ml", name="analytics_usage_ml", partition_key="/tenantId"),
    Store(setting="cosmos_db.containers.risk_snapshots", name="risk_snapshots", partition_key="/tenantId"),
    Store(setting="cosmos_db.containers.batch_job_runs", name="batch_job_runs", partition_key="/job"),
)
