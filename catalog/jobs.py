"""The batch jobs that `workflow.job.trigger` can name; each has a module under consumers/jobs/."""

from datetime import timedelta

from catalog.kinds import Job

JOBS = (Job(name="risk-snapshot-backfill", cron="0 1 * * 0", budget=timedelta(minutes=30)),)
