"""The command line C{sandbox-billing}: outside the house, the daemon imports none of it."""
