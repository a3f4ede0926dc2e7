// Which elements dropout keeps, as bits: `op` and `threshold` are the kernel's parameters.
#import common/philox

// Bit j < 4: whether element 4 * block + j is kept.
fn keep_four(seed: vec4<u32>, block: u32) -> u32 {
    let words = random_words(seed, params.op, block);
    let kept = select(vec4<u32>(0u), vec4<u32>(1u, 2u, 4u, 8u), words >= vec4<u32>(params.threshold));
    return kept.x | kept.y | kept.z | kept.w;
}
