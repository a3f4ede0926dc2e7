//! Everything that needs the whole library: one test binary, so that it links once.

mod op_matrix;
