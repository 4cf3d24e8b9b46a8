#!/usr/bin/env bash
# Installs the project into a virtual environment, in the versions of constraints.txt. The project is the folder that
# this script lies in.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: install-python.sh [--dry-run] [--extras NAMES] [--with PACKAGES] VENV

  --extras NAMES    extras of the project, separated by commas (default: ray,s3)
  --with PACKAGES   further packages, separated by commas; constraints.txt decides on their versions, too
  --dry-run         print the commands instead of running them

PYTHON names the interpreter (default: python3.11). TORCH_INDEX_URL names where to get torch from, for builds that the
default index does not have, such as the one without CUDA.
TEXT
}

project=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
extras=ray,s3
packages=()
run=()
venv=
while [ $# -gt 0 ]; do
    case "$1" in
        --extras) extras=$2 && shift ;;
        --with) IFS=, read -r -a packages <<<"$2" && shift ;;
        --dry-run) run=(echo) ;;
        --help) usage && exit ;;
        -*) usage >&2 && exit 2 ;;
        *) venv=$1 ;;
    esac
    shift
done
[ -n "$venv" ] || { usage >&2 && exit 2; }

install=("${run[@]}" "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -c "$project/constraints.txt")

"${run[@]}" "${PYTHON:-python3.11}" -m venv "$venv"
# torch goes first and by itself: its pinned version selects the build that fits the machine.
"${install[@]}" ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} torch
"${install[@]}" "${project}[${extras}]" "${packages[@]}"
