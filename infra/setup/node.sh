#!/bin/sh
# Installs the npm packages when what is installed is not what package-lock.json names.
#
# Any Node and npm of the machine will do to install: the package `node` among the development
# dependencies then puts the Node that the project runs on into node_modules/.bin. The PKCS#11
# binding is optional and is compiled here; a machine without a compiler goes on without it, and
# a compiler that appears later is noticed and used.
#
# Exit codes: 0 installed, 1 not installed (with a message on stderr that says what to do).
set -u
cd "$(dirname "$0")/../.." || exit 1
record=.cache/setup/compiler

say() { echo "setup: node: $*" >&2; }

# npm must not run on the Node that it is about to remove and install again.
without_project_bin() {
  printf '%s' "$PATH" | tr ':' '\n' | grep -v '/node_modules/\.bin/*$' | tr '\n' ':' | sed 's/:$//'
}
PATH=$(without_project_bin)
export PATH

for tool in node npm; do
  if ! command -v "$tool" >/dev/null 2>&1; then
    say "there is no '$tool' on the PATH. Install Node.js 20 or newer together with npm" \
      "(Debian: apt-get install nodejs npm; macOS: brew install node) and run this again."
    exit 1
  fi
done

# True when every package of package-lock.json is in node_modules at the version it names; what
# is optional may be absent. npm writes node_modules/.package-lock.json last, so a broken off
# install counts as none.
installed() {
  [ -f node_modules/.package-lock.json ] || return 1
  node_modules/.bin/node --version >/dev/null 2>&1 || return 1
  node -e '
    const read = (path) => JSON.parse(require("node:fs").readFileSync(path, "utf8")).packages;
    const wanted = read("package-lock.json");
    const present = read("node_modules/.package-lock.json");
    for (const [path, { version, optional, devOptional }] of Object.entries(wanted)) {
      if (path === "" || present[path]?.version === version) continue;
      if (present[path] === undefined && (optional || devOptional)) continue;
      process.exit(1);
    }
    process.exit(Object.keys(present).every((path) => path in wanted) ? 0 : 1);
  '
}

binding_loads() {
  node_modules/.bin/node -e 'require("pkcs11js")' >/dev/null 2>&1
}

compiler() { # what pkcs11js needs to compile: "yes", or the names of what is missing
  missing=
  for tool in python3 make g++; do
    command -v "$tool" >/dev/null 2>&1 || missing="$missing $tool"
  done
  if [ -z "$missing" ]; then echo yes; else echo "no:$missing"; fi
}

install() {
  say "installing the npm packages (npm $(npm --version 2>/dev/null), node $(node --version))"
  # Headers that came with this Node spare the compilation a download.
  prefix=$(node -p 'require("node:path").resolve(process.execPath, "../..")')
  if [ -f "$prefix/include/node/node_api.h" ] && [ -z "${npm_config_nodedir:-}" ]; then
    npm_config_nodedir=$prefix
    export npm_config_nodedir
  fi
  npm ci --no-audit --no-fund --prefer-offline --loglevel=error >&2 </dev/null || {
    say "npm ci failed (see above). It needs the npm registry that this machine is configured for."
    return 1
  }
  if ! node_modules/.bin/node --version >/dev/null 2>&1; then
    say "the package 'node' did not put its binary into node_modules/.bin: its install script has to run" \
      "(package.json allows it under allowScripts; check that npm is not told to ignore scripts)."
    return 1
  fi
  mkdir -p "$(dirname "$record")"
  compiler >"$record"
}

if installed; then
  if ! binding_loads && [ "$(compiler)" = yes ] && [ "$(cat "$record" 2>/dev/null)" != yes ]; then
    say "a compiler is here now: installing again so that pkcs11js is compiled"
    install || exit 1
  fi
else
  [ -d node_modules ] && say "node_modules is not what package-lock.json names"
  install || exit 1
fi

if ! binding_loads; then
  say "pkcs11js is not compiled (python3, make, g++: $(compiler)). Going on: PKCS#11 tokens cannot be used" \
    "until these are installed (Debian: apt-get install python3 make g++) and the setup runs again."
fi
