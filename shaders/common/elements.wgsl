// The element type of kernels on rows: E is one value, or with VECTORS four; V is its type in memory.
#import common/math

#ifdef VECTORS
alias E = vec4<f32>;

fn hsum(e: E) -> f32 {
    return (e.x + e.y) + (e.z + e.w);
}

fn hmax(e: E) -> f32 {
    return max(max(e.x, e.y), max(e.z, e.w));
}

fn exponential(e: E) -> E {
    return E(precise_exp(e.x), precise_exp(e.y), precise_exp(e.z), precise_exp(e.w));
}
#else
alias E = f32;

fn hsum(e: E) -> f32 {
    return e;
}

fn hmax(e: E) -> f32 {
    return e;
}

fn exponential(e: E) -> E {
    return precise_exp(e);
}
#endif

fn columns() -> u32 {
    return params.length / LANES;
}
