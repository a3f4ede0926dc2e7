//! Timings: samples until they are stable, medians with intervals, shares of the roofline, comparison
//! with earlier results.
