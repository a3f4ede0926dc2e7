use super::*;

fn entry(adapter: &str, driver: &str, n: u64, width: u32) -> Entry {
    let files = vec!["softmax".to_owned()];
    Entry {
        kernel: "softmax".into(),
        hash: shader_hash(&files).unwrap(),
        files,
        adapter: adapter.into(),
        driver: driver.into(),
        backend: "Vulkan".into(),
        device_type: "Cpu".into(),
        bucket: bucket(&[("n", n)]),
        values: BTreeMap::from([("WIDTH".to_owned(), width)]),
        invocations: width,
        workgroup_bytes: 0,
        seconds: 1.0,
        default_seconds: 2.0,
    }
}

fn table(entries: &[Entry]) -> VariantTable {
    let mut table = VariantTable::default();
    for entry in entries.iter().rev() {
        table.insert(entry.clone());
    }
    table
}

const TARGET: Target = Target {
    adapter: "a",
    driver: "1",
    backend: "Vulkan",
    device_type: "Cpu",
    invocations: 256,
    workgroup_bytes: 16384,
};

fn width(table: &VariantTable, n: u64) -> Option<(u32, Source)> {
    let choice = table.lookup("softmax", &[("n", n)], &TARGET)?;
    Some((choice.get("WIDTH")?, choice.source))
}

#[test]
fn the_nearest_device_wins_then_the_nearest_shape() {
    let all = table(&[
        entry("b", "1", 1024, 8),
        entry("a", "2", 1024, 16),
        entry("a", "1", 64, 32),
        entry("a", "1", 2048, 64),
    ]);
    assert_eq!(width(&all, 1000), Some((64, Source::Exact)));
    assert_eq!(width(&all, 100), Some((32, Source::Exact)));
    let choice = all.lookup("softmax", &[("n", 100)], &TARGET).unwrap();
    assert_eq!(choice.file(), Some("softmax"));
    let others = table(&[entry("b", "1", 1024, 8), entry("a", "2", 1024, 16)]);
    assert_eq!(width(&others, 1024), Some((16, Source::Adapter)));
    let similar = table(&[entry("b", "1", 1024, 8)]);
    assert_eq!(width(&similar, 1024), Some((8, Source::Similar)));
}

#[test]
fn without_a_fitting_entry_there_is_no_choice() {
    let all = table(&[entry("a", "1", 1024, 8)]);
    assert_eq!(width(&all, 1 << 20), None, "ten octaves away");
    assert_eq!(all.lookup("matmul", &[("n", 1024)], &TARGET), None);
    assert_eq!(all.lookup("softmax", &[("m", 1024)], &TARGET), None);
    assert_eq!(
        width(&table(&[entry("a", "1", 1024, 512)]), 1024),
        None,
        "not launchable"
    );
    let mut other = entry("a", "1", 1024, 8);
    other.device_type = "DiscreteGpu".into();
    assert_eq!(width(&table(&[other]), 1024), None);
}

#[test]
fn entries_of_other_texts_are_dropped() {
    let good = entry("a", "1", 1024, 8);
    let mut old = entry("a", "2", 1024, 8);
    old.hash = "0".into();
    let mut outside = entry("a", "3", 1024, 8);
    outside.files.clear();
    let left = table(&[old, good.clone(), outside]).current();
    assert_eq!(left.entries(), [good]);
}

#[test]
fn a_choice_for_every_shape_is_current() {
    let adapter = AdapterDescription {
        index: 0,
        name: "a".into(),
        backend: "Vulkan".into(),
        device_type: "Cpu".into(),
        driver: "1".into(),
        features: Vec::new(),
        subgroup_sizes: None,
        limits: Vec::new(),
    };
    let table = VariantTable::always(&adapter, "softmax", "softmax", &[("WIDTH", 8)]).current();
    for n in [1, 1 << 30] {
        assert_eq!(width(&table, n), Some((8, Source::Exact)));
    }
}

#[test]
fn a_table_survives_its_file() {
    let all = table(&[entry("a", "1", 1024, 8), entry("b", "1", 64, 16)]);
    assert_eq!(VariantTable::parse(&all.to_text()), Ok(all.clone()));
    assert_eq!(
        VariantTable::parse("# a remark\n\n"),
        Ok(VariantTable::default())
    );
    assert!(
        VariantTable::parse("{}\n")
            .unwrap_err()
            .starts_with("line 1: ")
    );
    let mut again = all.clone();
    again.insert(entry("b", "1", 64, 32));
    assert_eq!(again.entries().len(), 2, "the same key is replaced");
    assert_eq!(width(&again, 1024), Some((8, Source::Exact)));
}

#[test]
fn a_kernel_from_outside_leaves_ours_alone() {
    let ours = entry("a", "1", 1024, 8);
    let mut theirs = ours.clone();
    (theirs.files, theirs.hash) = (Vec::new(), "1".into());
    let mut again = theirs.clone();
    again.hash = "2".into();
    let all = table(&[theirs.clone(), again.clone(), ours.clone()]);
    assert_eq!(all.entries(), [theirs, again, ours]);
}

#[test]
fn shipped_tables_can_be_read() {
    for text in SHIPPED {
        for entry in VariantTable::parse(text).unwrap().entries() {
            // Another hash is no mistake: a changed kernel has its default until it is tuned again.
            assert!(shader_hash(&entry.files).is_some(), "{:?}", entry.files);
            assert!(entry.seconds <= entry.default_seconds);
        }
    }
}

#[test]
fn buckets_and_hashes() {
    let one = bucket(&[("m", 1000), ("k", 1), ("n", 1500)]);
    assert_eq!(one, bucket(&[("n", 2000), ("k", 0), ("m", 800)]));
    assert_eq!(one["n"], 2048);
    assert_ne!(text_hash(&["ab", "c"]), text_hash(&["a", "bc"]));
    assert_eq!(text_hash::<&str>(&[]), "cbf29ce484222325");
    assert!(shader_hash(&["no_such_file".into()]).is_none());
    let alone = shader_hash(&["common/index".into()]);
    assert_ne!(alone, shader_hash(&["softmax".into()]), "imports count");
}
