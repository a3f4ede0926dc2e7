#!/bin/sh
# Everything a GPU is judged by, in one run of less than ten minutes: is every op right there, how fast is it, what does
# PyTorch reach on the same machine, which tiles are best.
#
#   benches/gpu.sh OUT          # --small: little sizes, to see that all of it runs
#
# OUT gets doctor.txt, table.txt and gpu.json (a result for `bench --compare`), torch.txt where a `python3` has torch,
# tiles.txt, kernels.txt and tune.txt. WGRAD is the binary, else target/release/wgrad; no compiler is needed.
set -eu
out=${1:?"usage: benches/gpu.sh OUT [--small]"}
small=${2:-}
WGRAD=${WGRAD:-$(dirname "$0")/../target/release/wgrad}
export WGRAD
mkdir -p "$out"
start=$(date +%s)
part() { echo; echo "== $1, at $(($(date +%s) - start)) s"; }

if [ -n "$small" ]; then
    sizes=small seconds=0.1 side=256 steps=3 train="--case gpt --batch 2 --seq 16" search=5 ops="add matmul softmax"
else
    sizes=gpu seconds=0.2 side=4096 steps=6 train="--case gpt-small" search=60
    # The error that names them.
    ops=$("$WGRAD" doctor --op none 2>&1 | sed -n 's/.*there are //p' | tr -d ,)
fi

part adapter
"$WGRAD" info --fast

part "op matrix, ops side by side"
rm -rf "$out/ops" && mkdir "$out/ops"
export OPS="$out/ops"
echo "$ops" | tr ' ' '\n' | timeout 120 xargs -P "$(nproc)" -I{} sh -c \
    '"$WGRAD" doctor --op {} > "$OPS/{}.txt" 2>&1 || echo "{}: failed"' || echo "not all ops were reached in time"
cat "$out"/ops/*.txt > "$out/doctor.txt"
rm -rf "$out/ops"
grep -h "^failed:\|^skipped" "$out/doctor.txt" || true
grep -h "^matrix units" "$out/doctor.txt" | sort | uniq -c || true
awk '/ passed, / { p += $1; f += $3; s += $5 } END { print p + 0, "passed,", f + 0, "failed,", s + 0, "skipped" }' \
    "$out/doctor.txt"

part table
timeout 180 "$WGRAD" bench table --sizes "$sizes" --seconds "$seconds" --minutes 2 --save gpu --results "$out" |
    tee "$out/table.txt" || true

part PyTorch
if python3 -c 'import torch' 2> /dev/null && [ -f "$out/gpu.json" ]; then
    timeout 90 python3 "$(dirname "$0")/against_pytorch.py" "$out/gpu.json" --seconds "$seconds" |
        tee "$out/torch.txt" || true
elif [ -f "$out/gpu.json" ]; then
    echo "not run: there is no python3 with torch"
else
    echo "not run: the table gave no result"
fi

part tiles
tiled=tiled/128x128x16/8x8 units=cooperative/128x128x32/64x64
for tile in 128x128x8/8x8 128x128x32/8x8 128x64x16/8x8 64x128x16/8x8 64x64x16/8x8 64x64x16/4x4 256x128x8/16x8 \
    128x256x8/8x16 128x128x16/16x8 128x128x16/8x16 128x128x16/8x4; do tiled=$tiled,tiled/$tile; done
for tile in 128x128x32/64x32 128x128x32/32x64 128x128x64/64x32 128x256x32/64x64 256x128x32/64x64 128x128x16/64x64 \
    64x128x32/32x64 64x64x32/32x32 128x64x32/64x32 256x128x32/64x32 256x256x16/64x64; do units=$units,cooperative/$tile; done
{
    timeout 60 "$WGRAD" bench matmul --m $side --n $side --k $side --seconds $seconds --variant "$tiled"
    timeout 60 "$WGRAD" bench matmul --m $side --n $side --k $side --seconds $seconds --variant "$units" --dtype f16
} 2>&1 | tee "$out/tiles.txt" || true

part "kernels of a training step"
# shellcheck disable=SC2086
timeout 60 "$WGRAD" bench train $train --dtype f32,f16 --steps $steps --kernels > "$out/kernels.txt" 2>&1 || true
head -30 "$out/kernels.txt"

part tune
for kernel in linear_f16 matmul; do
    left=$((580 - $(date +%s) + start))
    [ "$left" -gt "$search" ] || { echo "$kernel: no time left"; continue; }
    timeout $((search + 30)) "$WGRAD" tune $kernel --budget $search --results "$out/$kernel.tune.jsonl" \
        --table "$out/variants.jsonl" 2>&1 | tee -a "$out/tune.txt" || true
done
part end
