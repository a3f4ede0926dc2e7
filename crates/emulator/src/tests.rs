use super::*;

const MACHINE: Machine = Machine {
    subgroup_size: 32,
    checked: false,
    limit: None,
    counts: false,
};

/// Runs a kernel over one buffer of words (binding 0, read_write) and returns it.
fn run(text: &str, words: &[u32], grid: [u32; 3]) -> std::result::Result<Vec<u32>, String> {
    let program = Program::new(text, MACHINE).map_err(|e| e.to_string())?;
    let mut bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
    let mut bindings = [(0, Binding::ReadWrite(&mut bytes))];
    program
        .run(&mut bindings, grid)
        .map_err(|e| e.to_string())?;
    let word = |b: &[u8]| u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
    Ok(bytes.chunks(4).map(word).collect())
}

fn fails(text: &str, words: &[u32], grid: [u32; 3], with: &[&str]) {
    let error = run(text, words, grid).expect_err("a fault");
    for part in with {
        assert!(error.contains(part), "`{part}` is not in `{error}`");
    }
}

const OUT: &str = "@group(0) @binding(0) var<storage, read_write> out: array<u32>;\n";

#[test]
fn loops_switches_and_calls_by_mask() {
    let text = format!(
        "{OUT}
        fn steps(n: u32) -> u32 {{
            var x = n;
            var count = 0u;
            while (x > 1u) {{
                if (x % 2u == 0u) {{ x = x / 2u; }} else {{ x = 3u * x + 1u; }}
                count += 1u;
                if (count == 100u) {{ return 1000u; }}
            }}
            return count;
        }}
        @compute @workgroup_size(8)
        fn main(@builtin(global_invocation_id) id: vec3<u32>) {{
            var extra = 0u;
            switch id.x % 4u {{
                case 0u: {{ extra = 10u; }}
                case 1u, 2u: {{ if (id.x > 8u) {{ break; }} extra = 20u; }}
                default: {{ extra = 30u; }}
            }}
            for (var i = 0u; i < 5u; i++) {{
                if (i == id.x) {{ continue; }}
                extra += 100u;
            }}
            out[id.x] = steps(id.x + 1u) + extra;
        }}"
    );
    let collatz = |n: u32| {
        let (mut x, mut count) = (n, 0);
        while x > 1 {
            x = if x % 2 == 0 { x / 2 } else { 3 * x + 1 };
            count += 1;
            if count == 100 {
                return 1000;
            }
        }
        count
    };
    let expected: Vec<u32> = (0..32)
        .map(|i| {
            let extra = [
                10,
                if i > 8 { 0 } else { 20 },
                if i > 8 { 0 } else { 20 },
                30,
            ][i % 4];
            collatz(i as u32 + 1) + extra + if i < 5 { 400 } else { 500 }
        })
        .collect();
    assert_eq!(run(&text, &[0; 32], [4, 1, 1]), Ok(expected));
}

#[test]
fn a_tree_in_workgroup_memory_adds_up() {
    let text = format!(
        "{OUT}
        var<workgroup> part: array<u32, 64>;
        @compute @workgroup_size(64)
        fn main(@builtin(local_invocation_index) i: u32) {{
            part[i] = out[i];
            workgroupBarrier();
            for (var half = 32u; half > 0u; half /= 2u) {{
                if (i < half) {{ part[i] += part[i + half]; }}
                workgroupBarrier();
            }}
            if (i == 0u) {{ out[0] = part[0]; }}
        }}"
    );
    let words: Vec<u32> = (0..64).collect();
    assert_eq!(run(&text, &words, [1, 1, 1]).map(|out| out[0]), Ok(63 * 32));
    // One of the barriers is missing: the tree reads what its neighbours are still adding up.
    let racy = text.replace(
        "part[i + half]; }\n                workgroupBarrier();",
        "part[i + half]; }",
    );
    assert_ne!(racy, text);
    fails(
        &racy,
        &words,
        [1, 1, 1],
        &["race", "of `part`", "no barrier", "part[i + half]"],
    );
}

#[test]
fn a_race_of_two_workgroups_is_found() {
    let text = format!(
        "{OUT}
        @compute @workgroup_size(4)
        fn main(@builtin(global_invocation_id) id: vec3<u32>) {{ out[id.x / 5u] = id.x; }}"
    );
    fails(
        &text,
        &[0; 4],
        [1, 1, 1],
        &[
            "race",
            "invocation 1 writes byte 0 of `out`",
            "invocation 0",
        ],
    );
    let text = text.replace("id.x / 5u", "id.x % 4u");
    fails(
        &text,
        &[0; 4],
        [2, 1, 1],
        &["race", "workgroup 1", "workgroup 0"],
    );
    assert_eq!(run(&text, &[0; 4], [1, 1, 1]), Ok(vec![0, 1, 2, 3]));
}

#[test]
fn reading_unwritten_workgroup_memory_is_an_error() {
    let text = format!(
        "{OUT}
        var<workgroup> kept: array<u32, 8>;
        @compute @workgroup_size(8)
        fn main(@builtin(local_invocation_index) i: u32) {{
            if (i > 0u) {{ kept[i] = i; }}
            workgroupBarrier();
            out[i] = kept[i];
        }}"
    );
    fails(
        &text,
        &[0; 8],
        [1, 1, 1],
        &[
            "invocation 0 reads scalar 0",
            "`kept`",
            "nobody has written",
        ],
    );
    let machine = Machine {
        checked: true,
        ..MACHINE
    };
    let mut bytes = [0_u8; 32];
    let program = Program::new(&text, machine).expect("a program");
    let result = program.run(&mut [(0, Binding::ReadWrite(&mut bytes))], [1, 1, 1]);
    assert_eq!(result, Ok(BTreeMap::new()));
}

#[test]
fn an_index_out_of_bounds_is_reported_with_its_line() {
    let text = format!(
        "{OUT}
        @compute @workgroup_size(4)
        fn main(@builtin(local_invocation_index) i: u32) {{
            out[i + 1u] = i;
        }}"
    );
    fails(
        &text,
        &[0; 4],
        [1, 1, 1],
        &["invocation 3 takes element 4 of 4 in `out`", "line 5"],
    );
}

#[test]
fn a_barrier_that_some_do_not_reach_is_found() {
    let text = format!(
        "{OUT}
        @compute @workgroup_size(8)
        fn main(@builtin(local_invocation_index) i: u32) {{
            if (out[i] == 7u) {{ return; }}
            storageBarrier();
            out[i] = 1u;
        }}"
    );
    assert_eq!(run(&text, &[0; 8], [1, 1, 1]), Ok(vec![1; 8]));
    // naga sees it coming, as drivers do not.
    let seven = [0, 0, 0, 7, 0, 0, 0, 0];
    fails(
        &text,
        &seven,
        [1, 1, 1],
        &["divergent", "invocation 3 does not reach it"],
    );
}

#[test]
fn subgroups_have_the_size_they_are_given() {
    let text = format!(
        "{OUT}
        @compute @workgroup_size(64)
        fn main(@builtin(local_invocation_index) i: u32, @builtin(subgroup_size) size: u32) {{
            var sum = i;
            for (var step = 1u; step < size; step *= 2u) {{ sum += subgroupShuffleXor(sum, step); }}
            out[i] = sum + 10000u * subgroupExclusiveAdd(1u) + 1000000u * subgroupMax(i);
        }}"
    );
    for size in [8, 32, 64] {
        let machine = Machine {
            subgroup_size: size,
            ..MACHINE
        };
        let mut bytes = [0_u8; 256];
        let program = Program::new(&text, machine).expect("a program");
        program
            .run(&mut [(0, Binding::ReadWrite(&mut bytes))], [1, 1, 1])
            .expect("a run");
        for (i, word) in bytes.chunks(4).enumerate() {
            let first = i as u32 / size * size;
            let sum: u32 = (first..first + size).sum();
            let word = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
            let expected = sum + 10_000 * (i as u32 % size) + 1_000_000 * (first + size - 1);
            assert_eq!(word, expected, "invocation {i} of subgroups of {size}");
        }
    }
}

#[test]
fn atomics_do_not_race_with_each_other() {
    let text = "
        @group(0) @binding(0) var<storage, read_write> out: array<atomic<u32>>;
        @compute @workgroup_size(8)
        fn main(@builtin(local_invocation_index) i: u32) { atomicAdd(&out[i % 2u], i); }";
    assert_eq!(run(text, &[0; 2], [1, 1, 1]), Ok(vec![12, 16]));
    assert_eq!(run(text, &[0; 2], [3, 1, 1]), Ok(vec![36, 48]));
}

#[test]
fn matrix_units_multiply() {
    let text = format!(
        "enable f16;\nenable wgpu_cooperative_matrix;\n
        alias MA = coop_mat16x16<f16, A>;
        alias MB = coop_mat16x16<f16, B>;
        alias MC = coop_mat16x16<f32, C>;
        {OUT}
        var<workgroup> x: array<vec4<f16>, 64>;
        var<workgroup> y: array<f32, 16 * 20>;
        @compute @workgroup_size(32)
        fn main(@builtin(local_invocation_index) i: u32) {{
            for (var e = i; e < 64u; e += 32u) {{
                for (var j = 0u; j < 4u; j++) {{ x[e][j] = f16(out[e * 4u + j]); }}
            }}
            workgroupBarrier();
            storageBarrier();
            let a = coopLoadT<MA>(&x[0], 4u);
            let b = coopLoad<MB>(&x[0], 4u);
            var c: MC;
            c = coopMultiplyAdd(a, b, c);
            coopStoreT(c, &y[0], 20u);
            workgroupBarrier();
            for (var e = i; e < 256u; e += 32u) {{ out[e] = u32(y[e / 16u * 20u + e % 16u]); }}
        }}"
    );
    let x: Vec<u32> = (0..256).map(|i| i * 7 % 13).collect();
    // coopLoad reads the columns of b, so this is x times its own transpose.
    let dot = |r: usize, c: usize| (0..16).map(|k| x[r * 16 + k] * x[c * 16 + k]).sum::<u32>();
    let expected: Vec<u32> = (0..256).map(|e| dot(e / 16, e % 16)).collect();
    assert_eq!(run(&text, &x, [1, 1, 1]), Ok(expected));
    // The barrier of a subgroup orders no memory.
    let weak = text.replace(
        "20u);\n            workgroupBarrier",
        "20u);\n            subgroupBarrier",
    );
    assert_ne!(weak, text);
    fails(&weak, &x, [1, 1, 1], &["race", "subgroup 0 writes", "`y`"]);
}

#[test]
fn unsupported_features_are_refused() {
    let text = format!(
        "{OUT} @compute @workgroup_size(1) fn main() {{ let x = f64(out[0]); out[0] = u32(x); }}"
    );
    fails(
        &text,
        &[0],
        [1, 1, 1],
        &["64 bits is not emulated", "line 2"],
    );
}

/// What `text` asks for over a buffer of `n` words: sums over all of its lines.
fn count(text: &str, n: usize) -> Counts {
    let machine = Machine {
        counts: true,
        ..MACHINE
    };
    let mut bytes = vec![0; 4 * n];
    let program = Program::new(text, machine).expect("a program");
    let lines = program.run(&mut [(0, Binding::ReadWrite(&mut bytes))], [1, 1, 1]);
    let mut all = Counts::default();
    for counts in lines.expect("a run").into_values() {
        all += counts;
    }
    all
}

#[test]
fn memory_is_counted_as_a_gpu_serves_it() {
    let kernel = |body: &str| {
        format!(
            "{OUT}
            var<workgroup> one: array<f32, 1024>;
            var<workgroup> four: array<vec4<f32>, 64>;
            @compute @workgroup_size(32)
            fn main(@builtin(local_invocation_index) i: u32) {{ {body} }}"
        )
    };
    // Neighbours, every second word, and one word for all: 128 bytes, 32 of 8 and 4 sectors.
    for (at, bytes, sector_bytes) in [("i", 128, 128), ("2u * i", 128, 256), ("i - i", 4, 32)] {
        let counts = count(&kernel(&format!("let x = out[{at}]; one[i] = f32(x);")), 64);
        assert_eq!(
            (counts.bytes, counts.sector_bytes),
            (bytes, sector_bytes),
            "{at}"
        );
    }
    // Steps through workgroup memory: no conflict, two or 32 words of a bank, one word for all.
    for (at, passes) in [
        ("i", 1),
        ("2u * i", 2),
        ("32u * i", 32),
        ("33u * i % 1024u", 1),
    ] {
        let counts = count(&kernel(&format!("one[{at}] = 1.0;")), 1);
        assert_eq!((counts.passes, counts.least_passes), (passes, 1), "{at}");
    }
    // Vectors of 16 bytes: 8 invocations at once, 16 where pairs of neighbours load the same one.
    for (at, passes) in [
        ("i", 4),
        ("i / 2u", 2),
        ("i % 2u", 2),
        ("i / 16u", 2),
        ("i % 16u", 4),
    ] {
        let text = kernel(&format!(
            "four[i] = vec4<f32>(1.0); workgroupBarrier(); let x = four[{at}]; one[i] = x.y;"
        ));
        // The store of vectors takes 4, that of scalars 1.
        assert_eq!(count(&text, 1).passes, 4 + passes + 1, "{at}");
    }
    let counts = count(
        &kernel("one[i] = fma(f32(i), 2.0, 1.0) * dot(vec3<f32>(f32(i)), vec3<f32>());"),
        1,
    );
    assert_eq!(counts.float_operations, 32 * (2 + 6 + 1));
}
