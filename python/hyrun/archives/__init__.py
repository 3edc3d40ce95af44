"""Image archives: `docker save` files and OCI layouts in, whole images out.

``source`` finds members, ``docker`` and ``oci`` say which images an archive holds, ``loading`` publishes
them, ``rootfs`` makes an image of a plain root file system.
"""
