"""What torch.optim, its schedulers and a plain training loop do."""

import contextlib

import torch
import torchvision
from commands_models import build, contiguous, seeded
from registry import command
from safetensors.torch import load_file, save_file
from torch.optim import lr_scheduler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


def optimizer_of(rule, parameters, lr, weight_decay):
    """From the JSON of densenet's `Rule`."""
    ((kind, options),) = rule.items()
    if kind == "sgd":
        return torch.optim.SGD(parameters, lr=lr, weight_decay=weight_decay, **options)
    betas = (options["beta1"], options["beta2"])
    return torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay, betas=betas, eps=options["eps"])


def scheduler_of(schedule, warm_up, optimizer, epochs, steps_per_epoch):
    """From the JSON of densenet's `Schedule` and `WarmUp`."""
    steps = lambda epochs: round(epochs * steps_per_epoch)
    warm = steps(warm_up["epochs"]) if warm_up else 0
    total = epochs * steps_per_epoch - warm
    kind, options = (schedule, {}) if isinstance(schedule, str) else next(iter(schedule.items()))
    base = [group["lr"] for group in optimizer.param_groups]
    first = None
    if warm:
        first = lr_scheduler.LinearLR(optimizer, warm_up["start_factor"], 1.0, warm)
    if kind == "constant":
        main = lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)
    elif kind == "step":
        main = lr_scheduler.StepLR(optimizer, steps(options["every"]), options["gamma"])
    elif kind == "multi-step":
        main = lr_scheduler.MultiStepLR(optimizer, [steps(m) for m in options["milestones"]], options["gamma"])
    elif kind == "cosine":
        main = lr_scheduler.CosineAnnealingLR(optimizer, total, options["min_lr"])
    else:
        cycle = options["cycle_momentum"]
        low, high = cycle or (0.85, 0.95)
        main = lr_scheduler.OneCycleLR(
            optimizer,
            base,
            total,
            pct_start=options["pct_start"],
            div_factor=options["div_factor"],
            final_div_factor=options["final_div_factor"],
            cycle_momentum=bool(cycle),
            base_momentum=low,
            max_momentum=high,
        )
    return lr_scheduler.SequentialLR(optimizer, [first, main], [warm]) if warm else main


@command
def schedule_rates(schedule, warm_up, rule, base, epochs, steps_per_epoch):
    """Each step's learning rates, and its momentum."""
    groups = [{"params": [torch.zeros(1)], "lr": lr} for lr in base]
    optimizer = optimizer_of(rule, groups, 1.0, 0.0)
    scheduler = scheduler_of(schedule, warm_up, optimizer, epochs, steps_per_epoch)
    rates, momenta = [], []
    for _ in range(epochs * steps_per_epoch):
        rates.append([group["lr"] for group in optimizer.param_groups])
        group = optimizer.param_groups[0]
        momenta.append(group["betas"][0] if "betas" in group else group["momentum"])
        optimizer.step()
        scheduler.step()
    return {"rates": rates, "momenta": momenta}


@command
def optimize(rule, weight_decays, lr, steps, shapes, seed, out):
    """Parameters in as many groups as there are decays, stepped by random gradients; every third step the last parameter has
    none. To `out`: the parameters before and after, the gradients, the state."""
    generator = torch.Generator().manual_seed(seed)
    parameters = [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]
    tensors = {f"before.{i}": p.detach().clone() for i, p in enumerate(parameters)}
    count = len(weight_decays)
    groups = [{"params": parameters[i::count], "weight_decay": decay} for i, decay in enumerate(weight_decays)]
    optimizer = optimizer_of(rule, groups, lr, 0.0)
    for step in range(steps):
        optimizer.zero_grad()
        for i, p in enumerate(parameters):
            if i == len(parameters) - 1 and step % 3 == 1:
                continue
            p.grad = torch.randn(p.shape, generator=generator)
            tensors[f"grad.{step}.{i}"] = p.grad.clone()
        optimizer.step()
        for group in optimizer.param_groups:
            group["lr"] *= 0.99
    for i, p in enumerate(parameters):
        tensors[f"after.{i}"] = p
        for key, value in optimizer.state[p].items():
            tensors[f"state.{i}.{key}"] = value
    save_file(contiguous(tensors), out)


@command
def average(decay, updates, shapes, seed, out):
    """A model's running mean over random weights, buffers too."""
    generator = torch.Generator().manual_seed(seed)
    model = torch.nn.Module()
    for i, shape in enumerate(shapes):
        model.register_buffer(f"t{i}", torch.randn(shape, generator=generator))
    mean = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    tensors = {}
    for update in range(updates):
        for i, shape in enumerate(shapes):
            getattr(model, f"t{i}").copy_(torch.randn(shape, generator=generator))
            tensors[f"seen.{update}.{i}"] = getattr(model, f"t{i}").clone()
        mean.update_parameters(model)
    for i in range(len(shapes)):
        tensors[f"mean.{i}"] = getattr(mean.module, f"t{i}")
    save_file(contiguous(tensors), out)


@command
def scale_gradients(steps, infinite, out):
    """GradScaler on the CPU: the scale before each step, and what unscaling leaves of the gradients."""
    scaler = torch.amp.GradScaler("cpu", growth_interval=2000)
    generator = torch.Generator().manual_seed(0)
    p = torch.zeros(7, requires_grad=True)
    optimizer = torch.optim.SGD([p], lr=1.0)
    scales, tensors = [], {}
    for step in range(steps):
        scaler.scale(torch.zeros(1))
        scales.append(scaler.get_scale())
        p.grad = torch.randn(7, generator=generator) * scaler.get_scale()
        if step in infinite:
            p.grad[3] = float("inf")
        if step < 5:
            tensors[f"scaled.{step}"] = p.grad.clone()
        scaler.unscale_(optimizer)
        if step < 5:
            tensors[f"unscaled.{step}"] = p.grad.clone()
        scaler.step(optimizer)
        scaler.update()
    save_file(contiguous(tensors), out)
    return scales


@command
def training_loop(config, folder, recipe, transforms, steps, out):
    """A plain PyTorch loop over an image folder, in its order: the losses, and the weights after `steps` steps."""
    torch.manual_seed(recipe["seed"])
    network = build(config).train()
    preset = torchvision.transforms._presets.ImageClassification(
        crop_size=transforms["crop_size"],
        resize_size=transforms["resize_size"],
        mean=tuple(transforms["mean"]),
        std=tuple(transforms["std"]),
    )
    data = torchvision.datasets.ImageFolder(folder, preset)
    loader = torch.utils.data.DataLoader(data, recipe["batch_size"])
    accumulate = recipe["accumulate"]
    steps_per_epoch = -(-len(loader) // accumulate)
    optimizer = optimizer_of(recipe["optimizer"], network.parameters(), recipe["lr"], recipe["rates"]["weight_decay"])
    scheduler = scheduler_of(recipe["schedule"], recipe["warm_up"], optimizer, recipe["epochs"], steps_per_epoch)
    weights = recipe["loss"]["class_weights"]
    weights = torch.tensor(weights["given"]) if isinstance(weights, dict) else None
    criterion = torch.nn.CrossEntropyLoss(weights, label_smoothing=recipe["loss"]["label_smoothing"])
    mean = None
    if recipe["ema"]:
        mean = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(recipe["ema"]["decay"]), use_buffers=True)
    half = recipe["precision"] == "bf16"
    losses = []
    for _ in range(recipe["epochs"]):
        optimizer.zero_grad()
        seen, images = 0.0, 0
        for number, (x, target) in enumerate(loader):
            with torch.autocast("cpu", torch.bfloat16) if half else contextlib.nullcontext():
                logits = network(x)
            loss = criterion(logits.float(), target)
            seen, images = seen + loss.item() * len(x), images + len(x)
            first = number - number % accumulate
            (loss / min(accumulate, len(loader) - first)).backward()
            if number % accumulate == accumulate - 1 or number == len(loader) - 1:
                if recipe["clip_norm"]:
                    torch.nn.utils.clip_grad_norm_(network.parameters(), recipe["clip_norm"])
                optimizer.step()
                optimizer.zero_grad()
                scheduler.step()
                if mean:
                    mean.update_parameters(network)
                losses.append(seen / images)
                seen, images = 0.0, 0
    assert len(losses) == steps, len(losses)
    save_file(contiguous((mean.module if mean else network).state_dict()), out)
    return losses


@command
def frozen_norm_step(config, seed, shape, out):
    """A training step of a network in train() whose batch norms are in eval()."""
    from commands_models import unsettle

    network = seeded(config, seed)
    unsettle(network, seed)
    start = contiguous(network.state_dict())
    network.train()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    x = torch.randn(shape)
    target = torch.randint(config["num_classes"], (shape[0],))
    loss = torch.nn.functional.cross_entropy(network(x), target)
    loss.backward()
    results = {"input": x, "target": target, "loss": loss}
    results |= {f"start.{k}": v for k, v in start.items()}
    results |= {f"grad.{k}": p.grad for k, p in network.named_parameters()}
    results |= {f"after.{k}": b for k, b in network.named_buffers()}
    save_file(contiguous(results), out)


@command
def load_trained(config, weights, inputs, out):
    """`torch.load` and a strict `load_state_dict`, then logits of `inputs["input"]`."""
    network = build(config).eval()
    network.load_state_dict(torch.load(weights, weights_only=True), strict=True)
    with torch.no_grad():
        save_file({"logits": network(load_file(inputs)["input"])}, out)
