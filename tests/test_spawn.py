def test_a(box):
    e = box.sh(
        "cat /proc/self/status; ls -la /proc/self/fd /dev; cat /proc/self/mountinfo; umask; cat; cat /sys/class/net/lo/flags; tty; ulimit -a",
        stdin=b"hello",
    )
    print(e.stdout, e.stderr)


def test_t():
    import time
    from support.leaks import Snapshot

    t = time.perf_counter()
    for _ in range(100):
        Snapshot.take()
    print((time.perf_counter() - t) * 10, "ms")
