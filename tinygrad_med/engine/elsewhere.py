"""Well-known names of PyTorch's that are elsewhere, or not here at all, and what to use instead."""

from __future__ import annotations

import re

NAMES = {
    "Function": "it is tinygrad_med.autograd.Function",
    "check_op": "it is tinygrad_med.testing.check_op",
    "gradcheck": "it is tinygrad_med.testing.gradcheck",
    "gradgradcheck": "it is tinygrad_med.testing.gradgradcheck",
    "jacobian": "it is tinygrad_med.autograd.functional.jacobian",
    "hessian": "it is tinygrad_med.autograd.functional.hessian",
    "vjp": "it is tinygrad_med.autograd.functional.vjp",
    "jvp": "it is tinygrad_med.autograd.functional.jvp",
    "func": "tinygrad_med.autograd.functional has jacobian, hessian, vjp and jvp",
    "vmap": "give the function a batch as first dim, or loop over it",
    "forward_ad": "this engine goes backward alone; autograd.functional.jvp gives products with a direction",
    "Variable": "a tensor holds requires_grad itself: tensor(…, requires_grad=True)",
    "set_detect_anomaly": "use detect_anomaly(), in a with statement or on a function",
    "profiler": "use Python's: python -m cProfile, or %prun in a notebook",
    "compile": "there is nothing to compile; leave it out",
    "jit": "there is nothing to compile; leave it out",
    "GradScaler": "it is tinygrad_med.amp.GradScaler",
    "mps": "there are two kinds of device, cpu and cuda",
    "hub": "weights come with their model, as models.resnet18(pretrained=True), or from a file, by load()",
    "onnx": "models can't be exported; save() writes their weights to .safetensors",
    "sparse": "there are dense tensors alone",
    "fft": "there are no complex numbers; NumPy has numpy.fft, outside of the graph",
    "complex64": "there are no complex numbers",
    "complex128": "there are no complex numbers",
    "bfloat16": "the float dtypes are float16, float32 and float64; NumPy has no bfloat16",
    "set_default_tensor_type": "use set_default_dtype",
    "DataParallel": "one process computes on one device; leave it out",
    "special": "the functions have their plain names, as logit, xlogy, expm1 and logsumexp",
    "version": "ask __version__, and cuda.is_available()",
    "distributions": "draw with rand, randn, normal, poisson and multinomial",
    "multiprocessing": "use Python's; DataLoader(num_workers=…) starts its own",
    "export": "models can't be exported; save() writes their weights to .safetensors",
    "fusion": "model.fused() merges batch normalization into convolutions, for models in use",
    "swa_utils": "keep copies of the parameters, and average them under no_grad()",
    "prune": "set weights to 0, under no_grad()",
    "parametrizations": "compute the weight in forward",
    "new": "use new_tensor, new_zeros or new_full",
    "cross": "it is tinygrad_med.linalg.cross, along the last dim",
    "vander": "it is tinygrad_med.linalg.vander, whose powers increase",
    "inverse": "it is tinygrad_med.linalg.inv",
    "pinverse": "it is tinygrad_med.linalg.pinv",
    "svd": "it is tinygrad_med.linalg.svd, which gives the transpose of v",
    "chain_matmul": "it is tinygrad_med.linalg.multi_dot",
    "ger": "it is outer",
    "range": "use arange, which leaves the end out",
    "gradient": "use diff",
    "unravel_index": "NumPy has it: numpy.unravel_index",
    "typename": "use type(x).__name__, and x.dtype",
    "to_dlpack": "from_dlpack takes whatever holds memory, and so do NumPy's and CuPy's",
    "set_printoptions": "print x.numpy(), which follows numpy.set_printoptions",
    "pdist": "use cdist(x, x) and its elements above the diagonal",
    "renorm": "multiply by (largest / norm).clamp(max=1)",
    "sum_to_size": "sum over the dims, with keepdim",
    "put": "use x.flatten(), and index_put or index_add on that",
    "put_": "use x.view(-1)[index] = value",
    "volatile": "use no_grad(), in a with statement or on a function",
    "register_post_accumulate_grad_hook": "use register_hook, whose function gets the gradient",
    "LinAlgError": "a matrix that can't be inverted or factored is a ValueError here",
    "ChainedScheduler": "an optimizer has one schedule; multiply the factors in a LambdaLR",
    "Buffer": "use register_buffer, in a module",
    "bilinear": "it is tinygrad_med.nn.functional.bilinear",
    "clip_grads_with_norm_": "clip_grad_norm_ computes the norm and clips",
    "get_total_norm": "clip_grad_norm_ returns it",
}
"""By name."""

KINDS = [
    (
        "there are no recurrent layers; write the loop over time with Linear",
        r"(RNN|LSTM|GRU)(Cell|Base|CellBase)? (rnn|lstm|gru)(_\w+)?",
    ),
    (
        "write it with Linear and F.scaled_dot_product_attention",
        r"Transformer\w* MultiheadAttention multi_head_attention_forward attention",
    ),
    (
        "say the number of inputs, with the layer's plain name",
        r"Lazy\w+ Uninitialized\w+",
    ),
    (
        "there is no loss for sequences without alignment",
        r"CTCLoss ctc_loss",
    ),
    (
        "use CrossEntropyLoss",
        r"AdaptiveLogSoftmaxWithLoss LinearCrossEntropy\w+ linear_cross_entropy",
    ),
    (
        "PyTorch's name for it ends with an underscore",
        r"constant eye dirac orthogonal uniform (xavier|kaiming)_(normal|uniform) clip_grad_norm",
    ),
    (
        "use interpolate",
        r"upsample_\w+",
    ),
    (
        "use leaky_relu, whose slope does not change",
        r"RReLU rrelu_?",
    ),
    (
        "use alpha_dropout",
        r"FeatureAlphaDropout feature_alpha_dropout",
    ),
    (
        "use multilabel_soft_margin_loss",
        r"MultiLabelMarginLoss multilabel_margin_loss",
    ),
    (
        "use scatter_reduce",
        r"(index|segment)_reduce_?",
    ),
    (
        "use unique, or compare x[1:] with x[:-1]",
        r"unique_consecutive",
    ),
    (
        "the result of an operation has it: (x + y).dtype",
        r"result_type promote_types can_cast",
    ),
    (
        "use histc",
        r"histogram\w*",
    ),
    (
        "use from_numpy, of what NumPy reads",
        r"frombuffer from_file",
    ),
    (
        "say device= where a tensor is made, and move modules by .to(device)",
        r"[gs]et_default_device",
    ),
    (
        "write it in Python: what runs is what is recorded",
        r"cond while_loop",
    ),
    (
        "use linalg.svd, and its first values",
        r"(pca|svd)_lowrank",
    ),
    (
        "write it with operations, or with NumPy, outside of the graph: tensor(f(x.numpy()))",
        r"map_ apply_",
    ),
    (
        "draw them with NumPy: x.copy_(tensor(…))",
        r"(cauchy|geometric|log_normal)_",
    ),
    (
        "use split or chunk",
        r"unsafe_(split|chunk)\w*",
    ),
    (
        "use nonzero",
        r"nonzero_static",
    ),
    (
        "all numbers are real; leave it out",
        r"real isreal conj\w* view_as_real",
    ),
    (
        "use Embedding, and the sum or mean over its items",
        r"EmbeddingBag embedding_bag",
    ),
    (
        "use MaxPool2d, or LocalResponseNorm",
        r"(F|f)ractional_?(M|m)ax_?(P|p)ool\w* CrossMapLRN2d",
    ),
    (
        "it is tinygrad_med.parallel.SyncBatchNorm",
        r"SyncBatchNorm",
    ),
    (
        "tinygrad_med.parallel trains on several processes",
        r"Distributed\w+ DistributedSampler distributed parallel",
    ),
    (
        "the layers stand in nn itself: nn.Conv2d",
        r"modules",
    ),
    (
        "use Dataset or IterableDataset",
        r"(Map|Iter|DFIter)DataPipe DataChunk \w*datapipe\w*",
    ),
    (
        "there are dense tensors alone",
        r"\w*(sparse|Sparse|coalesce|_indices|crow_|ccol_|dense_dim|to_dense)\w* smm spmm [hs]s[pm]m dsmm ",
        r"saddmm",
    ),
    (
        "there are no quantized numbers; weights can be kept in float16",
        r"\w*quant\w* q(u?int\d\w*|_\w+|scheme) u?int[1-7] bits\w* float[48]_\w+ int_repr fbgemm_\w+",
    ),
    (
        "the integer dtypes are int64, int32, int16 and uint8",
        r"uint(16|32|64) int8 char",
    ),
    (
        "there are no complex numbers",
        r"c(omplex|double|float|half|half)\w* complex\d+ \w*complex\w* polar angle imag is_conj resolve_\w+ ",
        r"eig eigvals",
    ),
    (
        "there are no complex numbers; SciPy has scipy.signal, outside of the graph",
        r"i?stft \w+_window",
    ),
    (
        "SciPy and NumPy have it, outside of the graph: tensor(f(x.numpy()))",
        r"lgamma mvlgamma m?v?igammac? polygamma digamma erfinv erfc i0 hash_tensor nextafter frexp gcd lcm ",
        r"lobpcg",
    ),
    (
        "tinygrad_med.amp has autocast and GradScaler",
        r"\w*autocast\w*",
    ),
    (
        "there is nothing to set; leave it out",
        r"\w*(deterministic|flush_denormal|float32_matmul_precision|interop|warn_always|vulkan)\w*",
    ),
    (
        "it is a program of PyTorch's own; use the function of the plain name",
        r"(cudnn|miopen|mkldnn|native|_?cufft)_\w+ has_(lapack|mkl|openmp|spectral)",
    ),
    (
        "memory is NumPy's; use views, reshape, or item assignment",
        r"\w+_(copy|scatter) as_strided\w* (new_)?empty_(strided|permuted) (const_)?data_ptr ",
        r"set_ resize_as_ resize_ resize storage\w* untyped_storage ",
        r"\w+Storage",
    ),
    (
        "there is nothing to compile; leave it out",
        r"(Script|Compilation|Jit|JIT)\w* import_ir_module\w* parse_\w+ sym_\w+ Sym\w+ fork wait",
    ),
    (
        "there are two kinds of device, cpu and cuda",
        r"xpu ipu mtia maia is_(xpu|ipu|xla|mps|mtia|maia|meta|vulkan|mkldnn|nested|quantized)",
    ),
    (
        "use linalg.solve, linalg.qr or linalg.cholesky",
        r"lu lu_\w+ ldl_\w+ geqrf or(gqr|mqr) triangular_solve symeig solve_ex inv_ex cholesky_ex ",
        r"householder_product",
    ),
    (
        "use linalg.pinv(a) @ b, or linalg.solve(a.T @ a, a.T @ b)",
        r"lstsq",
    ),
    (
        "use linalg.eigh, of a symmetric matrix: v @ diag(exp(e)) @ v.T",
        r"matrix_exp",
    ),
    (
        "use Adam or AdamW",
        r"Adafactor Muon ASGD Rprop SparseAdam",
    ),
    (
        "divide the weight by its norm in forward",
        r"\w*spectral_norm weight_norm",
    ),
    (
        "model.fused() merges batch normalization into convolutions, for models in use",
        r"fuse_\w+",
    ),
    (
        "tinygrad_med.cuda has what there is for cards",
        r"Stream Event \w+Stream OutOfMemoryError",
    ),
    (
        "leave it out; memory is NumPy's and CuPy's",
        r"pin_memory is_pinned share_memory_ is_shared record_stream",
    ),
    (
        "put RandomApply and RandomChoice together from the transforms that there are",
        r"\w*Rand(Augment|AugmentPolicy) TrivialAugmentWide AugMix AutoAugment\w* MixUp CutMix",
    ),
    (
        "use the transforms of torchvision's first version: ToTensor, Normalize, Compose …",
        r"v2 ToImage ToDtype ToPureTensor",
    ),
]
"""What to use, and the patterns of the names that it is for, between spaces."""

_KINDS = [(text, re.compile("|".join(" ".join(patterns).split()))) for text, *patterns in KINDS]


def advice(name: str) -> str | None:
    """What to use instead of a name of PyTorch's; `None` where it is not known here."""
    if name in NAMES:
        return NAMES[name]
    return next((text for text, pattern in _KINDS if pattern.fullmatch(name)), None)
