#!/usr/bin/env bash
# Installs the Debian packages that building, testing and the demo need; only those that are missing. No server is
# started, and PostgreSQL makes no database: tests have their own.
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
  nginx postgresql-15 postgresql-client-15 tmux
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

# What keeps servers from being started while they are installed (invoke-rc.d(8)), and PostgreSQL from making a
# database (pg_createcluster(1)): files that are there for as long.
passing_files=()
put_passing_file() {
  [[ ! -e $1 ]] || return 0
  passing_files+=("$1")
  "${as_root[@]}" install -D -m 755 /dev/stdin "$1"
}
remove_passing_files() { (( ${#passing_files[@]} == 0 )) || "${as_root[@]}" rm -f "${passing_files[@]}"; }
trap remove_passing_files EXIT
put_passing_file /usr/sbin/policy-rc.d <<<$'#!/bin/sh\nexit 101'
put_passing_file /etc/postgresql-common/createcluster.conf <<<'create_main_cluster = false'

install_missing() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive UCF_FORCE_CONFFOLD=1 \
    apt-get install -y -q --no-install-recommends "${missing[@]}" </dev/null >&2
}

# The package lists may be absent or old; fetching them anew is needed only then.
echo "installing: ${missing[*]}" >&2
if ! install_missing; then
  "${as_root[@]}" apt-get update -q </dev/null >&2
  install_missing
fi

# Nor when the machine starts.
for server in nginx postgresql redis-server; do
  [[ ! -d /run/systemd/system || " ${missing[*]} " != *" $server"* ]] || "${as_root[@]}" systemctl disable --quiet "$server"
done
