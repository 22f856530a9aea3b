# Each target is enough on its own: libtorch is found or fetched first (scripts/with-libtorch.sh says where).
# Everything is the release profile, so that tch, which takes minutes, is compiled once.

LIBTORCH_SH := scripts/with-libtorch.sh
CARGO := cargo
IMAGES := examples/images
SOAK = $(LIBTORCH_SH) $(CARGO) run --release --quiet --example soak -- --network small

.PHONY: demo build test test-jpeg check bench bench-training soak memcheck help
.DEFAULT_GOAL := help

help:
	@echo 'make demo    build, then classify the pictures in $(IMAGES)'
	@echo 'make test    build, then run every test, against PyTorch'
	@echo 'make test-jpeg  the tests of the optional feature libjpeg-turbo, against Pillow'
	@echo 'make build   build the command and the library (release)'
	@echo 'make check   what CI checks: format, lints, tests, documentation'
	@echo 'make bench   against PyTorch: forward passes, loading, whole processes (ROUNDS=N, default each its own)'
	@echo 'make bench-training  a training step of densenet121 against torchvision: time and memory'
	@echo 'make memcheck  the kernels under AddressSanitizer, the C++ under valgrind'
	@echo 'make soak    10,000 classifications of ever other sizes, three times, watching memory (ten minutes)'

demo:
	$(LIBTORCH_SH) $(CARGO) build --release --bin densenet --example demo
	@target=$$($(CARGO) metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/') && \
	echo && "$$target/release/densenet" classify $(IMAGES) --top-k 2 && \
	echo && "$$target/release/examples/demo"

build:
	$(LIBTORCH_SH) $(CARGO) build --release

test:
	$(LIBTORCH_SH) --oracle $(CARGO) test --release

# Documentation without a libtorch, as docs.rs has it. The tests come last: their result lines end the output.
check:
	$(CARGO) fmt --check
	$(LIBTORCH_SH) $(CARGO) clippy --release --all-targets -- -D warnings
	$(LIBTORCH_SH) $(CARGO) clippy --release --lib --no-default-features -- -D warnings
	RUSTDOCFLAGS='-D warnings' env -u LIBTORCH -u LIBTORCH_USE_PYTORCH $(CARGO) doc --release --no-deps --features doc-only
	$(MAKE) --no-print-directory test

# Pictures and parity once more with the optional decoder, which is compiled for it.
test-jpeg:
	$(LIBTORCH_SH) --oracle $(CARGO) test --release --features libjpeg-turbo --test it jpeg

# Only on a machine that does nothing else: two threads that wait for each other wait for everybody's.
bench:
	$(LIBTORCH_SH) --oracle $(CARGO) bench -- $(if $(ROUNDS),--rounds $(ROUNDS))

# One case, three rounds; `cargo bench --bench training -- --help` has the others, and the plots.
bench-training:
	$(LIBTORCH_SH) --oracle $(CARGO) bench --bench training

# First with tensors outside malloc's heap, where nothing but a leak grows; then as a library and as the command have it.
soak:
	$(LIBTORCH_SH) $(CARGO) build --release --example soak
	MALLOC_MMAP_THRESHOLD_=65536 $(SOAK) --max-growth 1
	$(SOAK)
	$(SOAK) --keep-freed-memory

# Four minutes, half of them to compile and run the kernels' tests.
memcheck:
	scripts/memcheck.sh
