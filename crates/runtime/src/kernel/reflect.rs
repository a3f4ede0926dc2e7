//! A kernel's interface: bindings, parameters and workgroup size. naga reads them from the WGSL, so that Rust does not
//! repeat them.

use super::message::parse_error;
use naga::{AddressSpace, ArraySize, ScalarKind, StorageAccess, TypeInner};

use super::layout;
pub use super::layout::Padding;

/// How a kernel uses one binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BindingKind {
    /// `var<storage, read>`
    Read,
    /// `var<storage, read_write>`
    ReadWrite,
    /// `texture_storage_2d<rgba32float, read>`: a buffer's contents copied to a texture by the launch.
    Texture,
}

/// One tensor binding, in the order of its `@binding` number.
#[derive(Debug, Clone)]
pub struct BindingInfo {
    /// The variable's name.
    pub name: String,
    /// How the kernel uses it.
    pub kind: BindingKind,
    /// Whether the kernel reads the contents; a `read_write` binding may be for writing only.
    pub read: bool,
    /// The bytes between its elements' members that no kernel writes, if there are any.
    pub padding: Option<Padding>,
}

impl BindingInfo {
    /// How often a launch goes over the binding's bytes: once to read and once to write.
    pub fn touches(&self) -> u64 {
        u64::from(self.read) + u64::from(self.kind == BindingKind::ReadWrite)
    }
}

/// One member of the kernel's `Params` struct, or the uniform itself where it is no struct.
#[derive(Debug, Clone)]
pub struct ParamInfo {
    /// The member's name.
    pub name: String,
    /// Its offset in the struct, in bytes.
    pub offset: usize,
    /// The number of 32-bit words.
    pub words: usize,
    /// Whether they are `f32`, else `u32`.
    pub float: bool,
}

/// The interface of a kernel, known before it is compiled.
#[derive(Debug, Clone)]
pub struct KernelInfo {
    /// The name of its one entry point.
    pub entry_point: String,
    /// Invocations of a workgroup along each side.
    pub workgroup_size: [u32; 3],
    /// Its tensors, in the order of their numbers.
    pub bindings: Vec<BindingInfo>,
    /// The members of its `Params`.
    pub params: Vec<ParamInfo>,
    /// Bytes of `Params`.
    pub params_size: usize,
    /// Bytes of `var<workgroup>`, which some drivers do not check.
    pub workgroup_bytes: u64,
}

/// Reads `text`. The parameters are the uniform struct at binding 0; tensors follow from binding 1.
pub fn reflect(text: &str) -> Result<KernelInfo, String> {
    let module = naga::front::wgsl::parse_str(text).map_err(|e| parse_error(&e, text))?;
    let entry = match module.entry_points.as_slice() {
        [one] => one,
        others => {
            return Err(format!(
                "one entry point is expected, {} found",
                others.len()
            ));
        }
    };
    let mut layouter = naga::proc::Layouter::default();
    layouter
        .update(module.to_ctx())
        .map_err(|e| e.to_string())?;
    let mut params = Vec::new();
    let mut params_size = 0;
    let mut bindings: Vec<(u32, BindingInfo)> = Vec::new();
    let mut workgroup_bytes = 0;
    let loaded = loaded(&module);
    for (handle, var) in module.global_variables.iter() {
        let name = var.name.clone().unwrap_or_default();
        let ty = &module.types[var.ty];
        if var.space == AddressSpace::WorkGroup {
            workgroup_bytes += u64::from(layouter[var.ty].size);
        }
        let Some(at) = &var.binding else { continue };
        if at.group != 0 {
            return Err(format!("`{name}` is in group {}, only 0 is used", at.group));
        }
        let mut padding = None;
        let kind = match (var.space, &ty.inner) {
            (AddressSpace::Uniform, TypeInner::Struct { members, span }) if at.binding == 0 => {
                params_size = *span as usize;
                for member in members {
                    let name = member.name.clone().unwrap_or_default();
                    params.push(param(&module, name, member.ty, member.offset)?);
                }
                continue;
            }
            (AddressSpace::Uniform, _) if at.binding == 0 && words(&module, var.ty).is_some() => {
                params_size = layouter[var.ty].size as usize;
                params.push(param(&module, name, var.ty, 0)?);
                continue;
            }
            (AddressSpace::Uniform, _) if at.binding == 0 => {
                return Err(format!(
                    "the uniform `{name}` is neither a struct nor a number or vector of 32 bits; put its members into a struct"
                ));
            }
            (AddressSpace::Storage { access }, _) => {
                padding = layout::padding(&module, var.ty);
                match access.contains(StorageAccess::STORE) {
                    true => BindingKind::ReadWrite,
                    false => BindingKind::Read,
                }
            }
            (AddressSpace::Handle, TypeInner::Image { .. }) => BindingKind::Texture,
            _ => {
                return Err(format!(
                    "`{name}`: a binding of a kind that is not used here"
                ));
            }
        };
        let read = kind != BindingKind::ReadWrite || loaded.contains(&handle);
        bindings.push((
            at.binding,
            BindingInfo {
                name,
                kind,
                read,
                padding,
            },
        ));
    }
    bindings.sort_by_key(|(number, _)| *number);
    for (i, (number, info)) in bindings.iter().enumerate() {
        if *number as usize != i + 1 {
            return Err(format!(
                "`{}` is at binding {number}, {} is expected: params is 0, tensors follow in order",
                info.name,
                i + 1
            ));
        }
    }
    Ok(KernelInfo {
        entry_point: entry.name.clone(),
        workgroup_size: entry.workgroup_size,
        bindings: bindings.into_iter().map(|(_, info)| info).collect(),
        params,
        params_size,
        workgroup_bytes,
    })
}

/// The variables that some function loads from.
fn loaded(module: &naga::Module) -> Vec<naga::Handle<naga::GlobalVariable>> {
    use naga::Expression as E;
    let entries = module.entry_points.iter().map(|entry| &entry.function);
    let mut found = Vec::new();
    for function in entries.chain(module.functions.iter().map(|(_, f)| f)) {
        for (_, expression) in function.expressions.iter() {
            let E::Load { mut pointer } = *expression else {
                continue;
            };
            while let E::Access { base, .. } | E::AccessIndex { base, .. } =
                function.expressions[pointer]
            {
                pointer = base;
            }
            if let E::GlobalVariable(variable) = function.expressions[pointer] {
                found.push(variable);
            }
        }
    }
    found
}

fn param(
    module: &naga::Module,
    name: String,
    ty: naga::Handle<naga::Type>,
    offset: u32,
) -> Result<ParamInfo, String> {
    let (words, kind) = words(module, ty).ok_or_else(|| {
        format!("parameter `{name}`: use u32, i32, f32, vectors of them or an array of vec4")
    })?;
    Ok(ParamInfo {
        name,
        offset: offset as usize,
        words,
        float: kind == ScalarKind::Float,
    })
}

fn words(module: &naga::Module, ty: naga::Handle<naga::Type>) -> Option<(usize, ScalarKind)> {
    match &module.types[ty].inner {
        TypeInner::Scalar(s) if s.width == 4 => Some((1, s.kind)),
        TypeInner::Vector { size, scalar } if scalar.width == 4 => {
            Some((*size as usize, scalar.kind))
        }
        TypeInner::Array {
            base,
            size: ArraySize::Constant(n),
            stride,
        } if *stride == 16 => {
            let (_, kind) = words(module, *base).filter(|(words, _)| *words == 4)?;
            Some((4 * n.get() as usize, kind))
        }
        _ => None,
    }
}
