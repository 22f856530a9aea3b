"""Forward passes by everything that people run a DenseNet with on a CPU: PyTorch in five ways, ONNX Runtime, OpenVINO.

Commands of peer.py. Each participant is set up as its own documentation says for this network on a CPU, with the thread count
of the comparison; f32 throughout. ONNX Runtime's and OpenVINO's processes never import torch, as theirs who deploy with them.
"""

import importlib.util
import queue
import threading
import time


# What `forward` and `together` call: an array [N, C, H, W] to logits [N, K].
run = None
# The input as the participant takes it.
batch = None


def network(arch, config, weights):
    """torchvision's network, or its class with the paper's stem for small pictures; `weights` is a safetensors file."""
    import torchvision
    from safetensors.torch import load_file
    from torch import nn

    if arch is not None:
        model = getattr(torchvision.models, arch)()
    else:
        assert config["stem"] == "small" and config["compression"] == 0.5, config
        width = config["num_init_features"]
        model = torchvision.models.DenseNet(
            config["growth_rate"], config["block_config"], width, config["bn_size"], num_classes=config["num_classes"]
        )
        model.features.conv0 = nn.Conv2d(config["in_channels"], width, 3, padding=1, bias=False)
        for name in ("norm0", "relu0", "pool0"):
            setattr(model.features, name, nn.Identity())
    model.load_state_dict(load_file(weights))
    return model.eval()


def missing(packages):
    """Which of these packages this Python has not; nothing is imported."""
    return [package for package in packages if importlib.util.find_spec(package) is None]


def export_onnx(arch, config, weights, input, path):
    """The network as an ONNX file, by PyTorch's own exporter, for any batch size."""
    import torch
    from safetensors.torch import load_file

    example = load_file(input)["input"]
    # An example of 1 would fix the batch at 1.
    example = example[:1].expand(2, -1, -1, -1).contiguous()
    torch.onnx.export(
        network(arch, config, weights),
        (example,),
        path,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        input_names=["input"],
        output_names=["logits"],
        external_data=False,
        verbose=False,
    )


def prepare(participant, threads, input, arch=None, config=None, weights=None, onnx=None, together=False):
    """Makes a participant ready; logits, as the integers of their bits, and how long it took.

    `together`: for `together` (one picture a thread) instead of `forward` (all threads on one batch).
    """
    global run, batch
    import numpy
    from safetensors.numpy import load_file

    start = time.perf_counter()
    pictures = load_file(input)["input"]
    prepare_one = {"onnx_runtime": onnx_runtime, "openvino": openvino}.get(participant)
    if prepare_one:
        run, batch, version = prepare_one(onnx, pictures, threads, together)
    else:
        model = (arch, config, weights)
        run, batch, version = pytorch(participant, model, pictures, 1 if together else threads)
    logits = numpy.ascontiguousarray(numpy.asarray(run(batch)))
    seconds = time.perf_counter() - start
    return {"logits": logits.view(numpy.int32).flatten().tolist(), "version": version, "seconds": seconds}


def pytorch(variant, model, pictures, threads):
    import torch

    torch.set_num_threads(threads)
    model = network(*model)
    pictures = torch.from_numpy(pictures)
    if variant == "channels_last":
        model = model.to(memory_format=torch.channels_last)
        pictures = pictures.contiguous(memory_format=torch.channels_last)
    elif variant == "compile":
        import torch._inductor.config

        torch._inductor.config.freezing = True
        model = torch.compile(model)
    elif variant == "torchscript":
        with torch.no_grad():
            model = torch.jit.optimize_for_inference(torch.jit.trace(model, pictures))
    elif variant != "eager":
        raise ValueError(variant)

    def run(pictures):
        with torch.no_grad():
            return model(pictures)

    # The executor of TorchScript specializes itself in the first runs.
    run(pictures), run(pictures)
    return run, pictures, torch.__version__


def onnx_runtime(path, pictures, threads, together):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1 if together else threads
    options.add_free_dimension_override_by_name("batch", len(pictures))
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda pictures: session.run(None, {"input": pictures})[0], pictures, onnxruntime.__version__


def openvino(path, pictures, threads, together):
    import openvino

    core = openvino.Core()
    model = core.read_model(path)
    model.reshape(list(pictures.shape))
    # Processors with bf16 instructions would compute in bf16.
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    hint = "THROUGHPUT" if together else "LATENCY"
    compiled = core.compile_model(model, "CPU", {**settings, "PERFORMANCE_HINT": hint})
    # A request has its own memory; requests of one model run side by side.
    requests = queue.SimpleQueue()
    for _ in range(threads if together else 1):
        requests.put(compiled.create_infer_request())

    def run(pictures):
        request = requests.get()
        try:
            return request.infer({0: pictures}, share_inputs=True)[0].copy()
        finally:
            requests.put(request)

    return run, pictures, openvino.__version__.split("-")[0]


def forward(count, untimed):
    """Milliseconds of each of `count` passes, after `untimed` ones."""
    for _ in range(untimed):
        run(batch)
    passes = []
    for _ in range(count):
        start = time.perf_counter()
        run(batch)
        passes.append((time.perf_counter() - start) * 1000)
    return {"milliseconds": passes}


def together(count, threads):
    """`count` passes on each of `threads` threads at once: each pass's milliseconds, and the milliseconds of it all."""
    begin, lists = threading.Barrier(threads + 1), [[] for _ in range(threads)]

    def work(passes):
        run(batch)
        begin.wait()
        for _ in range(count):
            start = time.perf_counter()
            run(batch)
            passes.append((time.perf_counter() - start) * 1000)

    workers = [threading.Thread(target=work, args=(passes,)) for passes in lists]
    for worker in workers:
        worker.start()
    begin.wait()
    start = time.perf_counter()
    for worker in workers:
        worker.join()
    wall = (time.perf_counter() - start) * 1000
    return {"milliseconds": [pass_ for passes in lists for pass_ in passes], "wall_ms": wall}


def memory():
    """Resident memory now and at its highest, in bytes."""
    with open("/proc/self/status") as status:
        fields = dict(line.split(":", 1) for line in status)
    return {key: int(fields[field].split()[0]) * 1024 for key, field in [("resident", "VmRSS"), ("peak", "VmHWM")]}
