#!/usr/bin/env bash
#
# Sees to a Chromium: what is there is used, otherwise Debian's is installed, which needs root and apt-get.
set -euo pipefail

die() {
  echo "report: $*" >&2
  exit 2
}

# The names that the tests look for.
for name in chromium chromium-browser google-chrome google-chrome-stable; do
  command -v "$name" >/dev/null && exit
done
command -v apt-get >/dev/null || die "please install Chromium"
((EUID == 0)) || die "Chromium is missing: run as root, or install the package chromium yourself"
echo "report: installing chromium with apt-get" >&2
export DEBIAN_FRONTEND=noninteractive
apt-get --yes --quiet=2 update >&2
# A font, or there is no text to measure.
apt-get --yes --quiet=2 install --no-install-recommends chromium fonts-dejavu-core >&2
