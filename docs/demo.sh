#!/bin/sh
# The main job, with its own eyes: a bind, an anonymous volume, the host's view and the untouched writable layer.
# Run by `make demo`; leaves nothing behind.
set -eu

demo=$(mktemp -d /tmp/hyrun-demo.XXXXXX)
export HYRUN_ROOT="$demo/store" HYRUN_RUN="$demo/run"
mkdir -m 700 "$HYRUN_RUN"
mkdir "$demo/home"
trap 'rm -rf "$demo"' EXIT

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
show() { printf '$ %s\n' "$*"; "$@"; }

if [ "$(id -u)" != 0 ]; then
    echo "make demo: containers need root here; try: sudo make demo" >&2
    exit 1
fi

before=$(cat /proc/self/mountinfo)

say 'A container on this machine'\''s own root file system, with two volumes:'
show hyrun run --name demo -v "$demo/home:/test" -v /data host \
    sh -c 'echo "written inside, pid $$" > /test/file; echo more > /data/other; hostname; grep -E " /(test|data) " /proc/mounts'

say 'What it wrote below /test is on the host:'
show cat "$demo/home/file"

say 'The anonymous volume has its own directory:'
show hyrun volume ls
volume=$(hyrun inspect -f '{{range .Mounts}}{{if eq .Type "volume"}}{{.Source}}{{end}}{{end}}' demo)
show cat "$volume/other"

say 'The writable layer has the mount points, made for the mounts, and none of the data:'
upper=$(hyrun inspect -f '{{.GraphDriver.Data.UpperDir}}' demo)
show find "$upper" -mindepth 1 -path '*/test*' -o -mindepth 1 -path '*/data*'

say 'The host saw no mount:'
[ "$before" = "$(cat /proc/self/mountinfo)" ] && echo '/proc/self/mountinfo is as it was.'

say 'And it goes away with its anonymous volume:'
show hyrun rm -v demo
show hyrun volume ls
show hyrun ps -a
