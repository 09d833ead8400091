"""Between the catalog and Grafana: every signal as a panel of a board."""

from dashboards.batch_jobs import boards

__all__ = ["boards"]
