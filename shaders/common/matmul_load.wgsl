// How the kernels for GPUs load four elements of an operand of any layout. A_ALONG_M: a is contiguous along M, else
// along K; B_ALONG_K: b along K, else N; VEC_A, VEC_B: elements are loaded as vectors, so sides, strides and starts
// are multiples of 4. Other operands load element by element and without branches: for a product of 8 rows these
// would be 48, and SwiftShader's compiler takes minutes and 17 GB for them. `alias F` in a kernel is the type it
// computes with, which may differ from the operands' types.
#import common/matmul

// Four neighbours of a from (row, k) on; zeros beyond the edge.
fn load_a(start: u32, row: u32, k: u32) -> vec4<F> {
    var v = vec4<F>();
    let at = start + row * params.a_row + k * params.a_col;
#ifdef VEC_A
    if (row < params.m && k < params.k) {
        v = vec4<F>(a[at / 4u]);
    }
#else
#repeat j 4
#ifdef A_ALONG_M
    let in{j} = row + {j}u < params.m && k < params.k;
    v[{j}] = select(F(), F(a[select(start, at + {j}u * params.a_row, in{j})]), in{j});
#else
    let in{j} = row < params.m && k + {j}u < params.k;
    v[{j}] = select(F(), F(a[select(start, at + {j}u * params.a_col, in{j})]), in{j});
#endif
#endrepeat
#endif
    return v;
}

// Four neighbours of b from (k, col) on; zeros beyond the edge.
fn load_b(start: u32, k: u32, col: u32) -> vec4<F> {
    var v = vec4<F>();
    let at = start + k * params.b_row + col * params.b_col;
#ifdef VEC_B
    if (k < params.k && col < params.n) {
        v = vec4<F>(b[at / 4u]);
    }
#else
#repeat j 4
#ifdef B_ALONG_K
    let in{j} = k + {j}u < params.k && col < params.n;
    v[{j}] = select(F(), F(b[select(start, at + {j}u * params.b_row, in{j})]), in{j});
#else
    let in{j} = k < params.k && col + {j}u < params.n;
    v[{j}] = select(F(), F(b[select(start, at + {j}u * params.b_col, in{j})]), in{j});
#endif
#endrepeat
#endif
    return v;
}
