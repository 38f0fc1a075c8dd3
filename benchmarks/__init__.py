"""
The figures of C{benchmarks/README.md}, each one command: C{python -m benchmarks.NAME}.

Every figure comes with a baseline that was measured in the same run, because the
ratio of the two outlives the machine.
"""
