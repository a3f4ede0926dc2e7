// Does nothing: what a launch costs, and the place of a timestamp between launches.
// math: none
// shapes: y (1), never written
// launch: any grid
// numerics: none
// backward: none, it is for measuring only
// reference: y as it was

@group(0) @binding(1) var<storage, read_write> y: array<u32>; // (1)

@compute @workgroup_size(64)
fn peak_empty(@builtin(global_invocation_id) id: vec3<u32>) {
    // Never true, but a compiler cannot know it, so the launch keeps its binding and its barrier.
    if (id.x == 0xffffffffu) {
        y[0] = id.x;
    }
}
