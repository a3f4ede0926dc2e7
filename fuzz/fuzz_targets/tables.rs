#![no_main]
//! Tables for training: the first byte chooses the format.

use libfuzzer_sys::fuzz_target;
use wgrad_train::data::{Columns, LabelOptions, read_table, read_texts};

fuzz_target!(|data: &[u8]| {
    let Some((first, data)) = data.split_first() else {
        return;
    };
    let name = ["table.csv", "table.tsv", "table.jsonl"][usize::from(first % 3)];
    let path = wgrad_fuzz::file(name, data);
    for pair in [None, Some("b")] {
        let columns = Columns {
            text: "text",
            text_pair: pair,
            label: Some("label"),
        };
        if let Ok(table) = read_table(&path, &columns, &LabelOptions::default()) {
            let _ = (table.class_counts(), table.len());
        }
        let _ = read_texts(&path, "text", pair);
    }
});
