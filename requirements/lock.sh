#!/usr/bin/env bash
# Resolve the *.in files anew into locks with hashes. Run after changing one of them; needs uv.
set -euo pipefail
cd "$(dirname "$0")"
# docopt is for the command of num2words alone, and has no wheel: installing it would build it.
lock() {
    uv pip compile -q --generate-hashes --no-header --no-annotate --no-emit-index-url --python-version 3.11 \
        --no-emit-package docopt "$@"
}
lock uv.in -o uv.txt
lock --override overrides.txt cpu.in -o cpu.txt
lock gpu.in -o gpu.txt
lock dev.in -o dev.txt
lock clients.in -o clients.txt
lock openai2.in -o openai2.txt
lock openai3.in -o openai3.txt
lock audit.in -o audit.txt
npm install --prefix javascript --package-lock-only --omit-lockfile-registry-resolved --no-audit --no-fund --silent
