"""Metrics for Prometheus: a registry of each daemon's own, and the listener that shows it."""
