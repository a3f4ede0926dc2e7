#![no_main]
//! Saved results of `wgrad bench`: reading, comparing, the page.

use libfuzzer_sys::fuzz_target;
use wgrad_tune::bench::Results;
use wgrad_tune::bench::report::page;

fuzz_target!(|data: &str| {
    if let Ok(results) = Results::parse("saved.json", data) {
        let compared = results.compare(&results);
        let cautions = results.cautions(&results);
        let _ = page(&results, "before", &compared, &cautions);
        let _ = results.to_json(&compared);
    }
});
