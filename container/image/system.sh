#!/bin/sh
# What serving needs of the distribution. Runs in the build, as root, on a Debian or Ubuntu base.
set -eu
export DEBIAN_FRONTEND=noninteractive

suits() { python3 -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null; }

# tini is the first process. libnuma1 is linked by vLLM's CPU kernels. g++ compiles at run time what torch.compile
# generates for a CPU, and (with Python's headers) what Triton and FlashInfer need to launch kernels on a GPU.
wanted="tini libnuma1 g++"
suits || wanted="$wanted python3"
apt-get update -q
apt-get install -q -y --no-install-recommends $wanted
suits || { echo "the base image has $(python3 --version) and no package of Python 3.11 or 3.12; give another BASE" >&2; exit 1; }
if ! python3 -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))'; then
    apt-get install -q -y --no-install-recommends libpython3-dev
    rm -f /usr/lib/python3*/config-*/*.a /usr/lib/*/libpython3*.a # to embed Python, which nothing does
fi
# Not run: link-time optimisation, sanitizers, manuals, package lists.
rm -rf /usr/lib/gcc/*/*/lto1 /usr/lib/gcc/*/*/lto-wrapper /usr/bin/*lto-dump* /usr/lib/gcc/*/*/lib*san*.a \
    /usr/lib/*/lib?san.so* /usr/lib/*/libhwasan.so* /usr/lib/*/libubsan.so* /usr/bin/gprofng* /usr/lib/*/gprofng /usr/lib/*/libgprofng* \
    /usr/share/doc /usr/share/man /usr/share/info /usr/share/locale \
    /var/lib/apt/lists/* /var/cache/apt /var/cache/debconf /var/log/apt /var/log/dpkg.log /var/log/bootstrap.log
mkdir -p /opt/ml/model /opt/lumi
