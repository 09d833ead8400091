"""The Pulumi program: the resolved catalog becomes broker objects, containers, processes, boards and alert rules."""
