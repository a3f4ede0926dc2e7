//! Commands as wgpu encodes them.

use super::command::Command;
use super::timestamps::Timed;

/// Puts `commands` into `encoder`; with `timed`, each launch into a pass of its own between two timestamps.
pub(super) fn encode(
    encoder: &mut wgpu::CommandEncoder,
    commands: &[Command],
    timed: Option<&Timed>,
) {
    let mut at = 0;
    while at < commands.len() {
        match &commands[at] {
            Command::Dispatch { .. } => {
                let writes = timed.and_then(|t| t.writes(at));
                let one = timed.is_some();
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                    label: None,
                    timestamp_writes: writes,
                });
                while let Some(Command::Dispatch {
                    pipeline,
                    bind_group,
                    params,
                    grid: [x, y, z],
                    ..
                }) = commands.get(at)
                {
                    pass.set_pipeline(pipeline);
                    pass.set_bind_group(0, bind_group, params.as_slice());
                    pass.dispatch_workgroups(*x, *y, *z);
                    at += 1;
                    if one {
                        break;
                    }
                }
                continue;
            }
            Command::Transfer(transfer) => transfer.encode(encoder),
            Command::Stamp(stamp) => stamp.encode(encoder),
            // `emulated::run` takes these out before anything is encoded.
            #[cfg(feature = "emulator")]
            Command::Emulate(_) => {}
        }
        at += 1;
    }
}
