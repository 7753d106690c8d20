#!/usr/bin/env bash
# Everything that needs a GPU, in one command: build, tests on CUDA, compute-sanitizer, benchmarks.
#
# Needs torch, nvcc, cmake, ninja, pybind11, scikit-build-core and pytest for `python3` (or $PYTHON); no network.
# Writes $OUT (default ./results): status.json (each stage, its exit code and seconds, device, commit), a log per stage,
# junit.xml, history.jsonl of the benchmarks. Exits with 1 if a stage failed; later stages still run, except after a
# failed build.
#
#   benchmarks/gpu/run.sh          on a CUDA machine
#   benchmarks/gpu/run.sh --cpu    the same stages without CUDA, to try the script itself
set -euo pipefail

PYTHON=${PYTHON:-python3}
OUT=${OUT:-results}
MODE=${1:-cuda}
[[ $MODE == cuda || $MODE == --cpu ]] || { echo "usage: $0 [--cpu]" >&2; exit 2; }
TREE=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$OUT"
OUT=$(cd "$OUT" && pwd)
SITE=$(mktemp -d)
trap 'rm -rf "$SITE"' EXIT
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
status = {"ok": all(s.get("code", 0) == 0 for s in stages), "mode": sys.argv[3].lstrip("-"), "device": device,
          "torch": torch.__version__, "cuda": torch.version.cuda, "commit": os.environ["EFFDL_COMMIT"], "stages": stages}
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

# Installed into a folder of its own, so that the source tree cannot be what is tested.
stage build 400 "$PYTHON" -m pip install --no-build-isolation --no-deps --no-index --disable-pip-version-check \
  --target "$SITE" "$TREE" -Ccmake.define.EFFDL_WITH_CUDA="$WITH_CUDA" \
  ${ARCH:+-Ccmake.define.EFFDL_CUDA_ARCHITECTURES="$ARCH"} -Cbuild-dir="$SITE.build"
rm -rf "$SITE.build"
[[ $FAILED -eq 0 ]] || finish
export PYTHONPATH="$SITE${PYTHONPATH:+:$PYTHONPATH}"
cd "$SITE"

stage import 60 "$PYTHON" -c 'import sys, effdl_fast; from effdl_fast import _C; print(effdl_fast.__file__, _C.build_info())
assert effdl_fast.__file__.startswith(sys.argv[1]), "another installation is in the way"
assert _C.build_info()["cuda"] or sys.argv[2] == "OFF", "built without CUDA"' "$SITE" "$WITH_CUDA"

PYTEST=("$PYTHON" -m pytest -p no:cacheprovider --rootdir "$TREE" -c "$TREE/pyproject.toml")
if [[ $MODE == cuda ]]; then
  stage tests_cuda 240 "${PYTEST[@]}" -m cuda --junitxml "$OUT/junit.xml" "$TREE/tests"
  # Kernels are tens of times slower under the sanitizer: one case per shape of kernel.
  SMALL="test_values_and_gradients and float32 and (5x3 or 2d_poison or ignored_poison or dense_weight or 1d_every_other)"
  if command -v compute-sanitizer > /dev/null; then
    for tool in memcheck racecheck; do
      stage "sanitizer_$tool" 120 compute-sanitizer --tool "$tool" --error-exitcode 9 --target-processes all \
        env PYTORCH_NO_CUDA_MEMORY_CACHING=1 "${PYTEST[@]}" -m "cuda and cuda_small" -k "$SMALL" "$TREE/tests/ops"
    done
  else
    skipped sanitizer "compute-sanitizer is not on PATH"
  fi
  stage benchmarks 180 "$PYTHON" -c 'import sys; from pathlib import Path; from effdl_fast.benchmarks import harness
sys.exit(harness.main(None, False, Path(sys.argv[1]), False, "cuda"))' "$OUT"
  stage tests_cpu 240 "${PYTEST[@]}" -m "not cuda and not slow" "$TREE/tests"
else
  skipped sanitizer "no CUDA"
  stage tests_cpu 600 "${PYTEST[@]}" -m "not slow" "$TREE/tests/test_binding.py" "$TREE/tests/test_nn.py"
  stage benchmarks 300 "$PYTHON" -c 'import sys; from pathlib import Path; from effdl_fast.benchmarks import harness
sys.exit(harness.main("exp_ga_loss", True, Path(sys.argv[1]), False, "cpu"))' "$OUT"
fi
finish
