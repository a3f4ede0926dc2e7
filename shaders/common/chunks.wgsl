// A pass over a dimension in chunks: which output and which chunk value `id` of its result belongs to. With COLUMNS
// neighbours take neighbouring outputs.
#import common/index

// The output and the chunk.
fn output_chunk(id: u32) -> vec2<u32> {
#ifdef COLUMNS
    let c = id / params.outputs;
    return vec2<u32>(id - c * params.outputs, c);
#else
    let o = id / params.chunks;
    return vec2<u32>(o, id - o * params.chunks);
#endif
}

// Where output `o` begins in x.
fn start_of(o: u32) -> u32 {
    return params.offset
        + walk8(o, params.kept_shape[0], params.kept_shape[1], params.kept_strides[0], params.kept_strides[1]);
}
