"""
Exactly once, whatever dies: the real services and journal under one clock.

A L{world<tests.simulation.world.World>} outlives the daemons on it.  Every call of
theirs to a port is numbered and can be met by a fault; when all is quiet the
L{checker<tests.simulation.checker>} looks at the final books and the world's own logs.
C{SIM_SEED=n trial tests.simulation} lives one random story again, exactly.
"""
