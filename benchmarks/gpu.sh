#!/usr/bin/env bash
# All that needs a CUDA device, within ten minutes:
#
#     bash benchmarks/gpu.sh [--dry-run] [--gliner MODEL] [FOLDER]
#
# The tests marked `gpu`, tagging, pre-training, a run that is killed and goes on. Each
# step has a time limit; one that fails does not stop the others, but the script ends
# with 1. Into FOLDER ($OUT, else metrics/gpu) go a JSON file and a log for each step, and
# summary.md. --gliner MODEL (a folder or a name on the hub) makes an environment with
# GLiNER there and times it as well. --dry-run does the same on the processor, with tiny
# encoders and a few sentences.
#
# On a CUDA device spaCy needs cupy: pip install cupy-cuda12x or cupy-cuda13x, as
# `python -c "import torch; print(torch.version.cuda)"` says.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

device=cuda gliner=
out=${OUT:-metrics/gpu}
while [ $# -gt 0 ]; do
  case $1 in
    --dry-run) device=cpu ;;
    --gliner)
      gliner=${2:?"--gliner needs a model"}
      shift
      ;;
    -*)
      echo "Unknown option $1" >&2
      exit 2
      ;;
    *) out=$1 ;;
  esac
  shift
done
if [ "$device" = cuda ]; then
  python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' || {
    echo "No CUDA device: bash benchmarks/gpu.sh --dry-run runs on the processor." >&2
    exit 2
  }
fi
mkdir -p "$out"
# What an earlier run left, by its own list: the folder may hold other files.
if [ -f "$out/steps.tsv" ]; then
  cut -f 1 "$out/steps.tsv" | while IFS= read -r name; do
    rm -f "$out/$name.json" "$out/$name.log"
  done
fi
rm -f "$out/summary.md"
: >"$out/steps.tsv"

failed=0
# step NAME SECONDS COMMAND...
step() {
  local name=$1 limit=$2 started=$SECONDS code
  shift 2
  # No step may begin that the ten minutes have no room for.
  if [ "$device" = cuda ] && [ $((SECONDS + 10)) -gt 590 ]; then
    code=skipped
  else
    if [ "$device" = cuda ] && [ "$limit" -gt $((590 - SECONDS)) ]; then
      limit=$((590 - SECONDS))
    fi
    echo "== $name" >&2
    timeout --kill-after=5 "$limit" "$@" >"$out/$name.log" 2>&1
    code=$?
  fi
  if [ "$code" != 0 ]; then
    failed=1
    tail -n 20 "$out/$name.log" >&2
  fi
  printf '%s\t%s\t%s\n' "$name" "$code" $((SECONDS - started)) >>"$out/steps.tsv"
}
# measure NAME SECONDS COMMAND OPTIONS...
measure() {
  local name=$1 limit=$2 command=$3
  shift 3
  step "$name" "$limit" python benchmarks/gpu.py "$command" "$out/$name.json" \
    --device "$device" "$@"
}

if [ "$device" = cuda ]; then
  sizes=(minilm base) precisions=(fp32 bf16) counts=(10 1000) marked=gpu texts=(--texts 20000) limit=60
  records=(--records 2700 --epochs 2) killed=(--size minilm)
else
  # A processor with other work takes longer to start than the tiny encoders to run.
  sizes=(tiny) precisions=(bf16) counts=(1000) marked="gpu and not slow" texts=(--texts 60) limit=300
  records=(--records 60 --epochs 2) killed=(--size tiny --records 60)
fi

measure device $limit device
step tests $((2 * limit)) python -m pytest -q -n 0 -m "$marked" --device "$device" \
  tests/pipeline/test_gpu.py tests/pretrain/test_gpu.py
for size in "${sizes[@]}"; do
  for precision in "${precisions[@]}"; do
    for concepts in "${counts[@]}"; do
      measure "tag-$size-$precision-$concepts" "$limit" tag --size "$size" \
        --precision "$precision" --concepts "$concepts" "${texts[@]}"
    done
  done
  measure "pretrain-$size" $((2 * limit)) pretrain --size "$size" "${records[@]}"
done
measure resume $((2 * limit)) resume "${killed[@]}"
if [ -n "$gliner" ]; then
  step gliner-install 180 bash benchmarks/peers/environment.sh "$out/gliner"
  for concepts in 10 1000; do
    step "gliner-$concepts" 90 "$out/gliner/bin/python" benchmarks/gpu.py gliner \
      "$out/gliner-$concepts.json" --device "$device" --model "$gliner" \
      --concepts "$concepts" --texts $((20000 / concepts))
  done
fi
python benchmarks/gpu.py summary "$out"
exit $failed
