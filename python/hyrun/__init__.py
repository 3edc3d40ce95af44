"""hyrun: a container engine in a Python wheel."""
