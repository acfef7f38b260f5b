#!/usr/bin/env bash
# Installs the Debian packages that building, testing and the demo need; only those that are missing.
set -euo pipefail

packages=(
  # build
  g++ cmake ninja-build ccache pkg-config
  libboost-dev liblua5.4-dev
  flatbuffers-compiler libflatbuffers-dev libfmt-dev libcli11-dev nlohmann-json3-dev libxxhash-dev liblz4-dev libzstd-dev libelf-dev
  libdw-dev
  # test
  libgtest-dev libgmock-dev libjemalloc2 util-linux procps
  etcd-server etcd-client  # grants a lease
  # the programs that the tests and the demo run
  python3 lua5.4 redis-server openjdk-17-jre-headless openjdk-17-jdk-headless
  # checks of the sources
  clang-format clang-tidy shellcheck
)

missing=()
for package in "${packages[@]}"; do
  # shellcheck disable=SC2016  # a format of dpkg-query, not of the shell
  status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
  [[ $status == installed ]] || missing+=("$package")
done
(( ${#missing[@]} > 0 )) || exit 0

as_root=()
if (( EUID != 0 )); then
  if ! command -v sudo >/dev/null; then
    echo "packages are missing and neither root nor sudo is at hand; as root run: apt-get install ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi

install_missing() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -q --no-install-recommends "${missing[@]}" </dev/null >&2
}

# The package lists may be absent or old; fetching them anew is needed only then.
echo "installing: ${missing[*]}" >&2
if ! install_missing; then
  "${as_root[@]}" apt-get update -q </dev/null >&2
  install_missing
fi
