// Where 32 neighbours stand who share a tile of 8 x 4 pieces: each loads the same piece of one side as its neighbour,
// and of the other side as the one beside its neighbour. GPUs then serve twice as many of them at once.
fn lane_x(lane: u32) -> u32 {
    return (lane & 1u) | (lane >> 1u & 6u);
}

fn lane_y(lane: u32) -> u32 {
    return (lane >> 1u & 1u) | (lane >> 3u & 2u);
}
