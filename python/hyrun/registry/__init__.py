"""Registries: images from and to servers that speak the OCI distribution specification (docker's registry API).

``hosts`` reads what was configured, ``endpoints`` says where a reference's repository is, ``transport`` speaks
HTTP, ``authentication`` and ``credentials`` say who asks, ``client`` is one repository. On these stand
``pulling``, ``pushing`` and ``logins``. Nothing here is imported before somebody needs a registry.
"""
