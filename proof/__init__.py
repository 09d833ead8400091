"""A proof on real input: a week of events through the whole stack, then every write compared with what was sent."""
