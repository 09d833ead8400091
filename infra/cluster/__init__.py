"""Target `kubernetes`: everything of the program that only a cluster needs."""
