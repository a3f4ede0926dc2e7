// Random words for a kernel with the binding `state` and the parameter `op`.
#import common/philox

fn random_state() -> vec4<u32> {
    return vec4<u32>(state[0], state[1], state[2], state[3]);
}

// The words of elements 4 * block to 4 * block + 3.
fn words_of(block: u32) -> vec4<u32> {
    return random_words(random_state(), params.op, block);
}
