"""`pulumi up`: a stack's settings, resolved against the catalog, put where the stack's target says."""

from infra import settings, targets

stack = settings.load()  # every fault of the stack's configuration in one message
target = targets.of(stack)  # local | kubernetes: the only branch

broker = target.broker()
stores = target.stores()
services = [target.service(service, after=[*broker, *stores]) for service in stack.catalog.services]
target.bindings(after=services)  # an event comes only after those who understand it
target.monitoring(after=services)
target.export()
