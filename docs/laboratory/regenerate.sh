#!/usr/bin/env bash
# Measures again: runs the command of each `begin:` line of docs/laboratory.md, puts what it prints
# between that line and the next `end` line, and the first one's plot beside the page.
set -euo pipefail
cd "$(dirname "$0")/../.."

cargo build --release --quiet
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
program="${CARGO_TARGET_DIR:-target}/release/plsim"
pinned=()
if command -v taskset >/dev/null; then pinned=(taskset -c 1); fi

blocks=0
inside=no
while IFS= read -r line; do
  if [[ $line == "<!-- end -->" ]]; then inside=no; fi
  if [ $inside = no ]; then printf '%s\n' "$line"; fi
  if [[ $line =~ ^"<!-- begin: plsim "(.*)" -->"$ ]]; then
    inside=yes
    blocks=$((blocks + 1))
    read -ra words <<<"${BASH_REMATCH[1]}"
    printf '```console\n$ plsim %s\n' "${words[*]}"
    "${pinned[@]}" "$program" "${words[@]}" --out "$out/$blocks"
    printf '```\n'
  fi
done <docs/laboratory.md >"$out/page"
cp "$out/page" docs/laboratory.md
cp "$out/1/ports.svg" docs/laboratory/ports.svg
