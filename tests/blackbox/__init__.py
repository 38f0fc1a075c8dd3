"""
The daemon as its users meet it: a process, driven over real sockets.

Redis, the chain and Daytona run in the test's own process or as its children;
the daemon is C{twistd} from the environment the tests run in.
"""
