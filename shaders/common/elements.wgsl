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

// Of values that are 0 or less.
fn exponential(e: E) -> E {
    return E(exp_nonpositive(e.x), exp_nonpositive(e.y), exp_nonpositive(e.z), exp_nonpositive(e.w));
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
    return exp_nonpositive(e);
}
#endif

fn columns() -> u32 {
    return params.length / LANES;
}
