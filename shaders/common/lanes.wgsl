// The positions of 32 neighbours that share a tile of 8 x 4 pieces: each loads the same piece of one side as its
// neighbour, and the same piece of the other side as the invocation after that. GPUs then serve twice as many at once.
fn lane_x(lane: u32) -> u32 {
    return (lane & 1u) | (lane >> 1u & 6u);
}

fn lane_y(lane: u32) -> u32 {
    return (lane >> 1u & 1u) | (lane >> 3u & 2u);
}
