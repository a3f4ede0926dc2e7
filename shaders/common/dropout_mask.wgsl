// The mask of dropout as bits, 1 where an element stays. `op` and `threshold` are parameters of the kernel.
#import common/philox

// Bit j < 4: whether element 4 * block + j stays.
fn mask_four(seed: vec4<u32>, block: u32) -> u32 {
    let words = random_words(seed, params.op, block);
    let mask = select(vec4<u32>(0u), vec4<u32>(1u, 2u, 4u, 8u), words >= vec4<u32>(params.threshold));
    return mask.x | mask.y | mask.z | mask.w;
}
