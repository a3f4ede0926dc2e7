//! Facts of the adapter that a spec's expressions may use by name.

use wgrad_runtime::{Device, MatrixUnit};

use super::expr::{Scope, Value};

/// The facts of `device`: `software` (it runs on the CPU), `vulkan` (its back end is Vulkan), `f16` (kernels may use
/// f16), `subgroup_size` (0 if it is not fixed), `matrix_side` (the side of the matrix units' matrices, 0 without
/// units), `matrix_f16` (whether their factors are f16), `groups_to_fill` (roughly the number of workgroups that keep
/// the device busy), and the limits `max_buffer_bytes`, `max_invocations` and `max_workgroup_bytes`.
pub fn of(device: &Device) -> Scope {
    let unit = device.matrix_unit();
    Scope::from([
        (
            "software".into(),
            Value::Bool(device.adapter().is_software()),
        ),
        (
            "vulkan".into(),
            Value::Bool(device.adapter().backend == "Vulkan"),
        ),
        ("f16".into(), Value::Bool(device.has_f16())),
        int("subgroup_size", device.subgroup_size().unwrap_or(0)),
        int("matrix_side", unit.map_or(0, |unit| unit.side)),
        (
            "matrix_f16".into(),
            Value::Bool(unit.is_some_and(|unit| unit.half)),
        ),
        int("groups_to_fill", device.groups_to_fill() as u64),
        int("max_buffer_bytes", device.max_binding_bytes()),
        int("max_invocations", device.max_workgroup_invocations()),
        int("max_workgroup_bytes", device.max_workgroup_bytes()),
    ])
}

/// The facts of an adapter with WebGPU's default limits, for use before a device is open.
pub fn none() -> Scope {
    Scope::from([
        ("software".into(), Value::Bool(false)),
        ("vulkan".into(), Value::Bool(false)),
        ("f16".into(), Value::Bool(false)),
        int("subgroup_size", 0u32),
        int("matrix_side", 0u32),
        ("matrix_f16".into(), Value::Bool(false)),
        int("groups_to_fill", 64u32),
        int("max_buffer_bytes", u32::MAX),
        int("max_invocations", 256u32),
        int("max_workgroup_bytes", 16_384u32),
    ])
}

fn int(name: &str, value: impl TryInto<i64>) -> (String, Value) {
    (
        name.to_owned(),
        Value::Int(value.try_into().unwrap_or(i64::MAX)),
    )
}

/// The matrix units that `facts` describe.
pub fn matrix_unit(facts: &Scope) -> Option<MatrixUnit> {
    let Some(Value::Int(side)) = facts.get("matrix_side") else {
        return None;
    };
    let side = u32::try_from(*side).ok().filter(|side| *side > 0)?;
    let half = facts.get("matrix_f16") == Some(&Value::Bool(true));
    Some(MatrixUnit { side, half })
}
