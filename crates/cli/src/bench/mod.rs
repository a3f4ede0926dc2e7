//! `wgrad bench`: the speed of kernels, training steps and decoding on this adapter, against the adapter's measured
//! limits.

mod case;
mod count;
mod cpu;
mod decode;
mod inferena;
mod kernels;
mod least;
mod memory;
mod models;
mod output;
mod peer;
mod steps;
mod table;
mod time;
mod train;

use anyhow::Result;
use clap::Subcommand;

/// Time kernels, training steps and decoding against the adapter's measured limits
#[derive(clap::Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Peak(kernels::PeakArgs),
    Ops(kernels::OpsArgs),
    Rows(kernels::RowsArgs),
    Matmul(kernels::MatmulArgs),
    Attention(kernels::AttentionArgs),
    Train(Box<train::TrainArgs>),
    Decode(decode::DecodeArgs),
    Inferena(inferena::InferenaArgs),
    Count(count::CountArgs),
    #[command(alias = "gpu-table")]
    Table(table::TableArgs),
    /// One case of the comparison with other engines, as a line of JSON
    #[command(hide = true)]
    Peer(peer::PeerArgs),
}

/// Runs `wgrad bench`.
pub fn run(args: BenchArgs) -> Result<()> {
    match args.what {
        What::Peak(args) => kernels::peak(args),
        What::Ops(args) => kernels::ops(args),
        What::Rows(args) => kernels::rows(args),
        What::Matmul(args) => kernels::matmul(args),
        What::Attention(args) => kernels::attention(args),
        What::Train(args) => train::run(*args),
        What::Decode(args) => decode::run(args),
        What::Inferena(args) => inferena::run(args),
        What::Count(args) => count::run(args),
        What::Table(args) => table::run(args),
        What::Peer(args) => peer::run(args),
    }
}
