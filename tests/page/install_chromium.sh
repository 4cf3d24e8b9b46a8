#!/usr/bin/env bash
# Installs a browser for the tests of the web page (Debian, 400 MB installed, as root).
# Where that cannot be done, it says why and succeeds: those tests are then skipped.
set -uo pipefail

skip() {
    echo "install_chromium.sh: $1; the tests in a browser are skipped." >&2
    exit 0
}

for browser in chromium chromium-browser google-chrome; do
    command -v "$browser" >/dev/null && exit 0
done
[ -n "${VIDEOX2L_CHROMIUM:-}" ] && exit 0
[ "$(id -u)" = 0 ] || skip "not root"
command -v apt-get >/dev/null || skip "no apt-get"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
# A server that does not answer must not hold up everything else.
{
    timeout 120 apt-get update -qq -o Acquire::Retries=1 &&
        timeout 900 apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core
} >"$log" 2>&1 || skip "apt-get failed: $(tail -n 1 "$log")"
