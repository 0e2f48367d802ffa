#!/usr/bin/env bash
#
# Installs what `make test-clients` looks names up with, where it is missing.
set -euo pipefail

packages=(gcc libc6-dev musl-tools python3-minimal nodejs default-jdk-headless perl ruby php-cli libc-ares-dev libnetty-java)
missing=()
for package in "${packages[@]}"; do
  dpkg-query --show --showformat='${db:Status-Status}\n' "$package" 2>/dev/null | grep --quiet '^installed$' || missing+=("$package")
done
if ((${#missing[@]} == 0)); then
  exit 0
fi
echo "client-packages: installing ${missing[*]}" >&2
apt-get update --quiet=2
DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet=2 --no-install-recommends "${missing[@]}" >&2
