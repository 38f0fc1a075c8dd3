"""The official SDKs of Daytona, each in an environment of its own, through our door."""
