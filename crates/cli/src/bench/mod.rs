//! `wgrad bench`: how fast ops and training steps are on this adapter.

mod models;
mod ops;
mod peer;
mod time;
mod train;

use anyhow::Result;
use clap::Subcommand;

/// Time ops and training steps on this adapter
#[derive(clap::Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Matmul(ops::MatmulArgs),
    Ops(ops::OpsArgs),
    Train(train::TrainArgs),
    /// One case of the comparison with other engines, as a line of JSON
    #[command(hide = true)]
    Peer(peer::PeerArgs),
}

/// Runs `wgrad bench`.
pub fn run(args: BenchArgs) -> Result<()> {
    match args.what {
        What::Matmul(args) => ops::matmul(args),
        What::Ops(args) => ops::run(args),
        What::Train(args) => train::run(args),
        What::Peer(args) => peer::run(args),
    }
}
