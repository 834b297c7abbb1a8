"""The operations, sorted by difficulty: elementwise, shape and indexing, reduce, matmul, loss, conv, resize, pool,
normalization; and `query`, which asks without computing anything to differentiate."""

from tinygrad_med.ops.conv import (
    conv2d as conv2d,
)
from tinygrad_med.ops.conv import (
    conv_transpose2d as conv_transpose2d,
)
from tinygrad_med.ops.conv import (
    fold as fold,
)
from tinygrad_med.ops.conv import (
    unfold as unfold,
)
from tinygrad_med.ops.elementwise import (
    abs as abs,
)
from tinygrad_med.ops.elementwise import (
    add as add,
)
from tinygrad_med.ops.elementwise import (
    bitwise_and as bitwise_and,
)
from tinygrad_med.ops.elementwise import (
    bitwise_not as bitwise_not,
)
from tinygrad_med.ops.elementwise import (
    bitwise_or as bitwise_or,
)
from tinygrad_med.ops.elementwise import (
    bitwise_xor as bitwise_xor,
)
from tinygrad_med.ops.elementwise import (
    ceil as ceil,
)
from tinygrad_med.ops.elementwise import (
    clamp as clamp,
)
from tinygrad_med.ops.elementwise import (
    clamp_max as clamp_max,
)
from tinygrad_med.ops.elementwise import (
    clamp_min as clamp_min,
)
from tinygrad_med.ops.elementwise import (
    clip as clip,
)
from tinygrad_med.ops.elementwise import (
    clone as clone,
)
from tinygrad_med.ops.elementwise import (
    cos as cos,
)
from tinygrad_med.ops.elementwise import (
    div as div,
)
from tinygrad_med.ops.elementwise import (
    eq as eq,
)
from tinygrad_med.ops.elementwise import (
    erf as erf,
)
from tinygrad_med.ops.elementwise import (
    exp as exp,
)
from tinygrad_med.ops.elementwise import (
    expm1 as expm1,
)
from tinygrad_med.ops.elementwise import (
    floor as floor,
)
from tinygrad_med.ops.elementwise import (
    floordiv as floordiv,
)
from tinygrad_med.ops.elementwise import (
    ge as ge,
)
from tinygrad_med.ops.elementwise import (
    gelu as gelu,
)
from tinygrad_med.ops.elementwise import (
    gt as gt,
)
from tinygrad_med.ops.elementwise import (
    isfinite as isfinite,
)
from tinygrad_med.ops.elementwise import (
    isinf as isinf,
)
from tinygrad_med.ops.elementwise import (
    isnan as isnan,
)
from tinygrad_med.ops.elementwise import (
    le as le,
)
from tinygrad_med.ops.elementwise import (
    leaky_relu as leaky_relu,
)
from tinygrad_med.ops.elementwise import (
    log as log,
)
from tinygrad_med.ops.elementwise import (
    log1p as log1p,
)
from tinygrad_med.ops.elementwise import (
    log2 as log2,
)
from tinygrad_med.ops.elementwise import (
    logical_and as logical_and,
)
from tinygrad_med.ops.elementwise import (
    logical_not as logical_not,
)
from tinygrad_med.ops.elementwise import (
    logical_or as logical_or,
)
from tinygrad_med.ops.elementwise import (
    logical_xor as logical_xor,
)
from tinygrad_med.ops.elementwise import (
    logsigmoid as logsigmoid,
)
from tinygrad_med.ops.elementwise import (
    lt as lt,
)
from tinygrad_med.ops.elementwise import (
    masked_fill as masked_fill,
)
from tinygrad_med.ops.elementwise import (
    maximum as maximum,
)
from tinygrad_med.ops.elementwise import (
    minimum as minimum,
)
from tinygrad_med.ops.elementwise import (
    mul as mul,
)
from tinygrad_med.ops.elementwise import (
    ne as ne,
)
from tinygrad_med.ops.elementwise import (
    neg as neg,
)
from tinygrad_med.ops.elementwise import (
    pow as pow,
)
from tinygrad_med.ops.elementwise import (
    reciprocal as reciprocal,
)
from tinygrad_med.ops.elementwise import (
    relu as relu,
)
from tinygrad_med.ops.elementwise import (
    remainder as remainder,
)
from tinygrad_med.ops.elementwise import (
    round as round,
)
from tinygrad_med.ops.elementwise import (
    rsqrt as rsqrt,
)
from tinygrad_med.ops.elementwise import (
    sigmoid as sigmoid,
)
from tinygrad_med.ops.elementwise import (
    sign as sign,
)
from tinygrad_med.ops.elementwise import (
    sin as sin,
)
from tinygrad_med.ops.elementwise import (
    softplus as softplus,
)
from tinygrad_med.ops.elementwise import (
    sqrt as sqrt,
)
from tinygrad_med.ops.elementwise import (
    square as square,
)
from tinygrad_med.ops.elementwise import (
    sub as sub,
)
from tinygrad_med.ops.elementwise import (
    tanh as tanh,
)
from tinygrad_med.ops.elementwise import (
    to_device as to_device,
)
from tinygrad_med.ops.elementwise import (
    where as where,
)
from tinygrad_med.ops.indexing import (
    gather as gather,
)
from tinygrad_med.ops.indexing import (
    getitem as getitem,
)
from tinygrad_med.ops.indexing import (
    index as index,
)
from tinygrad_med.ops.indexing import (
    index_select as index_select,
)
from tinygrad_med.ops.loss import (
    binary_cross_entropy as binary_cross_entropy,
)
from tinygrad_med.ops.loss import (
    binary_cross_entropy_with_logits as binary_cross_entropy_with_logits,
)
from tinygrad_med.ops.loss import (
    cross_entropy as cross_entropy,
)
from tinygrad_med.ops.loss import (
    l1_loss as l1_loss,
)
from tinygrad_med.ops.loss import (
    mse_loss as mse_loss,
)
from tinygrad_med.ops.loss import (
    nll_loss as nll_loss,
)
from tinygrad_med.ops.matmul import (
    bmm as bmm,
)
from tinygrad_med.ops.matmul import (
    dot as dot,
)
from tinygrad_med.ops.matmul import (
    einsum as einsum,
)
from tinygrad_med.ops.matmul import (
    linear as linear,
)
from tinygrad_med.ops.matmul import (
    matmul as matmul,
)
from tinygrad_med.ops.matmul import (
    mm as mm,
)
from tinygrad_med.ops.matmul import (
    outer as outer,
)
from tinygrad_med.ops.normalization import (
    batch_norm as batch_norm,
)
from tinygrad_med.ops.normalization import (
    group_norm as group_norm,
)
from tinygrad_med.ops.normalization import (
    layer_norm as layer_norm,
)
from tinygrad_med.ops.pool import (
    adaptive_avg_pool2d as adaptive_avg_pool2d,
)
from tinygrad_med.ops.pool import (
    adaptive_max_pool2d as adaptive_max_pool2d,
)
from tinygrad_med.ops.pool import (
    avg_pool2d as avg_pool2d,
)
from tinygrad_med.ops.pool import (
    max_pool2d as max_pool2d,
)
from tinygrad_med.ops.query import (
    allclose as allclose,
)
from tinygrad_med.ops.query import (
    equal as equal,
)
from tinygrad_med.ops.query import (
    nonzero as nonzero,
)
from tinygrad_med.ops.query import (
    unique as unique,
)
from tinygrad_med.ops.reduce import (
    ValuesAndIndices as ValuesAndIndices,
)
from tinygrad_med.ops.reduce import (
    all as all,
)
from tinygrad_med.ops.reduce import (
    amax as amax,
)
from tinygrad_med.ops.reduce import (
    amin as amin,
)
from tinygrad_med.ops.reduce import (
    any as any,
)
from tinygrad_med.ops.reduce import (
    argmax as argmax,
)
from tinygrad_med.ops.reduce import (
    argmin as argmin,
)
from tinygrad_med.ops.reduce import (
    argsort as argsort,
)
from tinygrad_med.ops.reduce import (
    cumsum as cumsum,
)
from tinygrad_med.ops.reduce import (
    log_softmax as log_softmax,
)
from tinygrad_med.ops.reduce import (
    logsumexp as logsumexp,
)
from tinygrad_med.ops.reduce import (
    max as max,
)
from tinygrad_med.ops.reduce import (
    mean as mean,
)
from tinygrad_med.ops.reduce import (
    min as min,
)
from tinygrad_med.ops.reduce import (
    norm as norm,
)
from tinygrad_med.ops.reduce import (
    prod as prod,
)
from tinygrad_med.ops.reduce import (
    softmax as softmax,
)
from tinygrad_med.ops.reduce import (
    sort as sort,
)
from tinygrad_med.ops.reduce import (
    std as std,
)
from tinygrad_med.ops.reduce import (
    sum as sum,
)
from tinygrad_med.ops.reduce import (
    topk as topk,
)
from tinygrad_med.ops.reduce import (
    var as var,
)
from tinygrad_med.ops.resize import interpolate as interpolate
from tinygrad_med.ops.shape import (
    cat as cat,
)
from tinygrad_med.ops.shape import (
    chunk as chunk,
)
from tinygrad_med.ops.shape import (
    expand as expand,
)
from tinygrad_med.ops.shape import (
    expand_as as expand_as,
)
from tinygrad_med.ops.shape import (
    flatten as flatten,
)
from tinygrad_med.ops.shape import (
    flip as flip,
)
from tinygrad_med.ops.shape import (
    narrow as narrow,
)
from tinygrad_med.ops.shape import (
    pad as pad,
)
from tinygrad_med.ops.shape import (
    permute as permute,
)
from tinygrad_med.ops.shape import (
    repeat as repeat,
)
from tinygrad_med.ops.shape import (
    reshape as reshape,
)
from tinygrad_med.ops.shape import (
    split as split,
)
from tinygrad_med.ops.shape import (
    squeeze as squeeze,
)
from tinygrad_med.ops.shape import (
    stack as stack,
)
from tinygrad_med.ops.shape import (
    t as t,
)
from tinygrad_med.ops.shape import (
    transpose as transpose,
)
from tinygrad_med.ops.shape import (
    tril as tril,
)
from tinygrad_med.ops.shape import (
    triu as triu,
)
from tinygrad_med.ops.shape import (
    unbind as unbind,
)
from tinygrad_med.ops.shape import (
    unsqueeze as unsqueeze,
)
from tinygrad_med.ops.shape import (
    view as view,
)
from tinygrad_med.ops.shape import (
    view_as as view_as,
)
