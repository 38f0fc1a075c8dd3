"""Sending webhooks: HTTP to hosts that users name."""
