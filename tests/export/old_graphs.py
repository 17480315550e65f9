"""Networks as strangers' files spell them: old opsets, old exporters, and what is rare but legal. Each a few weights.

A row is a name and a builder of a whole file. Arrays are drawn by name, so two rows share no state.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper, parser

Array = np.ndarray[Any, Any]
TABLE: dict[str, Callable[[], onnx.ModelProto]] = {}

IMAGE, CLASSES = "float[N,3,8,8] x", "float[N,4] y"


def floats(name: str, *shape: int) -> Array:
    """Standard normal numbers, scaled so that a layer of them keeps the size of what it reads."""
    fan = int(np.prod(shape[1:])) or 1
    made = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape) / np.sqrt(fan)
    return np.asarray(made, np.float32)


def net(
    body: str,
    inputs: str = IMAGE,
    outputs: str = CLASSES,
    *,
    opset: int = 13,
    ir_version: int = 7,
    listed: bool = False,
    domains: tuple[tuple[str, int], ...] = (),
    **arrays: Array,
) -> onnx.ModelProto:
    """A file from ONNX's own text format.

    Args:
        body: the nodes.
        inputs: of the graph.
        outputs: of the graph.
        opset: of the standard operators.
        ir_version: of the file.
        listed: initializers are inputs too, as they had to be up to IR version 3.
        domains: further operator sets.
        arrays: initializers by name.
    """
    graph = parser.parse_graph(f"g ({inputs}) => ({outputs}) {{ {body} }}")
    for name, array in arrays.items():
        tensor = numpy_helper.from_array(np.asarray(array), name)
        graph.initializer.append(tensor)
        if listed:
            graph.input.append(helper.make_tensor_value_info(name, tensor.data_type, tensor.dims))
    sets = [helper.make_opsetid("", opset), *(helper.make_opsetid(*domain) for domain in domains)]
    return helper.make_model(graph, opset_imports=sets, ir_version=ir_version)


def norm(name: str, channels: int) -> dict[str, Array]:
    """Scale, shift, mean and variance of a batch norm; `{name}_g`, `_b`, `_m`, `_v`."""
    arrays = {f"{name}_{part}": floats(f"{name}{part}", channels) for part in "gbmv"}
    return {**arrays, f"{name}_v": np.abs(arrays[f"{name}_v"]) + np.float32(0.5)}


def row(build: Callable[[], onnx.ModelProto]) -> Callable[[], onnx.ModelProto]:
    """List a builder under its name."""
    TABLE[build.__name__] = build
    return build


def ints(*numbers: int) -> Array:
    """A shape, axes, or other whole numbers."""
    return np.asarray(numbers, np.int64)


@row
def listed_initializers() -> onnx.ModelProto:
    """IR version 3: every weight is an input as well."""
    return net(
        """a = Conv <pads=[1,1,1,1]> (x, w)  b = BatchNormalization (a, n_g, n_b, n_m, n_v)  c = Relu (b)
           d = GlobalAveragePool (c)  e = Flatten (d)  y = Gemm <transB=1> (e, f, fb)""",
        opset=9, ir_version=3, listed=True,
        w=floats("w", 6, 3, 3, 3), f=floats("f", 4, 6), fb=floats("fb", 4), **norm("n", 6),
    )  # fmt: skip


@row
def attributes_of_opset_nine() -> onnx.ModelProto:
    """Squeeze, Unsqueeze, ReduceMean, ReduceSum, Split, Clip, Pad, Slice and Dropout say all by attributes."""
    return net(
        """p = Pad <mode="constant", pads=[0,0,1,1,0,0,1,1], value=0.0> (x)  a = Conv (p, w)
           b = Clip <min=0.0, max=6.0> (a)  s1, s2 = Split <axis=1, split=[2,4]> (b)  t = Relu (s1)
           c = Concat <axis=1> (t, s2)  d = Slice <axes=[2,3], starts=[0,0], ends=[7,7]> (c)
           e = ReduceMean <axes=[3], keepdims=0> (d)  f = ReduceSum <axes=[2], keepdims=1> (e)
           g = Squeeze <axes=[2]> (f)  g2 = Dropout <ratio=0.5> (g)  h = MatMul (g2, m)
           i = Unsqueeze <axes=[2]> (h)  j = Squeeze <axes=[2]> (i)  y = Softmax <axis=1> (j)""",
        opset=9, ir_version=4, w=floats("w", 6, 3, 3, 3), m=floats("m", 6, 4),
    )  # fmt: skip


@row
def upsample_of_opset_nine() -> onnx.ModelProto:
    """Upsample, which opset 10 took away, between convolutions; a small decoder."""
    return net(
        """a = Conv <strides=[2,2], pads=[1,1,1,1]> (x, w, b)  c = Relu (a)
           d = Upsample <mode="nearest"> (c, s)  y = Conv <pads=[1,1,1,1]> (d, v)""",
        outputs="float[N,3,8,8] y", opset=9, ir_version=4,
        w=floats("w", 6, 3, 3, 3), b=floats("b", 6), v=floats("v", 3, 6, 3, 3),
        s=np.asarray([1, 1, 2, 2], np.float32),
    )  # fmt: skip


@row
def upsample_with_computed_scales() -> onnx.ModelProto:
    """As torch's exporter of opset 9 writes it: the scales come from the shape."""
    return net(
        """a = Conv <pads=[1,1,1,1]> (x, w)  s = Shape (a)  t = Slice <axes=[0], starts=[2], ends=[4]> (s)
           f = Cast <to=1> (t)  two = Constant <value = float[2] {2.0, 2.0}> ()  h = Mul (f, two)  q = Div (h, f)
           one = Constant <value = float[2] {1.0, 1.0}> ()  sc = Concat <axis=0> (one, q)
           u = Upsample <mode="nearest"> (a, sc)  y = Conv <pads=[1,1,1,1]> (u, v)""",
        outputs="float[N,2,16,16] y", opset=9, ir_version=4, w=floats("w", 4, 3, 3, 3), v=floats("v", 2, 4, 3, 3),
    )  # fmt: skip


@row
def face_detector_of_opset_nine() -> onnx.ModelProto:
    """Two strides, heads turned to NHWC and reshaped by computed shapes, scores by softmax, all concatenated."""
    head = """{k}t = Transpose <perm=[0,2,3,1]> ({k}c)  {k}s = Shape ({k}t)  {k}z = Constant <value = int64 {{0}}> ()
              {k}n = Gather <axis=0> ({k}s, {k}z)  {k}u = Unsqueeze <axes=[0]> ({k}n)
              {k}m = Constant <value = int64[1] {{-1}}> ()  {k}w = Constant <value = int64[1] {{{width}}}> ()
              {k}r = Concat <axis=0> ({k}u, {k}m, {k}w)  {k}o = Reshape ({k}t, {k}r) """
    heads = "".join(head.format(k=k, width=w) for k, w in (("p", 2), ("q", 2), ("e", 4), ("h", 4)))
    return net(
        f"""a1 = Conv <pads=[1,1,1,1], strides=[2,2]> (x, w1)  a2 = BatchNormalization (a1, n_g, n_b, n_m, n_v)
            a = Relu (a2)  d1 = Conv <pads=[1,1,1,1], group=8> (a, w2)  d2 = Conv <strides=[2,2]> (d1, w3, b3)
            d = Relu (d2)  pc = Conv <pads=[1,1,1,1]> (a, wp)  qc = Conv <pads=[1,1,1,1]> (d, wq)
            ec = Conv <pads=[1,1,1,1]> (a, we)  hc = Conv <pads=[1,1,1,1]> (d, wh)  {heads}
            conf = Concat <axis=1> (po, qo)  scores = Softmax <axis=2> (conf)  boxes = Concat <axis=1> (eo, ho)""",
        "float[1,3,16,16] x", "float[1,M,2] scores, float[1,M,4] boxes", opset=9, ir_version=4,
        w1=floats("w1", 8, 3, 3, 3), w2=floats("w2", 8, 1, 3, 3), w3=floats("w3", 8, 8, 1, 1), b3=floats("b3", 8),
        wp=floats("wp", 4, 8, 3, 3), wq=floats("wq", 4, 8, 3, 3), we=floats("we", 8, 8, 3, 3),
        wh=floats("wh", 8, 8, 3, 3), **norm("n", 8),
    )  # fmt: skip


@row
def norm_with_several_readers() -> onnx.ModelProto:
    """What the convolution gives is read before its batch norm too: it cannot be folded."""
    return net(
        """a = Conv <pads=[1,1,1,1]> (x, w)  b = BatchNormalization (a, n_g, n_b, n_m, n_v)  c = Add (a, b)
           d = Relu (c)  e = GlobalAveragePool (d)  f = Flatten (e)  y = MatMul (f, m)""",
        opset=11, w=floats("w", 6, 3, 3, 3), m=floats("m", 6, 4), **norm("n", 6),
    )  # fmt: skip


@row
def weight_used_twice() -> onnx.ModelProto:
    """One convolution's weight in two places, each with another batch norm."""
    return net(
        """a = Conv <pads=[1,1,1,1]> (x, w)  b = BatchNormalization (a, n_g, n_b, n_m, n_v)  c = Relu (b)
           d = Conv <pads=[1,1,1,1]> (c, w)  e = BatchNormalization (d, k_g, k_b, k_m, k_v)  f = Add (c, e)
           g = GlobalAveragePool (f)  h = Flatten (g)  y = MatMul (h, m)""",
        w=floats("w", 3, 3, 3, 3), m=floats("m", 3, 4), **norm("n", 3), **norm("k", 3),
    )  # fmt: skip


@row
def constants_as_weights() -> onnx.ModelProto:
    """No initializer at all: every weight is the output of a Constant node."""
    model = net(
        """w = Constant <value = float[1] {0.0}> ()  m = Constant <value = float[1] {0.0}> ()
           a = Conv <pads=[1,1,1,1]> (x, w)  b = Relu (a)  c = GlobalAveragePool (b)  d = Flatten (c)
           y = MatMul (d, m)"""
    )
    for node, array in zip(model.graph.node, (floats("w", 6, 3, 3, 3), floats("m", 6, 4)), strict=False):
        node.attribute[0].t.CopyFrom(numpy_helper.from_array(array))
    return model


@row
def weights_behind_chains() -> onnx.ModelProto:
    """Weights reach their layers through Identity, Transpose, Reshape, Unsqueeze, Squeeze, Cast and Mul."""
    return net(
        """w1 = Identity (w0)  w2 = Transpose <perm=[3,2,0,1]> (w1)  half = Constant <value = float {0.5}> ()
           w = Mul (w2, half)  a = Conv <pads=[1,1,1,1]> (x, w, b)  c = Relu (a)
           u = Unsqueeze (v0, ax)  v = Reshape (u, sh)  d = Conv (c, v)  e = GlobalAveragePool (d)  f = Flatten (e)
           m1 = Cast <to=1> (m0)  m2 = Transpose <perm=[1,0]> (m1)  m = Identity (m2)  g = MatMul (f, m)
           b2 = Identity (b)  b3 = Slice (b2, st, en)  y = Add (g, b3)""",
        w0=floats("w0", 3, 3, 3, 6), b=floats("b", 6), v0=floats("v0", 6, 6), ax=ints(2), sh=ints(6, 6, 1, 1),
        m0=floats("m0", 4, 6).astype(np.float64), st=ints(0), en=ints(4),
    )  # fmt: skip


@row
def free_dimensions_everywhere() -> onnx.ModelProto:
    """Batch, height and width free; the head reshapes by the shape it finds."""
    return net(
        """a = Conv <pads=[1,1,1,1]> (x, w)  b = Relu (a)  s = Shape (b)  z = Constant <value = int64 {0}> ()
           n = Gather (s, z)  z1 = Constant <value = int64[1] {0}> ()  n1 = Unsqueeze (n, z1)
           r = Constant <value = int64[2] {6, -1}> ()  sh = Concat <axis=0> (n1, r)  c = Reshape (b, sh)
           d = ReduceMean <axes=[2], keepdims=0> (c)  y = MatMul (d, m)""",
        "float[batch,3,height,width] x", "float[batch,4] y", w=floats("w", 6, 3, 3, 3), m=floats("m", 6, 4),
    )  # fmt: skip


@row
def several_inputs_and_outputs() -> onnx.ModelProto:
    """Two towers meet; three outputs, one of them read inside the graph, one an input as it came."""
    return net(
        """a = MatMul (x, wx)  b = Relu (a)  c = MatMul (z, wz)  hidden = Tanh (c)  d = Add (b, hidden)
           y = MatMul (d, wo)  same = Identity (z)""",
        "float[N,8] x, float[N,5] z", "float[N,4] y, float[N,16] hidden, float[N,5] same",
        wx=floats("wx", 8, 16), wz=floats("wz", 5, 16), wo=floats("wo", 16, 4),
    )  # fmt: skip


@row
def embeddings_of_integers() -> onnx.ModelProto:
    """Token ids in int32, cast and looked up; a mask in int64; the table also gives the logits, turned."""
    return net(
        """i = Cast <to=7> (ids)  e = Gather (table, i)  f = Cast <to=1> (mask)  ax = Constant <value = int64[1] {2}> ()
           g = Unsqueeze (f, ax)  h = Mul (e, g)  k = MatMul (h, w)  l = Relu (k)  m = MatMul (l, v)
           t = Transpose <perm=[1,0]> (table)  y = MatMul (m, t)""",
        "int32[N,T] ids, int64[N,T] mask", "float[N,T,20] y",
        table=floats("table", 20, 8), w=floats("w", 8, 16), v=floats("v", 16, 8),
    )  # fmt: skip


@row
def caches_in_and_out() -> onnx.ModelProto:
    """A streaming step: a convolution over a cache and the new frame, a GRU with its state in and out."""
    return net(
        """a = Concat <axis=2> (cache, x)  b = Conv (a, w)  c = Relu (b)  st = Constant <value = int64[1] {1}> ()
           en = Constant <value = int64[1] {999}> ()  ax = Constant <value = int64[1] {2}> ()
           cache_out = Slice (a, st, en, ax)  d = Transpose <perm=[2,0,1]> (c)
           e, h_out = GRU <hidden_size=8, linear_before_reset=1> (d, gw, gr, gb, , h)
           one = Constant <value = int64[1] {1}> ()  f = Squeeze (e, one)  g = MatMul (f, m)
           y = Transpose <perm=[1,0,2]> (g)""",
        "float[N,4,1] x, float[N,4,2] cache, float[1,N,8] h",
        "float[N,1,4] y, float[N,4,2] cache_out, float[1,N,8] h_out",
        w=floats("w", 6, 4, 3), gw=floats("gw", 1, 24, 6), gr=floats("gr", 1, 24, 8), gb=floats("gb", 1, 48) * 8,
        m=floats("m", 8, 4),
    )  # fmt: skip


@row
def many_grus() -> onnx.ModelProto:
    """A denoiser: three GRUs in a row and across, dense layers between, a mask on the input."""
    return net(
        """a = MatMul (x, w1)  b = Tanh (a)  t = Transpose <perm=[1,0,2]> (b)
           g1 = GRU <hidden_size=8> (t, w, r, bb)  ax = Constant <value = int64[1] {1}> ()  s1 = Squeeze (g1, ax)
           g2 = GRU <hidden_size=8, linear_before_reset=1> (s1, w_2, r_2, bb)  s2 = Squeeze (g2, ax)
           c = Concat <axis=2> (s1, s2)  g3 = GRU <hidden_size=8> (c, w_3, r)  s3 = Squeeze (g3, ax)
           d = Transpose <perm=[1,0,2]> (s3)  e = MatMul (d, w2)  f = Add (e, b2)  m = Sigmoid (f)  y = Mul (m, x)""",
        "float[N,T,12] x", "float[N,T,12] y", opset=13,
        w1=floats("w1", 12, 8), w=floats("w", 1, 24, 8), r=floats("r", 1, 24, 8), bb=floats("bb", 1, 48),
        w_2=floats("w_2", 1, 24, 8), r_2=floats("r_2", 1, 24, 8), w_3=floats("w_3", 1, 24, 16),
        w2=floats("w2", 8, 12), b2=floats("b2", 12),
    )  # fmt: skip


@row
def lstm_inside_if() -> onnx.ModelProto:
    """A voice detector: the sampling rate chooses a branch, each with layers of its own, one weight from outside."""
    branch = """{k}a = Conv <strides=[2], pads=[1,1]> (x, {k}w)  {k}b = Relu ({k}a)
        {k}c = Transpose <perm=[2,0,1]> ({k}b)
        {k}d, {k}h, {k}e = LSTM <hidden_size=8> ({k}c, {k}lw, lr, , , h, c)
        {k}f = Squeeze ({k}h, first)  {k}g = MatMul ({k}f, m)  {k}y = Sigmoid ({k}g)"""
    one, two = branch.format(k="p"), branch.format(k="q")
    outs = "float[N,1] {k}y, float[1,N,8] {k}h, float[1,N,8] {k}e"
    model = net(
        f"""first = Constant <value = int64[1] {{0}}> ()  fast = Constant <value = int64 {{16000}}> ()
            is = Equal (sr, fast)
            y, hn, cn = If (is) <then_branch = th () => ({outs.format(k="p")}) {{ {one} }},
                                 else_branch = el () => ({outs.format(k="q")}) {{ {two} }}>""",
        "float[N,1,16] x, int64 sr, float[1,N,8] h, float[1,N,8] c", "float[N,1] y, float[1,N,8] hn, float[1,N,8] cn",
        opset=16, ir_version=8, pw=floats("pw", 6, 1, 3), qw=floats("qw", 6, 1, 3), plw=floats("plw", 1, 32, 6),
        lr=floats("lr", 1, 32, 8), m=floats("m", 8, 1),
    )  # fmt: skip
    own = {tensor.name: tensor for tensor in model.graph.initializer}
    inner = model.graph.node[-1].attribute[1].g
    inner.initializer.append(numpy_helper.from_array(floats("qlw", 1, 32, 6), "qlw"))
    inner.initializer.append(own["qw"])
    model.graph.initializer.remove(own["qw"])
    return model


@row
def loop_with_layers_inside() -> onnx.ModelProto:
    """A Loop whose body holds two layers: one weight its own Constant, the other captured."""
    model = net(
        """n = Constant <value = int64 {3}> ()  t = Constant <value = bool {1}> ()
           a = MatMul (x, win)  z = Loop (n, t, a) <body = b (int64 i, bool c, float[N,8] v) => (bool c2, float[N,8] v2)
           { c2 = Identity (c)  k = Constant <value = float[1] {0.0}> ()  p = MatMul (v, k)  q = Tanh (p)
             s = MatMul (q, w)  v2 = Add (s, v) }>
           y = MatMul (z, wout)""",
        "float[N,6] x", w=floats("w", 8, 8), win=floats("win", 6, 8), wout=floats("wout", 8, 4),
    )  # fmt: skip
    body = model.graph.node[3].attribute[0].g
    body.node[1].attribute[0].t.CopyFrom(numpy_helper.from_array(floats("k", 8, 8)))
    return model


@row
def scan_over_time() -> onnx.ModelProto:
    """A hand-written recurrent cell in a Scan, weights captured."""
    return net(
        """t = Transpose <perm=[1,0,2]> (x)  z = Expand (zero, sh)
           hn, hs = Scan <num_scan_inputs=1, body = b (float[1,8] h, float[1,5] f) => (float[1,8] h2, float[1,8] o)
           { p = MatMul (f, w)  q = MatMul (h, r)  s = Add (p, q)  h2 = Tanh (s)  o = Identity (h2) }> (z, t)
           u = Transpose <perm=[1,0,2]> (hs)  y = MatMul (u, m)""",
        "float[1,T,5] x", "float[1,T,4] y", zero=np.zeros((1, 1), np.float32), sh=ints(1, 8),
        w=floats("w", 5, 8), r=floats("r", 8, 8), m=floats("m", 8, 4),
    )  # fmt: skip


@row
def nested_if_in_loop() -> onnx.ModelProto:
    """An If inside a Loop, its branches with layers and values captured through two floors."""
    return net(
        """n = Constant <value = int64 {3}> ()  t = Constant <value = bool {1}> ()
           one = Constant <value = int64 {1}> ()
           z = Loop (n, t, x) <body = b (int64 i, bool c, float[N,8] v) => (bool c2, float[N,8] v2)
           { c2 = Identity (c)  even = Equal (i, one)
             v2 = If (even) <then_branch = th () => (float[N,8] e) { d = MatMul (v, w)  e = Relu (d) },
                             else_branch = el () => (float[N,8] g) { f = MatMul (v, w2)  g = Add (f, x) }> }>
           y = MatMul (z, m)""",
        "float[N,8] x", w=floats("w", 8, 8), w2=floats("w2", 8, 8), m=floats("m", 8, 4),
    )  # fmt: skip


@row
def quantized_in_part() -> onnx.ModelProto:
    """The first convolution already lies between QuantizeLinear and DequantizeLinear, its weight in int8."""
    return net(
        """q = QuantizeLinear (x, xs, xz)  d = DequantizeLinear (q, xs, xz)  w = DequantizeLinear (wq, ws, wz)
           a = Conv <pads=[1,1,1,1]> (d, w)  b = Relu (a)  e = Conv <pads=[1,1,1,1]> (b, v)  f = GlobalAveragePool (e)
           g = Flatten (f)  y = MatMul (g, m)""",
        xs=np.float32(0.03), xz=np.uint8(128), ws=np.float32(0.01), wz=np.int8(0),
        wq=(floats("wq", 6, 3, 3, 3) * 100).clip(-127, 127).astype(np.int8), v=floats("v", 6, 6, 3, 3),
        m=floats("m", 6, 4),
    )  # fmt: skip


@row
def integer_operators_inside() -> onnx.ModelProto:
    """QLinearConv as somebody else's quantizer left it, float layers behind it."""
    return net(
        """q = QuantizeLinear (x, xs, xz)  a = QLinearConv <pads=[1,1,1,1]> (q, xs, xz, wq, ws, wz, ys, yz)
           b = DequantizeLinear (a, ys, yz)  c = Relu (b)  e = Conv <pads=[1,1,1,1]> (c, v)  f = GlobalAveragePool (e)
           g = Flatten (f)  y = MatMul (g, m)""",
        xs=np.float32(0.03), xz=np.uint8(128), ws=np.float32(0.01), wz=np.int8(0), ys=np.float32(0.05),
        yz=np.uint8(128), wq=(floats("wq", 6, 3, 3, 3) * 100).clip(-127, 127).astype(np.int8),
        v=floats("v", 6, 6, 3, 3), m=floats("m", 6, 4),
    )  # fmt: skip


@row
def half_precision() -> onnx.ModelProto:
    """Everything in float16, inputs and outputs too."""
    half = {
        name: array.astype(np.float16)
        for name, array in {"w": floats("w", 8, 3, 3, 3), "b": floats("b", 8), "m": floats("m", 8, 64)}.items()
    }
    return net(
        """a = Conv <pads=[1,1,1,1]> (x, w, b)  c = Relu (a)  d = GlobalAveragePool (c)  e = Flatten (d)
           y = MatMul (e, m)""",
        "float16[N,3,8,8] x", "float16[N,64] y", **half,
    )  # fmt: skip


@row
def mixed_precision() -> onnx.ModelProto:
    """Weights stored in float16 behind a Cast, computed in float32."""
    return net(
        """w = Cast <to=1> (w0)  a = Conv <pads=[1,1,1,1]> (x, w)  c = Relu (a)  d = GlobalAveragePool (c)
           e = Flatten (d)  h = Cast <to=10> (e)  k = MatMul (h, m)  y = Cast <to=1> (k)""",
        w0=floats("w0", 6, 3, 3, 3).astype(np.float16), m=floats("m", 6, 4).astype(np.float16),
    )  # fmt: skip


@row
def double_precision() -> onnx.ModelProto:
    """Everything in float64."""
    return net(
        "a = MatMul (x, w)  b = Relu (a)  y = MatMul (b, m)", "double[N,6] x", "double[N,4] y",
        w=floats("w", 6, 16).astype(np.float64), m=floats("m", 16, 4).astype(np.float64),
    )  # fmt: skip


@row
def operators_of_the_runtime() -> onnx.ModelProto:
    """FusedMatMul, FusedConv and Gelu of `com.microsoft` between plain layers: left alone."""
    return net(
        """a = com.microsoft.FusedMatMul <transB=1> (x, w)  b = com.microsoft.Gelu (a)  c = MatMul (b, v)  d = Relu (c)
           y = MatMul (d, m)""",
        "float[N,6] x", opset=17, ir_version=8, domains=(("com.microsoft", 1),),
        w=floats("w", 16, 6), v=floats("v", 16, 16), m=floats("m", 16, 4),
    )  # fmt: skip


@row
def a_local_function() -> onnx.ModelProto:
    """A dense layer as a function of the file's own, called twice."""
    model = parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17, "own": 1]>
        g (float[N,8] x) => (float[N,4] y) { a = own.Dense (x, w)  b = own.Dense (a, v)  y = MatMul (b, m) }
        <domain: "own", opset_import: ["": 17]> Dense (i, k) => (o) { p = MatMul (i, k)  o = Relu (p) }"""
    )
    shapes = {"w": (8, 16), "v": (16, 8), "m": (8, 4)}
    model.graph.initializer.extend(numpy_helper.from_array(floats(n, *s), n) for n, s in shapes.items())
    return model


@row
def sequences_inside() -> onnx.ModelProto:
    """SplitToSequence, SequenceAt and ConcatFromSequence between layers."""
    return net(
        """a = MatMul (x, w)  q = SplitToSequence <axis=1> (a, eight)  z = Constant <value = int64 {0}> ()
           f = SequenceAt (q, z)  g = Relu (f)  l = ConcatFromSequence <axis=1> (q)  c = Concat <axis=1> (g, l)
           y = MatMul (c, m)""",
        "float[N,6] x", w=floats("w", 6, 16), m=floats("m", 24, 4), eight=np.int64(8),
    )  # fmt: skip


@row
def optional_inside() -> onnx.ModelProto:
    """Optional and OptionalGetElement, as scripted modules export them."""
    return net(
        "a = MatMul (x, w)  o = Optional (a)  b = OptionalGetElement (o)  c = Relu (b)  y = MatMul (c, m)",
        "float[N,6] x", opset=16, ir_version=8, w=floats("w", 6, 16), m=floats("m", 16, 4),
    )  # fmt: skip


@row
def shape_and_weight_in_one() -> onnx.ModelProto:
    """A constant that is a shape in one place and numbers in another; a weight whose shape is asked for."""
    return net(
        """a = MatMul (x, w)  r = Reshape (a, s)  f = Cast <to=1> (s)  b = Mul (r, f)  ws = Shape (w)
           wf = Cast <to=1> (ws)  sum = ReduceSum <keepdims=0> (wf)  c = Div (b, sum)  y = MatMul (c, m)""",
        "float[1,6] x", "float[2,4] y", w=floats("w", 6, 4), s=ints(2, 2), m=floats("m", 2, 4),
    )  # fmt: skip


@row
def all_zero_weights() -> onnx.ModelProto:
    """One layer of nothing but zeros, beside one that is alive."""
    return net(
        """a = Conv <pads=[1,1,1,1]> (x, w)  b = Conv <pads=[1,1,1,1]> (x, v)  c = Add (a, b)  d = Relu (c)
           e = GlobalAveragePool (d)  f = Flatten (e)  y = MatMul (f, m)""",
        w=np.zeros((6, 3, 3, 3), np.float32), v=floats("v", 6, 3, 3, 3), m=floats("m", 6, 4),
    )  # fmt: skip


@row
def dead_activations() -> onnx.ModelProto:
    """A ReLU that never fires, and a tensor that never changes."""
    return net(
        """a = Conv <pads=[1,1,1,1]> (x, w, low)  b = Relu (a)  c = Conv <pads=[1,1,1,1]> (b, v, vb)  d = Relu (c)
           k = Conv <pads=[1,1,1,1]> (x, u)  l = Add (d, k)  e = GlobalAveragePool (l)  f = Flatten (e)
           y = MatMul (f, m)""",
        w=floats("w", 6, 3, 3, 3), low=np.full(6, -1e3, np.float32), v=floats("v", 6, 6, 3, 3),
        vb=floats("vb", 6), u=floats("u", 6, 3, 3, 3), m=floats("m", 6, 4),
    )  # fmt: skip


@row
def odd_names() -> onnx.ModelProto:
    """Names with spaces, slashes, colons, quotes and letters of other alphabets; nodes nameless or of one name."""
    model = net(
        """a = Conv <pads=[1,1,1,1]> (x, w)  b = Relu (a)  c = Conv <pads=[1,1,1,1]> (b, v)  d = GlobalAveragePool (c)
           e = Flatten (d)  y = MatMul (e, m)""",
        w=floats("w", 6, 3, 3, 3), v=floats("v", 6, 6, 3, 3), m=floats("m", 6, 4),
    )  # fmt: skip
    odd = {"x": "in put:0", "w": 'weight/of "one"', "a": "::ä/β", "y": "вы/ход:0", "m": "m\n2"}
    for node in model.graph.node:
        node.input[:] = [odd.get(name, name) for name in node.input]
        node.output[:] = [odd.get(name, name) for name in node.output]
        node.name = "same" if node.op_type == "Conv" else ""
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        value.name = odd.get(value.name, value.name)
    return model


@row
def nameless_dimensions() -> onnx.ModelProto:
    """Dimensions without a number or a name, and a batch of 0, as old exporters write "free"."""
    model = several_inputs_and_outputs()
    for position, value in enumerate((*model.graph.input, *model.graph.output)):
        dim = value.type.tensor_type.shape.dim[0]
        dim.Clear()
        if position == 0:
            dim.dim_value = 0
    return model


@row
def output_is_a_constant() -> onnx.ModelProto:
    """Anchors: an initializer is a graph output, and is read inside too."""
    return net(
        "a = MatMul (x, w)  b = Relu (a)  c = Add (b, anchors)  y = MatMul (c, m)",
        "float[N,6] x", "float[N,4] y, float[1,8] anchors",
        w=floats("w", 6, 8), m=floats("m", 8, 4), anchors=floats("anchors", 1, 8),
    )  # fmt: skip


@row
def output_is_an_input() -> onnx.ModelProto:
    """An input is an output, as it came, without a node between."""
    return net(
        "a = MatMul (x, w)  b = Relu (a)  y = MatMul (b, m)",
        "float[N,6] x, float[N,3] id", "float[N,4] y, float[N,3] id",
        w=floats("w", 6, 8), m=floats("m", 8, 4),
    )  # fmt: skip


@row
def output_read_inside() -> onnx.ModelProto:
    """What a convolution gives is an output, and goes on; so does the ReLU behind it."""
    return net(
        """a = Conv <pads=[1,1,1,1]> (x, w)  b = Relu (a)  c = Conv <pads=[1,1,1,1]> (b, v)  d = GlobalAveragePool (c)
           e = Flatten (d)  y = MatMul (e, m)""",
        outputs="float[N,4] y, float[N,6,8,8] a, float[N,6,8,8] b",
        w=floats("w", 6, 3, 3, 3), v=floats("v", 6, 6, 3, 3), m=floats("m", 6, 4),
    )  # fmt: skip


@row
def unused_initializers() -> onnx.ModelProto:
    """Weights that nobody reads, one of them large; a node that leads nowhere."""
    return net(
        "a = MatMul (x, w)  b = Relu (a)  y = MatMul (b, m)  nowhere = MatMul (b, dead)", "float[N,6] x",
        w=floats("w", 6, 8), m=floats("m", 8, 4), dead=floats("dead", 8, 8), idle=floats("idle", 64, 64),
    )  # fmt: skip


@row
def unsorted_graph() -> onnx.ModelProto:
    """Nodes in any order, which ONNX forbids and some tools write."""
    model = net(
        "a = MatMul (x, w)  b = Relu (a)  y = MatMul (b, m)", "float[N,6] x", w=floats("w", 6, 8), m=floats("m", 8, 4)
    )
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(reversed(nodes))
    return model


@row
def detector_head() -> onnx.ModelProto:
    """Boxes in pixels beside scores of 0 to 1 in one tensor, as single-shot detectors end."""
    return net(
        """a = Conv <pads=[1,1,1,1]> (x, w)  b = Relu (a)  c = Conv (b, wb, bb)  d = Conv (b, ws)  s = Sigmoid (d)
           e = Mul (c, stride)  f = Concat <axis=1> (e, s)  y = Reshape (f, sh)""",
        outputs="float[N,7,64] y", w=floats("w", 8, 3, 3, 3), wb=floats("wb", 4, 8, 1, 1), bb=floats("bb", 4),
        ws=floats("ws", 3, 8, 1, 1), stride=np.asarray([320, 320, 100, 100], np.float32).reshape(1, 4, 1, 1),
        sh=ints(0, 7, -1),
    )  # fmt: skip


@row
def detector_head_in_one_convolution() -> onnx.ModelProto:
    """One convolution gives boxes and scores; they are split, worked on apart, and put together again."""
    return net(
        """a = Conv <pads=[1,1,1,1]> (x, w)  b = Relu (a)  c = Conv (b, wo)  xy, wh, cl = Split <axis=1> (c, parts)
           s = Sigmoid (xy)  e = Exp (wh)  k = Mul (s, big)  l = Mul (e, big)  p = Sigmoid (cl)
           f = Concat <axis=1> (k, l, p)  y = Reshape (f, sh)""",
        outputs="float[N,7,64] y", w=floats("w", 8, 3, 3, 3), wo=floats("wo", 7, 8, 1, 1), parts=ints(2, 2, 3),
        big=np.float32(320), sh=ints(0, 7, -1),
    )  # fmt: skip


@row
def wake_word() -> onnx.ModelProto:
    """Features [N, 16, 96] flattened, dense layers with LayerNormalization in parts, a sigmoid."""
    return net(
        """f = Flatten (x)  a = Gemm <transB=1> (f, w, b)  mean = ReduceMean <axes=[-1]> (a)  c = Sub (a, mean)
           two = Constant <value = float {2.0}> ()  p = Pow (c, two)  v = ReduceMean <axes=[-1]> (p)
           eps = Constant <value = float {0.00001}> ()  ve = Add (v, eps)  sd = Sqrt (ve)  n = Div (c, sd)
           g = Mul (n, lg)  h = Add (g, lb)  r = Relu (h)  k = Gemm <transB=1> (r, w2, b2)  y = Sigmoid (k)""",
        "float[N,4,12] x", "float[N,1] y", opset=11, ir_version=6,
        w=floats("w", 16, 48), b=floats("b", 16), lg=floats("lg", 16) + 1, lb=floats("lb", 16),
        w2=floats("w2", 1, 16), b2=floats("b2", 1),
    )  # fmt: skip


@row
def large_ir_version() -> onnx.ModelProto:
    """A new IR version and opset."""
    return net(
        "a = MatMul (x, w)  b = Relu (a)  y = MatMul (b, m)", "float[N,6] x", opset=24, ir_version=12,
        w=floats("w", 6, 8), m=floats("m", 8, 4),
    )  # fmt: skip


@row
def brain_floats() -> onnx.ModelProto:
    """Weights stored in bfloat16, computed in float32."""
    model = net(
        "w = Cast <to=1> (wb)  a = MatMul (x, w)  b = Relu (a)  y = MatMul (b, m)", "float[N,6] x", m=floats("m", 16, 4)
    )
    bits = (floats("w", 6, 16).view(np.uint32) >> 16).astype(np.uint16)
    tensor = onnx.TensorProto(name="wb", data_type=onnx.TensorProto.BFLOAT16, dims=[6, 16], raw_data=bits.tobytes())
    model.graph.initializer.append(tensor)
    return model


@row
def zero_size_tensors() -> onnx.ModelProto:
    """Resize with an empty region of interest, and a Concat with nothing."""
    return net(
        """a = Conv <pads=[1,1,1,1]> (x, w)  c0 = Concat <axis=1> (a, empty)  u = Resize <mode="nearest"> (c0, roi, sc)
           y = Conv <pads=[1,1,1,1]> (u, v)""",
        "float[1,3,8,8] x", "float[1,2,16,16] y", opset=11, w=floats("w", 4, 3, 3, 3), v=floats("v", 2, 4, 3, 3),
        roi=np.zeros(0, np.float32), sc=np.asarray([1, 1, 2, 2], np.float32), empty=np.zeros((1, 0, 8, 8), np.float32),
    )  # fmt: skip


@row
def separable_with_clips() -> onnx.ModelProto:
    """Depthwise and pointwise convolutions, ReLU6 with bounds as inputs, a residual, HardSwish in parts."""
    return net(
        """a = Conv <pads=[1,1,1,1], group=6> (p, dw)  b = Clip (a, lo, hi)  c = Conv (b, pw, pb)  d = Add (c, p)
           h3 = Constant <value = float {3.0}> ()  e = Add (d, h3)  f = Clip (e, lo, hi)  g = Mul (d, f)
           six = Constant <value = float {6.0}> ()  k = Div (g, six)  l = GlobalAveragePool (k)  m0 = Flatten (l)
           y = Gemm (m0, m, mb)""",
        "float[N,6,8,8] p", lo=np.float32(0), hi=np.float32(6), dw=floats("dw", 6, 1, 3, 3),
        pw=floats("pw", 6, 6, 1, 1), pb=floats("pb", 6), m=floats("m", 6, 4), mb=floats("mb", 4),
    )  # fmt: skip


@row
def attention_block() -> onnx.ModelProto:
    """Queries, keys and values by one product, split and reshaped; weights on both sides of a product."""
    return net(
        """a = MatMul (x, qkv)  q, k, v = Split <axis=2> (a)  q4 = Reshape (q, hs)  k4 = Reshape (k, hs)
           v4 = Reshape (v, hs)  qt = Transpose <perm=[0,2,1,3]> (q4)  kt = Transpose <perm=[0,2,3,1]> (k4)
           vt = Transpose <perm=[0,2,1,3]> (v4)  s = MatMul (qt, kt)  p = Softmax <axis=3> (s)  o = MatMul (p, vt)
           ot = Transpose <perm=[0,2,1,3]> (o)  oo = Reshape (ot, ss)  z = MatMul (oo, wo)  y = Add (z, x)""",
        "float[N,T,8] x", "float[N,T,8] y", qkv=floats("qkv", 8, 24), hs=ints(0, 0, 2, 4), ss=ints(0, 0, 8),
        wo=floats("wo", 8, 8),
    )  # fmt: skip


@row
def transposed_products() -> onnx.ModelProto:
    """Gemm with transA, alpha and beta, a bias for all channels, a constant on the left, a batch of matrices."""
    return net(
        """a = Gemm <transA=1, alpha=0.5, beta=2.0> (x, w, one)  b = Relu (a)  c = MatMul (left, b)
           u = Unsqueeze (c, ax)  d = MatMul (u, stack)  e = ReduceSum <keepdims=0> (d, ax)
           y = Gemm <beta=0.0> (e, m, mb)""",
        "float[6,8] x", "float[5,4] y", w=floats("w", 6, 8), one=np.float32(0.25), left=floats("left", 5, 8),
        ax=ints(0), stack=floats("stack", 3, 8, 8), m=floats("m", 8, 4), mb=floats("mb", 4),
    )  # fmt: skip


@row
def value_of_outside_given_back() -> onnx.ModelProto:
    """Branches that give back what they captured, through an Identity that must stay; an output named twice."""
    return net(
        """a = MatMul (x, w)  zero = Constant <value = float {0.0}> ()  s = ReduceSum <keepdims=0> (a)
           is = Greater (s, zero)
           b = If (is) <then_branch = th () => (float[N,8] t) { t = Identity (a) },
                        else_branch = el () => (float[N,8] e) { e = Relu (a) }>
           c = Identity (b)  copy = Identity (c)  d = Relu (c)  y = MatMul (d, m)""",
        "float[N,6] x", "float[N,4] y, float[N,8] c, float[N,8] copy", w=floats("w", 6, 8), m=floats("m", 8, 4),
    )  # fmt: skip


@row
def old_operators_inside_bodies() -> onnx.ModelProto:
    """Opset 11: attributes that became inputs in 13, in the branches of an If and beside it."""
    return net(
        """a = Conv <pads=[1,1,1,1]> (x, w)  b = Relu (a)  g = GlobalAveragePool (b)
           zero = Constant <value = float {0.0}> ()  s = ReduceSum <keepdims=0> (g)  is = Greater (s, zero)
           f = If (is) <then_branch = th () => (float[N,6] t) { t = Squeeze <axes=[2,3]> (g) },
                        else_branch = el () => (float[N,6] e) { h = Relu (g)  e = Squeeze <axes=[2,3]> (h) }>
           k = MatMul (f, m)  u = Unsqueeze <axes=[1]> (k)  y = Squeeze <axes=[1]> (u)""",
        opset=11, ir_version=6, w=floats("w", 6, 3, 3, 3), m=floats("m", 6, 4),
    )  # fmt: skip


@row
def half_precision_with_a_norm() -> onnx.ModelProto:
    """A batch norm in float16: folding it rounds more than the floor of parity allows."""
    half = {
        name: array.astype(np.float16)
        for name, array in {"w": floats("w", 16, 3, 3, 3), **norm("n", 16), "m": floats("m", 16, 4)}.items()
    }
    return net(
        """a = Conv <pads=[1,1,1,1]> (x, w)  b = BatchNormalization (a, n_g, n_b, n_m, n_v)  c = Relu (b)
           d = GlobalAveragePool (c)  e = Flatten (d)  y = MatMul (e, m)""",
        "float16[N,3,8,8] x", "float16[N,4] y", **half,
    )  # fmt: skip


@row
def no_small_example() -> onnx.ModelProto:
    """A network that takes no picture below 32 pixels: the usual example of 16 does not run."""
    return net(
        """a = Conv <strides=[4,4]> (x, w)  b = Relu (a)  c = Conv (b, v)  d = GlobalAveragePool (c)  e = Flatten (d)
           y = MatMul (e, m)""",
        "float[N,3,h,h2] x", w=floats("w", 6, 3, 8, 8), v=floats("v", 6, 6, 5, 5), m=floats("m", 6, 4),
    )  # fmt: skip
