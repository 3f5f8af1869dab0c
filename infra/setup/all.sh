#!/bin/sh
# Sets up everything that the project runs on: npm packages, nats-server and SoftHSM2.
#
# The three run side by side. What they found is written to .cache/setup/env, a file of shell
# assignments (GYRE_NATS_SERVER, GYRE_SOFTHSM_LIB, GYRE_SOFTHSM_UTIL) that the Makefile reads
# before it runs anything. The two of SoftHSM are empty on a machine that has none: then whoever
# needs a token has to ask for the file token by name.
#
# Exit codes: 0 ready (with or without SoftHSM2), 1 npm packages or nats-server are missing.
set -u
cd "$(dirname "$0")/../.." || exit 1
setup=infra/setup
cache=.cache/setup
mkdir -p "$cache" || exit 1
work=$(mktemp -d "$cache/run.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
nats_pid= softhsm_pid=
trap 'kill $nats_pid $softhsm_pid 2>/dev/null; exit 130' INT TERM

quote() { # a value as one single-quoted shell word
  printf "'%s'" "$(printf '%s' "$1" | sed "s/'/'\\\\''/g")"
}

sh "$setup/nats-server.sh" >"$work/nats" &
nats_pid=$!
sh "$setup/softhsm.sh" >"$work/softhsm" &
softhsm_pid=$!
sh "$setup/node.sh" >&2
node_code=$?
wait "$nats_pid"
nats_code=$?
wait "$softhsm_pid"
softhsm_code=$?

failed=0
if [ "$node_code" -ne 0 ]; then
  echo "setup: npm packages are not installed (see above)" >&2
  failed=1
fi
if [ "$nats_code" -ne 0 ]; then
  echo "setup: nats-server is not ready (see above)" >&2
  failed=1
fi
[ "$failed" -eq 0 ] || exit 1

library=
tool=
if [ "$softhsm_code" -eq 0 ]; then
  library=$(sed -n 1p "$work/softhsm")
  tool=$(sed -n 2p "$work/softhsm")
else
  echo "setup: going on without SoftHSM2: keys can be held in a file token, which is not an HSM and must be asked for by name" >&2
fi

{
  echo "# Written by infra/setup/all.sh."
  echo "export GYRE_NATS_SERVER=$(quote "$(sed -n 1p "$work/nats")")"
  echo "export GYRE_SOFTHSM_LIB=$(quote "$library")"
  echo "export GYRE_SOFTHSM_UTIL=$(quote "$tool")"
} >"$work/env"
mv "$work/env" "$cache/env"
