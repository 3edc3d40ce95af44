"""The two errors of `hyrun.run` that are also subprocess's, so that code written for that catches them."""

import subprocess

from .errors import HyrunError


class CalledProcessError(HyrunError, subprocess.CalledProcessError):
    """The container ended with a non-zero exit status and ``check=True`` was given."""

    __str__ = subprocess.CalledProcessError.__str__


class TimeoutExpired(HyrunError, subprocess.TimeoutExpired):
    """The container was still running after ``timeout`` seconds and was killed."""

    exit_code = 124
    __str__ = subprocess.TimeoutExpired.__str__
