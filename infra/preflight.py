"""Before anything is made: everything that a cluster and its broker lack for a stack, in one message."""

from __future__ import annotations

from collections.abc import Iterator

import pulumi

from catalog.broker import Capabilities
from infra.broker import check_version
from infra.broker_api import Api, Refused, WrongPassword
from infra.cluster import checks
from infra.cluster.settings import Admin, ClusterSettings
from infra.differences import MEND, OPERATOR_MENDS, findings
from infra.live import Finding, Live
from infra.settings import Settings
from infra.topology import topology


def check(stack: Settings) -> None:
    """Raises RunError with all that has to be done first; what only ought to be known is one warning."""
    if stack.cluster is None:
        return
    faults, warnings = checks.faults(stack.cluster), list[str]()
    try:
        live = _live(stack, stack.cluster.broker.admin)
    except Refused as error:
        faults.append(str(error))
    else:
        found = list(_findings(stack, stack.cluster, live))
        faults += [str(finding) for finding in found if _stops(finding)]
        warnings = [str(finding) for finding in found if not _stops(finding)]
    if warnings:
        pulumi.log.warn(_listed("The broker holds what this stack does not mend:", warnings))
    if faults:
        count = "1 problem" if len(faults) == 1 else f"{len(faults)} problems"
        raise pulumi.RunError(_listed(f"Stack {stack.stack} cannot be built, {count}:", faults))


def _listed(head: str, sentences: list[str]) -> str:
    return "\n  ".join([head, *sentences])


def _live(stack: Settings, admin: Admin | None) -> Live | None:
    """What the broker holds, None where nobody may ask. Raises Refused."""
    if admin is None:
        pulumi.log.info(
            "The broker is not looked into: a queue of another type, a policy that hides ours or an exchange that is"
            " missing shows only when it is made. broker.admin_url, broker.admin_user and broker.admin_password let"
            " this preview see them; `oncall drift` does so by itself."
        )
        return None
    api = Api(admin.url, amqp="", user=admin.user, password=admin.password)
    try:
        check_version(api, api.get("overview")["rabbitmq_version"], stack.broker_version)
        return Live.of(api.get)
    except WrongPassword:
        step = "give broker.admin_user and broker.admin_password (--secret) of an administrator"
        raise Refused(f"RabbitMQ at {admin.url} refuses user {admin.user!r} with that password: {step}") from None


def _findings(stack: Settings, settings: ClusterSettings, live: Live | None) -> Iterator[Finding]:
    """What is worth telling before an `up`: not what it is there to make."""
    if live is None:
        return
    can = Capabilities.of(stack.broker_version)
    wanted = topology(stack.catalog, can, stack.generation, autoscaled=bool(settings.autoscaled))
    mend = OPERATOR_MENDS.format(namespace=settings.namespace) if settings.broker.operator else MEND
    queues = {row["name"] for row in live.queues}
    for finding in findings(live, wanted, mend):
        match finding.kind, finding.fault:
            case "exchange", "missing":
                if finding.name == stack.catalog.exchange.name and not settings.broker.manages_exchange:
                    yield finding
            case "binding", "missing":
                if finding.name.partition("/")[0] in queues:
                    yield finding
            case (_, "missing") | ("user", "extra"):  # those of the generation before go last
                pass
            case _:
                yield finding


def _stops(finding: Finding) -> bool:
    """Whether a person has to put it right, since no `up` can."""
    match finding.kind, finding.fault:
        case ("exchange", _) | (_, "hidden") | ("queue", "different"):
            return True
        case _:
            return False
