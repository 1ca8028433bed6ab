#!/usr/bin/env bash
# Checks everything: format, lints, documentation, tests, shipped scenarios, benches.
#   ./check.sh          what every commit must pass
#   ./check.sh --full   also the long ones: every scenario twice, byte for byte, those of scenarios/scale
#                       among them; a larger swarm; threads under load for longer
set -euo pipefail
cd "$(dirname "$0")"

full=no
case "${1:-}" in
  "") ;;
  --full) full=yes ;;
  *) echo "usage: ./check.sh [--full]" >&2; exit 2 ;;
esac

begun=$SECONDS
step() {
  local title=$1 from=$SECONDS
  shift
  printf '== %s\n' "$title"
  "$@"
  printf '   %d s\n' $((SECONDS - from))
}

scenarios=(scenarios/*.toml scenarios/real/*.toml)

run_scenarios() {
  local options=(--quiet)
  if [ "$full" = yes ]; then
    options+=(--check-determinism)
    scenarios+=(scenarios/scale/*.toml)
  fi
  target/release/plsim run "${options[@]}" "${scenarios[@]}"
}

# A second process, another build: the same bytes.
compare_builds() {
  local folder build
  folder=$(mktemp -d)
  local options=(--quiet --no-expect --set output.capture=true --set run.duration=20s
    --set workload.requests.stop=15s --set link.endpoint_edge.loss=0.05 scenarios/quickstart.toml)
  for build in release release-again debug; do
    "target/${build%-again}/plsim" run "${options[@]}" --out "$folder/$build"
  done
  diff -r "$folder/release" "$folder/release-again"
  diff -r "$folder/release" "$folder/debug"
  test -s "$folder/debug/capture.pcapng"
  rm -rf "$folder"
}

# Seeds beyond those of the tests; those that violate nothing are not worth a line.
run_swarm() {
  cargo run --quiet -p plsim-tests --bin swarm -- --seeds 200..5000 |
    { grep -v 'nothing violated' || true; }
}

# Threads that are interrupted, again and again.
run_threads() {
  PLSIM_REPEAT=50 cargo test --quiet -p plsim-tests --lib threads_that_are_interrupted
}

# The scripts beside the code: that they can be read, and that what they start is there.
check_scripts() {
  bash -n check.sh .ci/run docs/laboratory/*.sh
  if ! command -v python3 >/dev/null; then
    echo "note: python3 is not installed; benches/peers is not checked"
    return
  fi
  python3 -B benches/peers/compare.py --list >/dev/null
  python3 -B -m doctest benches/peers/table.py benches/peers/compare.py
  target/debug/plsim validate --quiet benches/peers/scenarios/*.toml
  target/debug/engine known 1000 1000 balancer >/dev/null
  target/debug/engine new 1000 >/dev/null
  target/debug/engine full 1 >/dev/null
}

command -v tshark >/dev/null ||
  echo "note: tshark is not installed; the tests that open captures with it will be skipped"
command -v valgrind >/dev/null ||
  echo "note: valgrind is not installed; instructions will not be counted"

step "format" cargo fmt --all --check
step "lints" cargo clippy --workspace --all-targets --quiet
step "documentation" env RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet
step "build" cargo build --workspace --bins --quiet
step "scripts" check_scripts
step "tests" cargo test --workspace --quiet
step "planted faults" cargo test --quiet -p plsim-tests --features canary --test canary
if [ "$full" = yes ]; then
  step "a larger swarm" run_swarm
  step "threads under load" run_threads
fi
step "release build" cargo build --release --quiet
step "scenarios" run_scenarios
step "one result from two processes and two builds" compare_builds
step "bench smoke" cargo bench -p plsim-benches --quiet -- --test
step "instruction counts" cargo bench -p plsim-benches --bench instructions --quiet
printf 'all checks passed in %d s\n' $((SECONDS - begun))
