#!/usr/bin/env bash
# Run a command with a display, the one that is there or a virtual one of its own, and with its temporary files in
# memory where that has room: every mask and row is synced, and half of the time would be spent waiting for a disk.
set -eu
memory=/dev/shm
if [ -z "${TMPDIR:-}" ] && [ -w "$memory" ] && [ "$(df -Pk "$memory" | awk 'NR == 2 { print $4 }')" -gt 8000000 ]; then
  TMPDIR=$(mktemp -d "$memory/segmatch-tests.XXXXXX")
  export TMPDIR
  trap 'rm -rf "$TMPDIR"' EXIT
fi
if [ -z "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ] && [ "$(uname -s)" = Linux ]; then
  xvfb-run -a -s "-screen 0 1366x900x24" "$@"
else
  "$@"
fi
