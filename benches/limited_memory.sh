#!/usr/bin/env bash
# A training step under a memory limit: torchvision's plain network does not fit, ours does, and its loss falls.
#
#     scripts/with-libtorch.sh --oracle benches/limited_memory.sh [ARCH] [BATCH_SIZE] [GIB]
#
# The limit is RLIMIT_DATA: heap and anonymous mappings, whatever part of them is resident.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
arch=${1:-densenet264} batch_size=${2:-16} gib=${3:-4}
options=(--arch "$arch" --batch-size "$batch_size")
python=${DENSENET_PYTHON:-python3}

cargo build --release --bin densenet || exit 1
densenet=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/release/densenet
echo "torchvision, plain, $arch, batch $batch_size, at most $gib GiB:"
(ulimit -d $((gib << 20)) && "$python" benches/training_peer.py "${options[@]}" --steps 1 2>&1 | tail -n 1)
for memory in standard efficient fused minimal; do
    echo "densenet, $memory:"
    (ulimit -d $((gib << 20)) && "$densenet" bench train "${options[@]}" --memory "$memory" --steps 10)
done
exit 0
