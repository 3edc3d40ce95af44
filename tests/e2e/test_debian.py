"""A whole distribution: made with mmdebstrap, imported, run. Slow and needs a mirror, so only on request."""

import os
import subprocess
from pathlib import Path

import pytest

from e2e.command import Hyrun

# Left out, not skipped: HYRUN_MUST_WORK makes failures of skips, and this is asked for by HYRUN_DEBIAN alone.
if os.environ.get("HYRUN_DEBIAN") == "1":

    @pytest.fixture(scope="module")
    def debian(tmp_path_factory: pytest.TempPathFactory) -> Path:
        """The tar of a small Debian."""
        archive = tmp_path_factory.mktemp("debian") / "rootfs.tar"
        subprocess.run(
            ["mmdebstrap", "--quiet", "--variant=essential", "bookworm", str(archive)], check=True, timeout=600
        )
        return archive

    @pytest.mark.timeout(900)
    def test_debian_runs_with_its_accounts_permissions_and_volumes(hyrun: Hyrun, debian: Path) -> None:
        hyrun("import", "-c", 'CMD ["bash"]', debian, "debian")
        release, user, caps, listed = hyrun.sh(
            ". /etc/os-release; echo $ID; su -s /bin/sh www-data -c whoami; getcap /none 2>&1 | wc -l; ls /var/log",
            "-v",
            "logs:/var/log",
            image="debian",
        ).split("\n", 3)
        assert (release, user) == ("debian", "www-data")
        assert caps.isdigit()
        assert listed.split() == sorted(os.listdir(hyrun.root / "volumes/logs/_data"))

    @pytest.mark.timeout(900)
    def test_debian_can_install_a_package_file(hyrun: Hyrun, debian: Path) -> None:
        hyrun("import", debian, "debian")
        (hyrun.cwd / "made/DEBIAN").mkdir(parents=True)
        control = (
            "Package: made\nVersion: 1\nArchitecture: all\nMaintainer: test <test@example.com>\nDescription: test\n"
        )
        (hyrun.cwd / "made/DEBIAN/control").write_text(control)
        script = "dpkg-deb -b /made /tmp/made.deb && dpkg -i /tmp/made.deb && dpkg -s made"
        assert "install ok installed" in hyrun.sh(script, "-v", "./made:/made", image="debian")
