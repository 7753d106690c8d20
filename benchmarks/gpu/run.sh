#!/usr/bin/env bash
# Everything that needs a GPU, in one command: build, tests on CUDA, compute-sanitizer, benchmarks.
#
# Needs torch, nvcc, cmake, ninja, pybind11 and scikit-build-core for `python3` (or $PYTHON); no network. Without pytest
# there are no tests, and it says so; tests that need another package which is missing are skipped.
# Writes $OUT (default ./results): status.json (each stage, its exit code and seconds, device, commit), a log per stage,
# junit.xml, history.jsonl of the benchmarks. Exits with 1 if a stage failed; later stages still run, except after a
# failed build.
#
#   benchmarks/gpu/run.sh          on a CUDA machine
#   benchmarks/gpu/run.sh --cpu    the same stages without CUDA, to try the script itself (CPU_TESTS names fewer tests)
set -euo pipefail

PYTHON=${PYTHON:-python3}
OUT=${OUT:-results}
MODE=${1:-cuda}
[[ $MODE == cuda || $MODE == --cpu ]] || { echo "usage: $0 [--cpu]" >&2; exit 2; }
TREE=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$OUT"
OUT=$(cd "$OUT" && pwd)
SITE=$(mktemp -d)
SUITE=$(mktemp -d)
trap 'rm -rf "$SITE" "$SITE.build" "$SUITE"' EXIT
STAGES="$OUT/stages.jsonl"
: > "$STAGES"
FAILED=0
EFFDL_COMMIT=${EFFDL_COMMIT:-$(git -C "$TREE" rev-parse HEAD 2>/dev/null || echo unknown)}
export EFFDL_COMMIT

# stage NAME SECONDS COMMAND...: runs it with a time limit, keeps its log, records its status.
stage() {
  local name=$1 limit=$2 code=0 start=$SECONDS
  shift 2
  echo "== $name"
  timeout "$limit" "$@" > "$OUT/$name.log" 2>&1 || code=$?
  printf '{"stage": "%s", "code": %d, "seconds": %d}\n' "$name" "$code" $((SECONDS - start)) >> "$STAGES"
  if [[ $code -ne 0 ]]; then
    FAILED=1
    echo "   failed with $code; the end of $OUT/$name.log:"
    tail -n 40 "$OUT/$name.log"
  fi
  return 0
}

skipped() { printf '{"stage": "%s", "skipped": "%s"}\n' "$1" "$2" >> "$STAGES"; echo "== $1: skipped, $2"; }

finish() {
  "$PYTHON" - "$STAGES" "$OUT/status.json" "$MODE" <<'PY'
import json, os, sys
import torch
stages = [json.loads(line) for line in open(sys.argv[1])]
device = torch.cuda.get_device_name() if torch.cuda.is_available() else None
status = {"ok": all(s.get("code", 0) == 0 for s in stages), "skipped": [s["stage"] for s in stages if "skipped" in s],
          "mode": sys.argv[3].lstrip("-"), "device": device,
          "torch": torch.__version__, "cuda": torch.version.cuda, "commit": os.environ["EFFDL_COMMIT"],
          "stages": stages}
json.dump(status, open(sys.argv[2], "w"), indent=1)
print(json.dumps(status, indent=1))
PY
  exit "$FAILED"
}

if [[ $MODE == cuda ]]; then
  "$PYTHON" -c 'import torch; assert torch.cuda.is_available(), "torch sees no CUDA device"'
  command -v nvcc > /dev/null || { echo "nvcc is not on PATH" >&2; exit 2; }
  WITH_CUDA=ON
  # Only the architecture at hand: all of them would take most of the time.
  ARCH=$("$PYTHON" -c 'import torch; print("%d%d-real" % torch.cuda.get_device_capability())')
else
  WITH_CUDA=OFF
  ARCH=
fi

# Installed into a folder of its own, and run in one that holds the tests and nothing else, so that the source tree cannot
# be what is tested.
stage build 400 "$PYTHON" -m pip install --no-build-isolation --no-deps --no-index --disable-pip-version-check \
  --target "$SITE" "$TREE" --config-settings=cmake.define.EFFDL_WITH_CUDA="$WITH_CUDA" \
  ${ARCH:+--config-settings=cmake.define.EFFDL_CUDA_ARCHITECTURES="$ARCH"} --config-settings=build-dir="$SITE.build"
rm -rf "$SITE.build"
[[ $FAILED -eq 0 ]] || finish
ln -s "$TREE/tests" "$SUITE/tests"
export PYTHONPATH="$SITE:$SUITE${PYTHONPATH:+:$PYTHONPATH}"
cd "$SUITE"

stage import 60 "$PYTHON" -c 'import sys, effdl_fast; from effdl_fast import _C; print(effdl_fast.__file__, _C.build_info())
assert effdl_fast.__file__.startswith(sys.argv[1]), "another installation is in the way"
assert _C.build_info()["cuda"] or sys.argv[2] == "OFF", "built without CUDA"' "$SITE" "$WITH_CUDA"

HAVE_PYTEST=
if "$PYTHON" -c 'import pytest' 2> /dev/null; then HAVE_PYTEST=1; fi

# tests NAME SECONDS ARGUMENTS...: a stage of pytest with these arguments.
PYTEST=("$PYTHON" -m pytest -p no:cacheprovider --rootdir "$SUITE" -c "$TREE/pyproject.toml")
tests() {
  local name=$1 limit=$2
  shift 2
  if [[ $HAVE_PYTEST ]]; then
    stage "$name" "$limit" "${PYTEST[@]}" "$@"
    tail -n 1 "$OUT/$name.log"
  else
    skipped "$name" "pytest is not installed: NOTHING IS TESTED"
  fi
}

# benchmarks SECONDS OP QUICK DEVICE
benchmarks() {
  stage benchmarks "$1" "$PYTHON" -c 'import sys; from pathlib import Path; from effdl_fast.benchmarks import harness
out, op, quick, device = sys.argv[1:]
sys.exit(harness.main(op or None, quick == "quick", Path(out), False, device))' "$OUT" "$2" "$3" "$4"
}

if [[ $MODE == cuda ]]; then
  tests tests_cuda 240 -m cuda --junitxml "$OUT/junit.xml" tests
  # Kernels are tens of times slower under the sanitizer: a few cases per shape of kernel.
  SMALL="test_values_and_gradients and (float32 or bfloat16) and (5x3 or 2d_poison or ignored_poison or dense_weight
    or 1d_every_other or alpha_sample or 5x4_3 or more_rows_tiles)
    or (test_same_bits_as_the_reference or test_neighbours_of_the_reference) and (49x33 or ties or duplicates)
    or test_moments_and_output and (rows_129 or largest or width_17 or no_layer_12)
    or test_solutions_of_the_reference and (largest_projected or repeated or tries_50_ridge or batch_50)"
  if ! command -v compute-sanitizer > /dev/null; then
    skipped sanitizer "compute-sanitizer is not on PATH"
  elif [[ ! $HAVE_PYTEST ]]; then
    skipped sanitizer "pytest is not installed"
  else
    for tool in memcheck racecheck; do
      stage "sanitizer_$tool" 150 compute-sanitizer --tool "$tool" --error-exitcode 9 --target-processes all \
        env PYTORCH_NO_CUDA_MEMORY_CACHING=1 "${PYTEST[@]}" -m "cuda and cuda_small" -k "${SMALL//$'\n'/ }" tests/ops
    done
  fi
  benchmarks 240 "" full cuda
  tests tests_cpu 240 -m "not cuda and not slow" tests
else
  skipped sanitizer "no CUDA"
  benchmarks 300 exp_ga_loss quick cpu
  tests tests_cpu 600 -m "not slow" --junitxml "$OUT/junit.xml" ${CPU_TESTS:-tests}
fi
finish
