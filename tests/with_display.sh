#!/usr/bin/env bash
# Run a command with a display: the one that is there, or a virtual one of its own.
set -eu
if [ -z "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ] && [ "$(uname -s)" = Linux ]; then
  exec xvfb-run -a -s "-screen 0 1366x900x24" "$@"
fi
exec "$@"
