//! Layers, losses, initialisers, optimizers and schedules
