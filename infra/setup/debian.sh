# Debian packages without changing the machine, for the scripts beside this one to source.
#
# Works with private package lists in a folder of ours, so that it needs no root, leaves the lists
# of the machine alone and downloads one index only. Mirrors, proxies and credentials are the
# machine's own, read from its apt configuration by apt itself, whatever format that is in.

# True on Debian and what derives from it.
debian_like() {
  command -v apt-get >/dev/null 2>&1 && command -v dpkg >/dev/null 2>&1 && [ -r /etc/os-release ] &&
    (. /etc/os-release && case " ${ID:-} ${ID_LIKE:-} " in *" debian "*) true ;; *) false ;; esac)
}

# debian_distribution: "debian" or "ubuntu", whose mirrors and suites differ.
debian_distribution() (
  . /etc/os-release
  case " ${ID:-} ${ID_LIKE:-} " in *" ubuntu "*) echo ubuntu ;; *) echo debian ;; esac
)

# debian_mirrors: the addresses that serve the distribution itself, best guess first. Third parties
# are told from it by suite and component, and by the last part of the address.
debian_mirrors() (
  . /etc/os-release
  distribution=$(debian_distribution)
  # Without release info it answers on a machine whose package lists were cleared, too.
  apt-get indextargets --no-release-info --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' \
    'Identifier: Packages' |
    awk -v distribution="$distribution" -v codename="${VERSION_CODENAME:-sid}" '
      $3 != "main" { next }
      $2 != codename && $2 !~ /^(oldstable|stable|testing|unstable|sid|devel)$/ { next }
      { rank = ($1 ~ ("/" distribution "/?$")) ? 0 : 1; print rank, $1 }' |
    sort -k 1,1n -s | awk '!seen[$2]++ { print $2 }'
)

# debian_private FOLDER COMMAND…: apt-get with lists and cache of its own in FOLDER, its sources in
# FOLDER/sources.list, one index per source, and none of the machine's hooks and pins.
debian_private() {
  private=$1
  shift
  mkdir -p "$private/lists/partial" "$private/cache/archives/partial"
  cat >"$private/apt.conf" <<'CONF'
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear Acquire::IndexTargets;
Acquire::IndexTargets::deb::Packages {
  MetaKey "$(COMPONENT)/binary-$(ARCHITECTURE)/Packages";
  flatMetaKey "Packages";
  ShortDescription "Packages";
  Description "$(RELEASE)/$(COMPONENT) $(ARCHITECTURE) Packages";
  flatDescription "$(RELEASE) Packages";
};
Acquire::Languages "none";
Acquire::PDiffs "false";
Acquire::GzipIndexes "true";
Acquire::Retries "3";
CONF
  apt-get -q -c "$private/apt.conf" \
    -o Dir::Etc::sourcelist="$private/sources.list" -o Dir::Etc::sourceparts=/dev/null \
    -o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null \
    -o Dir::State::lists="$private/lists" -o Dir::Cache="$private/cache" "$@" </dev/null
}

# debian_source FOLDER MIRROR SUITE COMPONENT: makes that the only source of FOLDER.
debian_source() {
  options="arch=$(dpkg --print-architecture)"
  for keyring in gpg pgp; do
    file="/usr/share/keyrings/$(debian_distribution)-archive-keyring.$keyring"
    if [ -r "$file" ]; then
      options="$options signed-by=$file"
      break
    fi
  done
  mkdir -p "$1"
  printf 'deb [%s] %s %s %s\n' "$options" "$2" "$3" "$4" >"$1/sources.list"
}
