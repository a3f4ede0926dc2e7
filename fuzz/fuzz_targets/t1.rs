#![no_main]
//! T1 inputs of Kernel Tuner: what is made of one is a spec, or an error.

use libfuzzer_sys::fuzz_target;
use wgrad_tune::tuner::expr::Expr;
use wgrad_tune::tuner::spec::Spec;
use wgrad_tune::tuner::t1;

fuzz_target!(|data: &str| {
    if let Ok((_, text)) = t1::import(data) {
        let _ = Spec::parse("t1", &text);
    }
    // An expression of Python's that is read says the same when it is read again.
    if let Ok(expr) = Expr::from_python(data) {
        Expr::parse(expr.text()).expect("an expression in the spec's syntax");
    }
});
