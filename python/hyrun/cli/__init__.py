"""The command line: one file per group of commands. Nothing here is imported by the fast path of `run`."""
