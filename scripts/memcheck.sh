#!/usr/bin/env bash
# Memory checkers over what is unsafe.
#
#   scripts/memcheck.sh [kernels | shim]      both, without an argument
#
# kernels: the unit tests of src/kernels, odd sizes at every instruction set of this processor, under AddressSanitizer.
#          They need std alone, so rustc compiles that module by itself.
# shim:    the C++ of src/autograd, and what lies on it up to the fused networks, under valgrind (which has no AVX-512: AVX2
#          and portable): invalid reads and writes, use of uninitialised memory, leaks. examples/autograd_memcheck.rs goes
#          every way once, on one thread.
#
# Exits non-zero on any error that scripts/memcheck.supp does not list: that file is for errors inside libtorch, its
# libraries or libc, without a frame of ours before libtorch's.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')

kernels() {
    local folder=$target/memcheck
    mkdir -p "$folder"
    printf '#[path = "%s/src/kernels/mod.rs"]\npub mod kernels;\n' "$PWD" >"$folder/kernels.rs"
    # Sanitizers are not stable yet; stable toolchains ship their runtime all the same.
    RUSTC_BOOTSTRAP=1 rustc --test --edition 2021 -O -C debug-assertions=on -g -Z sanitizer=address \
        -o "$folder/kernels" "$folder/kernels.rs"
    "$folder/kernels"
}

shim() {
    command -v valgrind >/dev/null || { echo "densenet: error: no valgrind: install it" >&2; exit 1; }
    scripts/with-libtorch.sh cargo build --release --example autograd_memcheck
    OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 scripts/with-libtorch.sh valgrind \
        --error-exitcode=9 --leak-check=full --show-leak-kinds=definite,possible --errors-for-leak-kinds=definite,possible \
        --num-callers=40 --suppressions=scripts/memcheck.supp \
        "$target/release/examples/autograd_memcheck"
}

case "${1-}" in
    kernels | shim) "$1" ;;
    '')
        kernels
        shim
        ;;
    *)
        sed -n '4s/^# *//p' "$0" >&2
        exit 2
        ;;
esac
