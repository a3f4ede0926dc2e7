//! The tuner: a kernel's parameters, checked before they are timed, searched within a budget of time.
