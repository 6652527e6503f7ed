#!/usr/bin/env bash
# Fails unless the locks of serving hold for every Python that an image may have: a resolver adds and changes nothing. Needs
# uv, and installs and builds nothing.
set -euo pipefail
cd "$(dirname "$0")"
versions() { grep -oE '^[a-z0-9][a-z0-9._-]*==[^ ]+'; }
for python in 3.11 3.12; do
    for lock in cpu gpu; do
        override=()
        [ "$lock" = gpu ] || override=(--override overrides.txt)
        resolved=$(uv pip compile -q --no-header --no-annotate --no-emit-index-url --no-emit-package docopt \
            --python-version "$python" "${override[@]}" "$lock.txt") &&
            diff <(versions <"$lock.txt") <(versions <<<"$resolved") ||
            { echo "requirements/$lock.txt does not hold for Python $python: change the .in file, then run lock.sh" >&2; exit 1; }
    done
done
