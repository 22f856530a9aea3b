"""What torch.autograd.Function does, as facts that tests/it/autograd/pytorch.rs finds out about ours."""

import torch
from registry import command


def raised(function):
    try:
        function()
    except RuntimeError as error:
        return next(words for words in ("modified by an inplace", "second time", "once_differentiable", "") if words in str(error))
    return None


class Product(torch.autograd.Function):
    """a·b·c, and a comparison; tells what its backward is asked for."""

    asked = []

    @staticmethod
    def forward(ctx, a, b, c):
        ctx.save_for_backward(a, b, c)
        larger = (a > b).double()
        ctx.mark_non_differentiable(larger)
        ctx.set_materialize_grads(False)
        return a * b * c, larger, a.clone()

    @staticmethod
    def backward(ctx, grad, no_grad, unused):
        a, b, c = ctx.saved_tensors
        Product.asked.append([list(ctx.needs_input_grad), no_grad is None, unused is None])
        return grad * b * c, grad * a * c, None


class Exp(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        output = x.exp()
        ctx.save_for_backward(output)
        return output

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.saved_tensors[0]


class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        return 2 * grad * ctx.saved_tensors[0]


class Itself(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x

    @staticmethod
    def backward(ctx, grad):
        return grad * 7


@command
def autograd_facts():
    leaf = lambda *values: torch.tensor(values, dtype=torch.float64, requires_grad=True)
    facts = {}

    Product.asked = []
    a, b, c = leaf(2.0, 3.0), torch.tensor([5.0, 1.0], dtype=torch.float64), leaf(7.0, 11.0)
    product, larger, _copy = Product.apply(a, b, c)
    facts["requires_grad"] = [product.requires_grad, larger.requires_grad]
    facts["is_leaf"] = [product.is_leaf, larger.is_leaf]
    product.sum().backward(retain_graph=True)
    product.sum().backward()
    facts["asked"] = Product.asked
    facts["grads"] = [a.grad.tolist(), b.grad, c.grad]
    facts["third_backward"] = raised(lambda: product.sum().backward())

    x = leaf(0.5, -1.5)
    y = Exp.apply(x)
    first = torch.autograd.grad(y.sum(), x, create_graph=True)[0]
    second = torch.autograd.grad((first * first).sum(), x)[0]
    facts["exp"] = [y.tolist(), first.tolist(), second.tolist()]

    x = leaf(3.0)
    (first,) = torch.autograd.grad(Once.apply(x) ** 2, x, create_graph=True)
    facts["once"] = [first.tolist(), raised(lambda: first.backward())]

    x = leaf(1.0, 2.0) * 1
    y = Exp.apply(x)
    y.mul_(2)
    facts["changed_output"] = raised(lambda: y.sum().backward())

    x = leaf(1.0)
    y = Itself.apply(x)
    y.backward()
    facts["itself"] = [x.is_leaf, y.is_leaf, x.grad.tolist()]

    with torch.no_grad():
        y = Exp.apply(leaf(1.0))
    facts["no_grad"] = [y.requires_grad, y.is_leaf]

    v = leaf(1.0, 2.0, 3.0)
    view = Itself.apply(v[1:])
    facts["view"] = [view.tolist(), view.requires_grad]
    return facts
