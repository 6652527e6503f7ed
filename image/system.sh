#!/bin/sh
# What serving needs of the distribution. Runs in the build, as root, on a Debian or Ubuntu base.
set -eu
export DEBIAN_FRONTEND=noninteractive

suits() { python3 -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null; }

# What the packages below bring and nothing here uses: to link statically, to profile, to debug, to optimise whole programs,
# and the library for programs that embed Python. Headers stay, as they include each other.
exclusions=/etc/dpkg/dpkg.cfg.d/lumi
cat >$exclusions <<'TEXT'
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
path-exclude=/usr/share/man/*
path-exclude=/usr/share/info/*
path-exclude=/usr/share/locale/*
path-exclude=/usr/lib/*.a
path-include=/usr/lib/*/libgcc.a
path-include=/usr/lib/*/libgcc_eh.a
path-include=/usr/lib/*_nonshared.a
path-include=/usr/lib/*/libpthread.a
path-include=/usr/lib/*/libdl.a
path-include=/usr/lib/*/librt.a
path-include=/usr/lib/*/libutil.a
path-exclude=/usr/lib/*/libpython3.*.so*
path-exclude=/usr/lib/python3*/config-*
path-exclude=/usr/lib/gcc/*/lto1
path-exclude=/usr/lib/gcc/*/lto-wrapper
path-exclude=/usr/lib/*/lib?san.so*
path-exclude=/usr/lib/*/libhwasan.so*
path-exclude=/usr/lib/*/libubsan.so*
path-exclude=/usr/lib/*/libcc1.so*
path-exclude=/usr/lib/*/ldscripts/*
path-exclude=/usr/lib/*gprofng*
path-exclude=/usr/bin/*gprof*
path-exclude=/usr/bin/*-gp-*
path-exclude=/usr/bin/*gcov*
path-exclude=/usr/bin/*lto-dump*
path-exclude=/usr/bin/*dwp
path-exclude=/usr/bin/*gold
path-exclude=/usr/bin/*objdump
path-exclude=/usr/bin/tini-static
TEXT

# tini is the first process. libnuma1 is linked by vLLM's CPU kernels. gcc and g++ compile at run time: what torch.compile
# generates for a CPU, the driver by which Triton launches kernels on a GPU (both with Python's headers), and FlashInfer's
# kernels together with nvcc. openssl sums up headers for torch.compile; a bare Debian or Ubuntu has none.
wanted="tini libnuma1 g++ openssl"
suits || wanted="$wanted python3"
apt-get update -q
apt-get install -q -y --no-install-recommends $wanted
suits || { echo "the base image has $(python3 --version) and no package of Python 3.11 or 3.12; give another BASE" >&2; exit 1; }
if ! python3 -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))'; then
    apt-get install -q -y --no-install-recommends libpython3-dev
fi
rm /usr/bin/*cpp-* # gcc itself is called to preprocess; excluded, its package would not be configured
rm -rf $exclusions /var/lib/apt/lists/* /var/cache/apt /var/cache/debconf /var/log/apt /var/log/dpkg.log /var/log/bootstrap.log
# Nothing here changes users, so nothing may run as another one than it was started as.
find / -xdev -type f -perm /6000 -exec chmod ug-s {} +
mkdir -p /opt/ml/model /opt/lumi
