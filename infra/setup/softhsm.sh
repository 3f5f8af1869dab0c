#!/bin/sh
# Makes sure that SoftHSM2, the PKCS#11 token in software, is here: the library and softhsm2-util.
#
# Prints two lines on stdout: the path of libsofthsm2.so and the path of softhsm2-util, which wants
# `--module` with the former, for it may be an unpacked one that knows only its usual place. Installs
# the distribution's package when it may (root on a Debian-like system), otherwise unpacks it into
# .cache/softhsm, otherwise asks Homebrew.
#
# Exit codes: 0 here, 3 not here and cannot be fetched. After 3 a caller may go on with the file
# token, but only if that is asked for by name: it is not an HSM.
set -u
cd "$(dirname "$0")/../.." || exit 3
. infra/setup/debian.sh
cache=$(pwd)/.cache/softhsm

say() { echo "setup: softhsm: $*" >&2; }

# found: prints both paths when library and tool are here and load.
found() {
  for library in "${GYRE_SOFTHSM_LIB:-}" \
    /usr/lib/softhsm/libsofthsm2.so /usr/lib/*/softhsm/libsofthsm2.so \
    /usr/lib64/softhsm/libsofthsm2.so /usr/lib64/pkcs11/libsofthsm2.so \
    /usr/local/lib/softhsm/libsofthsm2.so /opt/homebrew/lib/softhsm/libsofthsm2.so \
    "$cache"/usr/lib/softhsm/libsofthsm2.so "$cache"/usr/lib/*/softhsm/libsofthsm2.so; do
    [ -f "$library" ] || continue
    for tool in "${GYRE_SOFTHSM_UTIL:-}" "$(command -v softhsm2-util)" "$cache/usr/bin/softhsm2-util"; do
      [ -x "$tool" ] && loads "$library" "$tool" || continue
      printf '%s\n%s\n' "$library" "$tool"
      return 0
    done
  done
  return 1
}

loads() { # what the library and the tool are linked with is here
  "$2" --version >/dev/null 2>&1 || return 1
  ! command -v ldd >/dev/null 2>&1 || ! ldd "$1" 2>/dev/null | grep -q 'not found'
}

install_as_root() {
  say "installing the package softhsm2"
  for attempt in 1 2; do
    DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=120 \
      install --no-install-recommends softhsm2 >"$log" 2>&1 </dev/null && return 0
    [ "$attempt" -eq 2 ] || apt-get -q -o Acquire::Languages=none update >"$log" 2>&1 </dev/null
  done
  say "that failed:"
  tail -n 5 "$log" | sed 's|^|  |' >&2
  return 1
}

unpack() {
  work=$cache/fetch.$$
  mirrors=$(debian_mirrors)
  [ -n "$mirrors" ] || say "the apt configuration of this machine names no mirror of its distribution"
  for mirror in $mirrors; do
    rm -rf "$work"
    mkdir -p "$work/package"
    say "not root: unpacking the packages of softhsm2 into .cache/softhsm"
    debian_source "$work" "$mirror" "$(. /etc/os-release && echo "${VERSION_CODENAME:-stable}")" \
      "$([ "$(debian_distribution)" = ubuntu ] && echo universe || echo main)"
    if debian_private "$work" update >"$log" 2>&1 &&
      (cd "$work/package" && debian_private "$work" download softhsm2 softhsm2-common libsofthsm2) >>"$log" 2>&1; then
      for package in "$work"/package/*.deb; do
        dpkg -x "$package" "$cache" >>"$log" 2>&1
      done
      rm -rf "$work"
      return 0
    fi
    say "that failed:"
    tail -n 5 "$log" | sed 's|^|  |' >&2
  done
  rm -rf "$work"
  return 1
}

found && exit 0
mkdir -p "$cache" || exit 3
log=$cache/log
if debian_like; then
  if [ "$(id -u)" -eq 0 ]; then install_as_root; else unpack; fi
  found && exit 0
fi
if command -v brew >/dev/null 2>&1; then
  say "installing it with Homebrew"
  brew install softhsm >&2 </dev/null
  found && exit 0
fi
say "SoftHSM2 is not here. Install it (Debian: apt-get install softhsm2; Fedora: dnf install softhsm;" \
  "macOS: brew install softhsm), or name its parts in GYRE_SOFTHSM_LIB and GYRE_SOFTHSM_UTIL, and run this again."
exit 3
