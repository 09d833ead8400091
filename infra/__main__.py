"""`pulumi up`: a stack's settings, resolved against the catalog, put where the stack's target says."""

from infra import program, settings, targets

stack = settings.load()  # every fault of the stack's configuration in one message
targets.check(stack)  # and every reason why it cannot be built where it should
program.build(targets.of(stack))  # local | kubernetes: the only branch
