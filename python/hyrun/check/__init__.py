"""`system check`: every kind of damage that a store can have, found, and mended as far as that needs no network.

``finding`` says what a finding is, ``images``, ``layers``, ``containers``, ``volumes`` and ``leftovers`` look for them,
``checking`` puts them in order.
"""
