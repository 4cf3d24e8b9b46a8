#!/usr/bin/env bash
# Installs the system packages of a cluster's machine: Debian 12, Ubuntu 22.04 or newer, as root.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: install-system.sh [--dry-run] [--python] [--compiler]

  --python    also Python 3.11, which images with a Python of their own do not need
  --compiler  also a C++ compiler, for install-deepspeed.sh
  --dry-run   print the commands instead of running them
TEXT
}

# wget: KubeRay asks with it whether a Ray node is healthy. rsync: `ray up` copies files with it.
packages=(ca-certificates rsync wget)
python=no
run=()
for argument in "$@"; do
    case "$argument" in
        --python) python=yes ;;
        --compiler) packages+=(g++) ;;
        --dry-run) run=(echo) ;;
        --help) usage && exit ;;
        *) usage >&2 && exit 2 ;;
    esac
done

export DEBIAN_FRONTEND=noninteractive
"${run[@]}" apt-get update --quiet
if [ "$python" = yes ]; then
    packages+=(python3.11 python3.11-venv)
    # Ubuntu has other Pythons than the one that the project is tested with; all machines of a cluster need the same.
    if ! apt-cache show python3.11-venv >/dev/null 2>&1; then
        "${run[@]}" apt-get install --quiet --yes --no-install-recommends software-properties-common
        "${run[@]}" add-apt-repository --yes ppa:deadsnakes/ppa
    fi
fi
"${run[@]}" apt-get install --quiet --yes --no-install-recommends "${packages[@]}"
