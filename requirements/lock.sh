#!/usr/bin/env bash
# Resolve the *.in files anew into locks with hashes. Run after changing one of them; needs uv.
set -euo pipefail
cd "$(dirname "$0")"
lock() { uv pip compile -q --generate-hashes --no-header --no-annotate --no-emit-index-url --python-version 3.11 "$@"; }
lock uv.in -o uv.txt
lock --override overrides.txt cpu.in -o cpu.txt
lock gpu.in -o gpu.txt
lock dev.in -o dev.txt
lock clients.in -o clients.txt
