"""The billing daemon in front of Daytona; C{docs/} has the map of its rooms."""

__version__ = "0.1.0"
