"""Between the catalog and whoever is on call: rules for Prometheus, routes for Alertmanager, tables for the pages."""
