#![no_main]
//! Tables of tuned choices.

use libfuzzer_sys::fuzz_target;
use wgrad_runtime::variants::VariantTable;

fuzz_target!(|data: &str| {
    if let Ok(table) = VariantTable::parse(data) {
        let again = table.to_text();
        VariantTable::parse(&again).expect("a table that was written");
        let _ = table.current();
    }
});
