//! The built `wgrad` command on a BERT of two small layers that each test writes for itself: what it
//! prints and writes, that a seed fixes every byte, that a killed run goes on as if nothing had been,
//! that frozen parts stay, that memory does not grow, and one line for every kind of bad input; and `wgrad tune`.

mod adapter;
mod bad_input;
mod bench;
mod causal_lm;
mod determinism;
mod diverged;
mod flags;
mod folders;
mod frozen;
mod generate;
mod heads;
mod output;
mod resume;
mod support;
mod tasks;
mod tune;
