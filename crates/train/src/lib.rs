//! Data, the training loop, checkpoints and reports
