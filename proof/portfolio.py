"""Where the proof's events come from: a seeded sales portfolio and what happened in it on the last seven full days."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple
from uuid import UUID, uuid5

from consumers.envelope import SYSTEM_TENANT

Envelope = dict[str, Any]

SEED = 20_260_101
DAYS = 7
NAMESPACE = UUID("5b0c8a52-6f0e-4d6e-9a38-0f3a8f6a7c11")  # of every id made here; any constant does

JOB = "risk-snapshot-backfill"
TRIGGER = "workflow.job.trigger"

TENANTS = ("northwind-energy", "kestrel-robotics", "lumen-health")
ACCOUNTS = 8  # per tenant
DEALS = (3, 7)  # opportunities per account, least and most
CATEGORIES = ("commercial", "competitive", "financial", "legal", "operational", "technical")
DRIVERS = ("days_since_last_contact", "discount_requested", "champion_left", "scope_changed", "competitor_mentioned")
MODELS = ("risk-score-v5", "win-probability-v3")
LANGUAGE_MODELS = ("deal-summary-v2", "email-draft-v1")
HIGH = 0.7  # the risk above which people are asked


class Window(NamedTuple):
    """Full UTC days, both of them included."""

    first: date
    last: date

    @classmethod
    def before(cls, today: date) -> Window:
        """The last full days before `today`, as risk-snapshot-backfill takes them by default."""
        return cls(today - timedelta(days=DAYS), today - timedelta(days=1))

    def days(self) -> Iterator[date]:
        return (self.first + timedelta(days=n) for n in range((self.last - self.first).days + 1))


@dataclass
class Opportunity:
    """A deal with its risk by category, each 0..1, which `drift` moves from day to day."""

    tenant: str
    account: str
    identity: str
    amount: int
    trend: float
    categories: dict[str, float]

    @property
    def risk(self) -> float:
        """The mean with the worst category counted twice: one bad category is enough to lose a deal."""
        scores = self.categories.values()
        return round((sum(scores) + max(scores)) / (len(scores) + 1), 4)

    def drift(self, chance: random.Random) -> None:
        """One day: the deal's own trend and some noise, kept within 0..1."""
        for name, score in self.categories.items():
            self.categories[name] = _within(score + self.trend + chance.gauss(0, 0.02))


def tenant_id(name: str) -> str:
    return str(uuid5(NAMESPACE, name))


def events(today: date, seed: int = SEED) -> list[Envelope]:
    """Everything that happened, by time; the same day and seed give the same events with the same ids."""
    chance = random.Random(f"{seed}/{today}")  # noqa: S311 - no secret
    opportunities = portfolio(chance)
    happened: list[Envelope] = []
    for day in Window.before(today).days():
        for opportunity in opportunities:
            opportunity.drift(chance)
            happened += _day_of_opportunity(opportunity, day, chance)
        for tenant in TENANTS:
            happened += _day_of_models(tenant_id(tenant), day, chance)
    return sorted(happened, key=lambda event: (event["timestamp"], event["id"]))


def portfolio(chance: random.Random) -> list[Opportunity]:
    return [
        _opportunity(tenant, f"acc-{number:03d}", f"opp-{number:03d}-{deal}", chance)
        for tenant in TENANTS
        for number in range(1, ACCOUNTS + 1)
        for deal in range(1, chance.randint(*DEALS) + 1)
    ]


def _opportunity(tenant: str, account: str, name: str, chance: random.Random) -> Opportunity:
    level = chance.betavariate(2, 3)  # most deals are fairly safe, few are hopeless
    return Opportunity(
        tenant=tenant_id(tenant),
        account=f"{tenant}-{account}",
        identity=f"{tenant}-{name}",
        amount=100 * round(chance.lognormvariate(11, 0.8) / 100),  # a median of about 60,000
        trend=chance.gauss(0.004, 0.01),
        categories={name: _within(chance.gauss(level, 0.15)) for name in CATEGORIES},
    )


def envelope(key: str, tenant: str, at: datetime, source: str, data: dict[str, Any], **metadata: str) -> Envelope:
    """An event as producers publish it. Its id is derived from its content: changed content is another event."""
    stamp = at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    event: Envelope = {
        "type": key,
        "version": "1.0",
        "timestamp": stamp,
        "tenantId": tenant,
        "source": source,
        "data": data,
    }
    if metadata:
        event["metadata"] = metadata
    return {"id": str(uuid5(NAMESPACE, json.dumps(event, sort_keys=True))), **event}


def backfill(now: datetime, window: Window, *tenants: str) -> Envelope:
    """The trigger that asks for risk-snapshot-backfill of a window, of all tenants when none is named."""
    scope: dict[str, Any] = {"from": window.first.isoformat(), "to": window.last.isoformat()}
    if tenants:
        scope["tenantIds"] = list(tenants)
    data = {"job": JOB, "metadata": scope, "triggeredBy": "manual", "timestamp": now.isoformat(timespec="milliseconds")}
    return envelope(TRIGGER, SYSTEM_TENANT, now, "proof", data)


def encode(event: Envelope) -> bytes:
    return json.dumps(event, separators=(",", ":")).encode()


def _day_of_opportunity(deal: Opportunity, day: date, chance: random.Random) -> Iterator[Envelope]:
    """An evaluation with the model calls before it and, at times, the people after it."""
    at = _moment(day, chance)
    trace = str(uuid5(NAMESPACE, f"{deal.identity}/{at.isoformat()}"))
    about = {"opportunityId": deal.identity}

    def event(key: str, seconds: float, source: str, data: dict[str, Any], **metadata: str) -> Envelope:
        moment = at + timedelta(seconds=seconds)
        return envelope(key, deal.tenant, moment, source, data, correlationId=trace, **metadata)

    if chance.random() < 0.6:
        yield event("ml.prediction.completed", -2, "ml-service", _prediction(deal, chance))
    if chance.random() < 0.15:
        yield event("embedding.generated", -1, "embeddings", _embedding(chance))
    yield event("risk.evaluated", 0, "risk-analytics", _evaluation(deal, at, chance))
    if chance.random() < 0.4:
        forecast = {**about, "horizonDays": 30, "predictedRisk": _within(deal.risk + 10 * deal.trend)}
        yield event("risk.prediction.generated", 1, "risk-analytics", forecast)
    if chance.random() < 0.25:
        yield event("llm.inference.completed", 3, "ai-service", _generation(chance))
    if deal.risk > HIGH:
        approval = {**about, "approvalId": f"apr-{trace[:8]}", "amount": deal.amount, "accountId": deal.account}
        yield event("hitl.approval.requested", 60, "hitl-service", approval)
        decision = {**approval, "decision": chance.choice(("approved", "rejected"))}
        yield event("hitl.approval.completed", chance.uniform(300, 7200), "hitl-service", decision, userId="user-17")
    elif chance.random() < 0.1:
        steps = {**about, "workflowId": f"rem-{trace[:8]}", "stepsCompleted": chance.randint(1, 6)}
        yield event("remediation.workflow.completed", 600, "workflow-service", steps)


def _evaluation(deal: Opportunity, at: datetime, chance: random.Random) -> dict[str, Any]:
    """The optional fields are left out now and then, as older producers do."""
    data: dict[str, Any] = {
        "opportunityId": deal.identity,
        "riskScore": deal.risk,
        "categoryScores": dict(deal.categories),
    }
    if chance.random() < 0.9:
        shares = sorted((round(chance.random() * deal.risk, 4) for _ in range(3)), reverse=True)
        features = chance.sample(DRIVERS, 3)
        data["topDrivers"] = [
            {"feature": name, "contribution": share} for name, share in zip(features, shares, strict=True)
        ]
    if chance.random() < 0.8:
        data["dataQuality"] = {"completeness": round(chance.uniform(0.6, 1), 3), "staleFields": chance.randint(0, 4)}
    if chance.random() < 0.85:
        data["evaluationId"] = str(uuid5(NAMESPACE, f"evaluation/{deal.identity}/{at.isoformat()}/{deal.risk}"))
    return data


def _prediction(deal: Opportunity, chance: random.Random) -> dict[str, Any]:
    return {
        "modelId": chance.choice(MODELS),
        "opportunityId": deal.identity,
        "prediction": _within(deal.risk + chance.gauss(0, 0.05)),
        "featureVector": {"amount": deal.amount, **{name: deal.categories[name] for name in CATEGORIES[:3]}},
        "inferenceMs": round(chance.lognormvariate(3.5, 0.4), 1),
    }


def _embedding(chance: random.Random) -> dict[str, Any]:
    return {"modelId": "text-embedding-v3", "dimensions": 768, "count": chance.randint(1, 40), "inferenceMs": 21.5}


def _generation(chance: random.Random) -> dict[str, Any]:
    tokens = chance.randint(200, 4000)
    data = {"modelId": chance.choice(LANGUAGE_MODELS), "inputTokens": tokens, "outputTokens": tokens // 4}
    return data if chance.random() < 0.2 else {**data, "inferenceMs": round(tokens * 1.7, 1)}


def _day_of_models(tenant: str, day: date, chance: random.Random) -> Iterator[Envelope]:
    """What model monitoring reports: a drift a day, and now and then a model that became worse."""
    drift = {"modelId": chance.choice(MODELS), "metric": "psi", "value": round(chance.uniform(0.2, 0.4), 3)}
    yield envelope("ml.model.drift.detected", tenant, _moment(day, chance), "ml-service", drift)
    if chance.random() < 0.5:
        worse = {"modelId": chance.choice(MODELS), "metric": "brier", "value": round(chance.uniform(0.2, 0.3), 3)}
        yield envelope("ml.model.performance.degraded", tenant, _moment(day, chance), "ml-service", worse)


def _moment(day: date, chance: random.Random) -> datetime:
    """A moment in office hours; far enough from midnight that what follows it stays within the day."""
    return datetime.combine(day, time(), UTC) + timedelta(hours=chance.uniform(6, 20))


def _within(share: float) -> float:
    return round(min(max(share, 0.01), 0.99), 4)
