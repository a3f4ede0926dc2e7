// Matrix product for subgroups of 8 on Mesa's software adapter: operands as textures (a texel load costs
// a tenth of a storage load there), columns that rotate among the lanes, no workgroup memory, no barrier.
// math: as matmul
// shapes: as matmul; one stride of each operand is 1, the other a multiple of 4, so are K and all starts
//   (A_ALONG_M: a lies contiguous along M, else along K; B_ALONG_K: b along K, else along N)
// launch: ROWS (32 or 64) x 32 outputs a subgroup of 8, one subgroup a workgroup, grid (N / 32, M / ROWS, batch);
//   with b along N the tiles are ordered in bands of 8 rows of tiles, column after column; FEW: ROWS = M, at most 8, a
//   lies along K, no sums of rows
// numerics: as matmul
// backward: as matmul
// reference: matmul
#import common/matmul

// Lane l loads columns 4 l .. 4 l + 3 of the tile and row `row_of(h, l)` of every group h of 8. Accumulator 8 h + r
// holds the sums of that row and of the columns of lane l ^ r.
#repeat i ROWS
var<private> c{i}: vec4<f32>;
#endrepeat

fn row_of(h: u32, lane: u32) -> u32 {
#ifdef A_ALONG_M
    return h / 4u * 32u + lane * 4u + h % 4u;
#else
    return h * 8u + lane;
#endif
}

@compute @workgroup_size(8)
fn matmul_subgroup(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let batch = params.first_batch + group.z;
    let tiles = tiles_of(ROWS, 32u);
    let number = tile_number(group, groups);
#ifdef B_ALONG_K
    // Here bands of tiles gain nothing over rows of tiles.
    let tile = vec2<u32>(number % tiles.x, number / tiles.x);
#else
    let tile = tile_in_bands(number, tiles);
#endif
    let row0 = tile.y * ROWS;
    let col = tile.x * 32u + lane * 4u;
    let a0 = params.a_offset + batch_start(batch, params.a_batch);
    let b0 = params.b_offset + batch_start(batch, params.b_batch);
    // Rows and columns beyond the edge repeat the last one; they are not stored.
    let last_row = params.m - 1u;
    let last_col = params.n - 1u;
#ifdef A_ALONG_M
#repeat h ROWS / 32
    let a_at{h} = (a0 + min(row0 + {h * 32}u + lane * 4u, last_row & ~3u)) / 4u;
#endrepeat
    let a_step = params.a_col / 4u;
#else
#ifdef FEW
#repeat h ROWS
    let a_at{h} = (a0 + {h}u * params.a_row) / 4u;
#endrepeat
#else
#repeat h ROWS / 8
    let a_at{h} = (a0 + min(row0 + {h * 8}u + lane, last_row) * params.a_row) / 4u;
#endrepeat
#endif
#endif
#ifdef B_ALONG_K
#repeat j 4
    let b_at{j} = (b0 + min(col + {j}u, last_col) * params.b_col) / 4u;
#endrepeat
#else
    let b_at = (b0 + min(col, last_col & ~3u)) / 4u;
    let b_step = params.b_row / 4u;
#endif
#ifdef ROW_SUMS
#ifdef A_ALONG_M
#repeat h ROWS / 32
    var r{h} = vec4<f32>();
#endrepeat
#else
#repeat h ROWS / 8
    var r{h} = vec4<f32>();
#endrepeat
#endif
#endif
    // The shuffle keeps Mesa from compiling the kernel again for every k (see decision 0003).
    let inner = subgroupShuffle(params.k, 0u);
    for (var k = 0u; k < inner; k += 4u) {
#ifdef FEW
#repeat h ROWS
        let t{h} = textureLoad(a, at_texel(a_at{h} + k / 4u));
#endrepeat
#else
        // Component j of v{q} belongs to column col + j, lane l of s{q}_{h} to row_of(h, l); both to k + q.
#ifdef A_ALONG_M
#repeat h ROWS / 32
#repeat q 4
        let t{h}_{q} = textureLoad(a, at_texel(a_at{h} + (k + {q}u) * a_step));
#ifdef ROW_SUMS
        r{h} += t{h}_{q};
#endif
#endrepeat
#repeat j 4
#repeat q 4
        let s{q}_{4 * h + j} = t{h}_{q}[{j}];
#endrepeat
#endrepeat
#endrepeat
#else
#repeat h ROWS / 8
        let t{h} = textureLoad(a, at_texel(a_at{h} + k / 4u));
#ifdef ROW_SUMS
        r{h} += t{h};
#endif
#repeat q 4
        let s{q}_{h} = t{h}[{q}];
#endrepeat
#endrepeat
#endif
#endif
#ifdef B_ALONG_K
#repeat j 4
        let u{j} = textureLoad(b, at_texel(b_at{j} + k / 4u));
#endrepeat
#repeat q 4
        let v{q} = vec4<f32>(u0[{q}], u1[{q}], u2[{q}], u3[{q}]);
#endrepeat
#else
#repeat q 4
        let v{q} = textureLoad(b, at_texel(b_at + (k + {q}u) * b_step));
#endrepeat
#endif
#ifdef FEW
        // Every lane sums the rows of its own columns.
#repeat h ROWS
#repeat q 4
        c{h} += t{h}[{q}] * v{q};
#endrepeat
#endrepeat
#else
        // The columns rotate among the lanes: in round r, lane l holds those of lane l ^ r.
#repeat r 8
#repeat q 4
        let w{r}_{q} = subgroupShuffleXor(v{q}, {r}u);
#endrepeat
#repeat h ROWS / 8
#repeat q 4
        c{8 * h + r} += s{q}_{h} * w{r}_{q};
#endrepeat
#endrepeat
#endrepeat
#endif
    }
    let shift = shift_of(col);
#ifdef FEW
#repeat h ROWS
    put_four(batch, {h}u, col, c{h}, shift);
#endrepeat
#else
#repeat r 8
    let shift{r} = subgroupShuffleXor(shift, {r}u);
#endrepeat
#repeat h ROWS / 8
#repeat r 8
    put_four(batch, row0 + row_of({h}u, lane), tile.x * 32u + (lane ^ {r}u) * 4u, c{8 * h + r}, shift{r});
#endrepeat
#endrepeat
#ifdef ROW_SUMS
    if (tile.x == 0u) {
#ifdef A_ALONG_M
#repeat h ROWS / 32
#repeat j 4
        put_row_sum(batch, row0 + row_of({4 * h + j}u, lane), r{h}[{j}]);
#endrepeat
#endrepeat
#else
#repeat h ROWS / 8
        put_row_sum(batch, row0 + row_of({h}u, lane), (r{h}.x + r{h}.y) + (r{h}.z + r{h}.w));
#endrepeat
#endif
    }
#endif
#endif
}
