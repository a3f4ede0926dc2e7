// How the kernels for GPUs load four elements of an operand of any layout. A_ALONG_M: a is contiguous along M, else
// along K; B_ALONG_K: b along K, else N; VEC_A, VEC_B: elements are loaded as vectors, so sides, strides and starts
// are multiples of 4. `alias F` in a kernel is the type it computes with, which may differ from the operands' types.
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
    if (row + {j}u < params.m && k < params.k) {
        v[{j}] = F(a[at + {j}u * params.a_row]);
    }
#else
    if (row < params.m && k + {j}u < params.k) {
        v[{j}] = F(a[at + {j}u * params.a_col]);
    }
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
    if (k + {j}u < params.k && col < params.n) {
        v[{j}] = F(b[at + {j}u * params.b_row]);
    }
#else
    if (k < params.k && col + {j}u < params.n) {
        v[{j}] = F(b[at + {j}u * params.b_col]);
    }
#endif
#endrepeat
#endif
    return v;
}
