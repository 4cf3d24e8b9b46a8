#!/usr/bin/env bash
# Installs the Ceph programs for the tests in test_ceph.py (Debian and Ubuntu, 73 MB of packages, as root).
# Where that cannot be done, it says why and succeeds: those tests are then skipped.
set -uo pipefail

skip() {
    echo "install_ceph.sh: $1; the tests on Ceph are skipped." >&2
    exit 0
}

command -v radosgw ceph-mon ceph-osd ceph >/dev/null && exit 0
[ "$(id -u)" = 0 ] || skip "not root"
command -v apt-get >/dev/null || skip "no apt-get"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
# A server that does not answer must not hold up everything else.
{
    timeout 120 apt-get update -qq -o Acquire::Retries=1 &&
        timeout 900 apt-get install -y -qq --no-install-recommends ceph-mon ceph-osd ceph-mgr radosgw
} >"$log" 2>&1 || skip "apt-get failed: $(tail -n 1 "$log")"
