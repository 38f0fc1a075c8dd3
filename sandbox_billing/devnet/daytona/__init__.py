"""A Daytona that runs in this process and behaves like the real one."""
