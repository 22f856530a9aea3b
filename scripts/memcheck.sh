#!/usr/bin/env bash
# valgrind over the C++ of src/autograd: invalid reads and writes, use of uninitialised memory, leaks.
#
#   scripts/memcheck.sh
#
# Runs examples/autograd_memcheck.rs, which goes every way through the C++ once, on one thread. Exits
# non-zero on any error that scripts/memcheck.supp does not list: that file is for errors inside libtorch, its libraries
# or libc, without a frame of ours.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
command -v valgrind >/dev/null || { echo "densenet: error: no valgrind: install it" >&2; exit 1; }

cd "$here"
scripts/with-libtorch.sh cargo build --release --example autograd_memcheck
target=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 scripts/with-libtorch.sh valgrind \
    --error-exitcode=9 --leak-check=full --show-leak-kinds=definite,indirect --errors-for-leak-kinds=definite \
    --num-callers=30 --suppressions=scripts/memcheck.supp "$@" \
    "$target/release/examples/autograd_memcheck"
