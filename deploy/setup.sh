#!/usr/bin/env bash
# Installs what building and running (demo) or also testing (test) needs, on Debian and Ubuntu.
# Does nothing where it is there already. Run by someone who may not install, it lists the packages.
set -euo pipefail

goal=${1:?usage: setup.sh demo|test}

command -v cargo >/dev/null || { echo 'setup: no Rust toolchain found; install it from https://rustup.rs (1.95 or newer)' >&2; exit 1; }

packages=()
need() { # PACKAGE CONDITION…: the package is wanted unless the condition holds
  local package=$1
  shift
  "$@" >/dev/null 2>&1 || packages+=("$package")
}
has_chromium() { command -v chromium || command -v chromium-browser || command -v google-chrome; }
has_postgres() { compgen -G '/usr/lib/postgresql/*/bin/initdb' || command -v initdb; }

need build-essential command -v g++
need cmake command -v cmake
need perl command -v perl
need pkg-config command -v pkg-config
need libssl-dev pkg-config --exists libssl
need zlib1g-dev pkg-config --exists zlib
need postgresql has_postgres
if [ "$goal" = test ]; then
  need kcat command -v kcat
  need chromium has_chromium
  need prometheus command -v promtool
  need prometheus-alertmanager command -v amtool
  need python3-venv python3 -c 'import venv, ensurepip'
fi

if [ ${#packages[@]} -gt 0 ]; then
  if [ "$(id -u)" = 0 ]; then sudo=''
  elif sudo -n true 2>/dev/null; then sudo='sudo'
  else
    echo "setup: these packages are missing and may not be installed by $(id -un):" >&2
    echo "  sudo apt-get install ${packages[*]}" >&2
    exit 1
  fi
  $sudo apt-get update -q
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -q --no-install-recommends "${packages[@]}"
fi

# Clients that nobody here wrote, for the tests: they live in a virtual environment of their own.
if [ "$goal" = test ]; then
  venv=${VENV:?set VENV to the virtual environment of the tests}
  here=$(dirname "${BASH_SOURCE[0]}")
  stamp=$venv/requirements.installed
  if ! cmp -s "$here/test-requirements.txt" "$stamp"; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --requirement "$here/test-requirements.txt"
    cp "$here/test-requirements.txt" "$stamp"
  fi
fi
