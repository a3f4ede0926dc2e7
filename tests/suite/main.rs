//! Everything that needs the whole library: one test binary, so that it links once.

mod causal_lm;
mod check_indices;
mod decoders;
mod emulated;
mod large_table;
mod layers;
mod memory;
mod modules;
mod op_matrix;
mod optim;
mod pytorch;
mod random;
mod resident_memory;
mod shaders;
mod special_values;
mod tables;
mod tape;
mod tidy;
mod trigonometry;
