#!/usr/bin/env bash
# Runs a command with libtorch found and, for the tests, the Python that is compared with:
#
#   scripts/with-libtorch.sh [--oracle|--bench] COMMAND [ARGUMENT...]
#
# libtorch is, in this order:
#   1. $LIBTORCH, if set (a folder with `lib` and `include`);
#   2. the active Python's, if it has the torch and torchvision of tests/oracle/requirements.txt and the other packages
#      there at any version;
#   3. one in the user's cache folder, made with pip on first use and shared by all clones.
# The command sees LIBTORCH (or LIBTORCH_USE_PYTORCH, if that was set), with --oracle DENSENET_PYTHON too, and with --bench
# besides DENSENET_BENCH_PACKAGES: a folder with the packages of benches/requirements.txt for that Python, made with pip on
# first use. What only a benchmark compares with is no part of the environment that the tests need.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
requirements=$here/tests/oracle/requirements.txt

say() { printf '%s\n' "densenet: $*" >&2; }
die() {
    printf '%s\n' "densenet: error: $1" >&2
    shift
    [ $# -eq 0 ] || printf '  %s\n' "$@" >&2
    exit 1
}

pinned() { sed -n "s/^$1==//p" "$requirements"; }
torch_version=$(pinned torch)

# The Python that torch-sys would take as well.
active_python=python3
[ -z "${VIRTUAL_ENV:-}" ] || active_python=python

# Prints the folder of a Python's torch if that Python can be the oracle; imports nothing, so it is quick.
torch_of() {
    command -v "$1" >/dev/null 2>&1 && "$1" - "$requirements" 2>/dev/null <<'PYTHON'
import importlib.metadata, importlib.util, sys
for line in open(sys.argv[1]):
    name, _, version = line.split(";")[0].strip().partition("==")
    if version:
        found = importlib.metadata.version(name).split("+")[0]
        if name.startswith("torch") and found != version:
            sys.exit(1)
print(importlib.util.find_spec("torch").submodule_search_locations[0])
PYTHON
}

# The version that a libtorch folder states: an archive's build-version, a wheel's version.py, else its header.
version_of() {
    if [ -f "$1/build-version" ]; then
        cat "$1/build-version"
    elif [ -f "$1/version.py" ]; then
        sed -n "s/^__version__ = ['\"]\(.*\)['\"]/\1/p" "$1/version.py"
    else
        # `#define TORCH_VERSION \` and the string on the next line.
        sed -n '/define TORCH_VERSION  *\\/{n;s/.*"\(.*\)".*/\1/p;}' \
            "$1"/include/torch/{headeronly,csrc/api/include/torch}/version.h 2>/dev/null || true
    fi
}

check_libtorch() {
    local file version release
    for file in lib/libtorch_cpu lib/libc10 include/torch/csrc/api/include/torch/torch.h; do
        [ -e "$1/$file" ] || [ -e "$1/$file.so" ] || [ -e "$1/$file.dylib" ] ||
            die "LIBTORCH=$1 is no complete libtorch: $file is missing." \
                "Set it to the folder that has lib and include, or unset it to have libtorch $torch_version fetched."
    done
    version=$(version_of "$1")
    release=${version%%+*}
    if [ -n "$version" ] && [ "$release" != "$torch_version" ] && [ -z "${LIBTORCH_BYPASS_VERSION_CHECK:-}" ]; then
        die "LIBTORCH=$1 is libtorch $version; this crate needs $torch_version." \
            "Set LIBTORCH to that version, or unset it to have it fetched," \
            "or set LIBTORCH_BYPASS_VERSION_CHECK=1 to try this one."
    fi
}

# Exact name: whatever is pinned, so that another pin makes another environment and never changes one in use.
cache=${XDG_CACHE_HOME:-${HOME:?neither XDG_CACHE_HOME nor HOME is set}/.cache}/densenet
venv=$cache/torch-$torch_version-torchvision-$(pinned torchvision)-$(cksum <"$requirements" | cut -d ' ' -f 1)
# Written last, holds torch's folder: without it the environment is half-made.
stamp=$venv/complete

is_complete() { [ -s "$stamp" ] && [ -d "$(cat "$stamp")/lib" ] && "$venv/bin/python" -c '' 2>/dev/null; }

# Runs make_venv alone among all processes that want it.
with_lock() {
    mkdir -p "$cache" || die "cannot make $cache; set XDG_CACHE_HOME to a folder that can be written."
    if command -v flock >/dev/null 2>&1; then
        (
            flock -n 9 || { say "another make is preparing $venv; waiting for it."; flock 9; }
            is_complete || make_venv
        ) 9>"$venv.lock"
        return
    fi
    # Without flock: a folder, which only one process can make, with the owner's number in it.
    local lock=$venv.lock.d owner
    until mkdir "$lock" 2>/dev/null; do
        owner=$(cat "$lock/owner" 2>/dev/null || true)
        if [ -n "$owner" ] && ! kill -0 "$owner" 2>/dev/null; then
            die "$lock was left by a make that is gone; remove that folder and try again."
        fi
        say "another make is preparing $venv (it holds $lock); waiting for it."
        sleep 5
    done
    echo $$ >"$lock/owner"
    trap 'rm -rf "$lock"' EXIT
    is_complete || make_venv
    rm -rf "$lock"
    trap - EXIT
}

make_venv() {
    command -v python3 >/dev/null 2>&1 || die "no python3 found; it is what fetches libtorch." \
        "On Debian or Ubuntu: sudo apt install python3 python3-venv"
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        die "$(python3 --version) is too old for torch $torch_version, which needs Python 3.10 or newer." \
            "Install one, or set LIBTORCH to an unpacked libtorch $torch_version."
    if [ -e "$venv" ]; then
        say "$venv is half-made or no longer works; making it anew."
        rm -rf "$venv"
    fi
    say "first run: fetching libtorch $torch_version (with PyTorch, which the tests compare with) into"
    say "  $venv"
    say "2.8 GB to download, 5 GB on disk, two minutes or more; all later runs and other clones use it."
    python3 -m venv "$venv" || die "python3 cannot make a virtual environment (its words are above)." \
        "On Debian or Ubuntu: sudo apt install python3-venv" \
        "Or activate a Python that has tests/oracle/requirements.txt installed, or set LIBTORCH."
    "$venv/bin/python" -m pip install --disable-pip-version-check -r "$requirements" >&2 ||
        die "pip could not install tests/oracle/requirements.txt (its words are above)." \
            "The next run starts afresh. pip's own settings count: PIP_INDEX_URL, HTTPS_PROXY, a full disk ..."
    "$venv/bin/python" -c 'import torch, torchvision, numpy, PIL, safetensors; print(torch.__path__[0])' \
        >"$stamp.partial" || die "what pip installed in $venv does not load (Python's words are above)."
    mv "$stamp.partial" "$stamp"
    say "libtorch $torch_version is ready."
}

# Sets DENSENET_PYTHON for a libtorch of the user's choice: the Python it belongs to, else the cache's.
find_oracle() {
    local python
    for python in "$1/../../../../bin/python" "$active_python"; do
        if [ "$(torch_of "$python" || true)" -ef "$1" ]; then
            DENSENET_PYTHON=$python
            return
        fi
    done
    say "LIBTORCH=$1 belongs to no Python with tests/oracle/requirements.txt: the tests compare with another one."
    is_complete || with_lock
    DENSENET_PYTHON=$venv/bin/python
}

# Sets DENSENET_BENCH_PACKAGES for DENSENET_PYTHON. pip looks for no dependencies: the file names them all, and torch and
# numpy stay the oracle's.
find_bench_packages() {
    local wanted=$here/benches/requirements.txt python
    python=$("$DENSENET_PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])') ||
        die "DENSENET_PYTHON=$DENSENET_PYTHON does not run."
    DENSENET_BENCH_PACKAGES=$cache/bench-python$python-$(cksum <"$wanted" | cut -d ' ' -f 1)
    [ ! -d "$DENSENET_BENCH_PACKAGES" ] || return 0
    say "first run: fetching what the benchmark compares with (ONNX Runtime, OpenVINO; 300 MB on disk) into"
    say "  $DENSENET_BENCH_PACKAGES"
    mkdir -p "$cache" || die "cannot make $cache; set XDG_CACHE_HOME to a folder that can be written."
    local partial
    partial=$(mktemp -d "$DENSENET_BENCH_PACKAGES.XXXXXX")
    "$DENSENET_PYTHON" -m pip install --disable-pip-version-check --quiet --no-deps --target "$partial" \
        -r "$wanted" >&2 || {
        rm -rf "$partial"
        die "pip could not install benches/requirements.txt (its words are above)." \
            "Without it: scripts/with-libtorch.sh --oracle cargo bench --bench inference, which measures the rest."
    }
    if [ -d "$DENSENET_BENCH_PACKAGES" ]; then
        rm -rf "$partial"
    else
        mv "$partial" "$DENSENET_BENCH_PACKAGES"
    fi
}

oracle= bench=
case ${1:-} in
--oracle) oracle=yes ;;
--bench) oracle=yes bench=yes ;;
esac
[ -z "$oracle" ] || shift
[ $# -gt 0 ] || die "usage: scripts/with-libtorch.sh [--oracle|--bench] COMMAND [ARGUMENT...]"

command -v cargo >/dev/null 2>&1 || die "no cargo found: install Rust, see https://rustup.rs"
command -v "${CXX:-c++}" >/dev/null 2>&1 || die "no C++ compiler (${CXX:-c++}) found." \
    "On Debian or Ubuntu: sudo apt install build-essential"

if [ -n "${LIBTORCH:-}" ]; then
    check_libtorch "$LIBTORCH"
    # torch-sys prefers this one.
    unset LIBTORCH_USE_PYTORCH
    [ -z "$oracle" ] || [ -n "${DENSENET_PYTHON:-}" ] || find_oracle "$LIBTORCH"
elif torch=$(torch_of "$active_python"); then
    # Left as it is if set: torch-sys is compiled again whenever these variables change.
    [ -n "${LIBTORCH_USE_PYTORCH:-}" ] || export LIBTORCH=$torch
    DENSENET_PYTHON=${DENSENET_PYTHON:-$active_python}
else
    [ -z "${LIBTORCH_USE_PYTORCH:-}" ] || die \
        "LIBTORCH_USE_PYTORCH is set, but $active_python lacks packages of tests/oracle/requirements.txt." \
        "Install them there, or unset it to have libtorch $torch_version fetched."
    is_complete || with_lock
    LIBTORCH=$(cat "$stamp")
    DENSENET_PYTHON=${DENSENET_PYTHON:-$venv/bin/python}
    export LIBTORCH
fi
[ -z "$oracle" ] || export DENSENET_PYTHON
if [ -n "$bench" ]; then
    find_bench_packages
    export DENSENET_BENCH_PACKAGES
fi

exec "$@"
