"""The operator's command: what goes on, why it pages, and the few things a person does about it."""
