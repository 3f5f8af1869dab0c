#!/bin/sh
# Finds a nats-server that is new enough, or fetches one, and prints its path on stdout.
#
# Needed is 2.10.23: from there on `sync_interval: always` covers the Raft logs too, and older
# ones reject or ignore it. Looked for in this order: $NATS_SERVER, the PATH, the copy in .cache,
# the distribution's newest suite (Debian-like, no root needed, nothing installed), Homebrew.
# What is named by $NATS_SERVER must fit: it is never replaced silently by another.
#
# Exit codes: 0 found (one line on stdout), 1 not found (stderr says what to do).
set -u
cd "$(dirname "$0")/../.." || exit 1
. infra/setup/debian.sh
root=$(pwd)
cache=$root/.cache/nats-server
needed=2.10.23
too_old=

say() { echo "setup: nats-server: $*" >&2; }

version_of() { # 2.15.1 of "nats-server: v2.15.1"; nothing when it does not run
  "$1" --version 2>/dev/null | sed -n 's/^nats-server: v\{0,1\}\([0-9][0-9.]*\).*/\1/p' | sed -n 1p
}

at_least() { # at_least VERSION NEEDED, number by number
  awk -v have="$1" -v need="$2" 'BEGIN {
    split(have, h, "."); split(need, n, ".")
    for (i = 1; i <= 3; i++) {
      if (h[i] + 0 > n[i] + 0) exit 0
      if (h[i] + 0 < n[i] + 0) exit 1
    }
    exit 0
  }'
}

# use FILE WHERE: prints FILE and ends the script when it is new enough; otherwise says why not.
use() {
  found=$(version_of "$1")
  if [ -z "$found" ]; then
    say "$1 ($2) does not run as a nats-server"
  elif at_least "$found" "$needed"; then
    printf '%s\n' "$1"
    exit 0
  else
    too_old="$too_old $1 is $found."
    say "$1 ($2) is version $found, older than $needed: refused"
  fi
}

advise() {
  say "no nats-server $needed or newer is here.$too_old Do one of these and run this again:"
  say "  - put a nats-server of $needed or newer on the PATH, or name it: NATS_SERVER=/path/to/nats-server"
  say "  - Go: go install github.com/nats-io/nats-server/v2@latest; macOS: brew install nats-server"
  for engine in docker podman; do
    command -v "$engine" >/dev/null 2>&1 || continue
    say "  - $engine is here: '$engine create --name gyre-nats nats:2', '$engine cp gyre-nats:/nats-server .'," \
      "'$engine rm gyre-nats', then NATS_SERVER=./nats-server"
  done
  exit 1
}

# Leaves the newest binary of the distribution in .cache/nats-server/; false when it cannot.
fetch_debian() {
  work=$cache/fetch.$$
  case $(debian_distribution) in
    ubuntu) suite=devel component=universe ;;
    *) suite=sid component=main ;;
  esac
  mirrors=$(debian_mirrors)
  [ -n "$mirrors" ] || say "the apt configuration of this machine names no mirror of its distribution"
  for mirror in $mirrors; do
    rm -rf "$work"
    mkdir -p "$work/package"
    say "fetching it from this machine's package mirror (suite $suite)"
    debian_source "$work" "$mirror" "$suite" "$component"
    if debian_private "$work" update >"$work/log" 2>&1 &&
      (cd "$work/package" && debian_private "$work" download nats-server) >>"$work/log" 2>&1 &&
      dpkg -x "$work"/package/nats-server_*.deb "$work/root" 2>>"$work/log"; then
      mv "$(find "$work/root" -type f -name nats-server -perm -100 | sed -n 1p)" "$cache/nats-server.$$" &&
        mv "$cache/nats-server.$$" "$cache/nats-server" && rm -rf "$work" && return 0
    fi
    say "that failed:"
    tail -n 5 "$work/log" | sed 's|^|  |' >&2
  done
  rm -rf "$work"
  return 1
}

named=${NATS_SERVER:-${GYRE_NATS_SERVER:-}}
if [ -n "$named" ]; then
  path=$(command -v "$named") || path=$named
  case $path in /*) ;; *) path=$root/$path ;; esac
  use "$path" 'named by NATS_SERVER'
  say "NATS_SERVER must name a nats-server $needed or newer; unset it to let one be found"
  exit 1
fi
path=$(command -v nats-server) && use "$path" 'on the PATH'
[ -x "$cache/nats-server" ] && use "$cache/nats-server" 'fetched before'
if debian_like && fetch_debian; then
  use "$cache/nats-server" 'fetched'
fi
if command -v brew >/dev/null 2>&1; then
  say "installing it with Homebrew"
  brew install nats-server >&2 </dev/null && use "$(brew --prefix nats-server)/bin/nats-server" 'from Homebrew'
fi
advise
