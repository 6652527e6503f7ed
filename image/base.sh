#!/usr/bin/env bash
# base.sh TAG : a base image made of the distribution's own packages, for a machine that reaches no image registry. Needs root,
# Debian (or Ubuntu) and debootstrap; takes a minute.
set -euo pipefail
tag=$1
engine=${ENGINE:-docker}
. /etc/os-release
# The mirror that this machine's apt is configured with, in either format of its sources.
mirror=$(sed -n -E 's/^(deb (\[[^]]*\] )?|URIs: *)(https?:[^ ]+).*/\3/p' /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | head -1 || true)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
debootstrap --variant=minbase --include=python3,ca-certificates "$VERSION_CODENAME" "$work" ${mirror:+"$mirror"} >"$work.log" 2>&1 ||
    { tail -20 "$work.log" >&2; exit 1; }
rm -rf "$work.log" "$work"/var/cache/apt "$work"/var/lib/apt/lists/* "$work"/var/log/* \
    "$work"/usr/share/{doc,man,info,locale}/* "$work"/usr/share/python3/debpython/__pycache__
tar -C "$work" --numeric-owner -c . | "$engine" import - "$tag" >/dev/null
