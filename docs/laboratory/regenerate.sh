#!/usr/bin/env bash
# Measures the allocators again and puts the tables into docs/laboratory.md and the plot beside it.
set -euo pipefail
cd "$(dirname "$0")/../.."

cargo build --release --quiet
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
program="${CARGO_TARGET_DIR:-target}/release/plsim"
pinned=()
if command -v taskset >/dev/null; then pinned=(taskset -c 1); fi

"${pinned[@]}" "$program" bench ports --out "$out/ports" >"$out/text"
cp "$out/ports/ports.svg" docs/laboratory/ports.svg
awk -v text="$out/text" '
  /^<!-- end: plsim bench ports -->/ { inside = 0 }
  !inside { print }
  /^<!-- begin: plsim bench ports -->/ {
    inside = 1
    print "```console\n$ plsim bench ports"
    while ((getline line < text) > 0) print line
    print "```"
  }
' docs/laboratory.md >"$out/page"
cp "$out/page" docs/laboratory.md
