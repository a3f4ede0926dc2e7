//! `#[derive(Module)]`: writes `wgrad_nn::Module` from the fields of a struct or an enum.
//!
//! Do not depend on this crate; `wgrad::nn` and `wgrad_nn` export the macro beside the trait, and
//! `Module`'s page explains it with an example.

mod attributes;
mod expand;

use proc_macro::TokenStream;
use proc_macro2::Span;
use syn::{DeriveInput, Path, parse_macro_input};

/// Implements `Module` for a struct or an enum, for crates that depend on `wgrad-nn`.
///
/// Every field is visited under its name, joined to the name of the module by a dot. Attributes of fields:
///
/// - `#[module(buffer)]`: the tensors of this field are buffers, not parameters.
/// - `#[module(skip)]`: this field is not visited.
/// - `#[module(rename = "LayerNorm")]`: another name; it may hold dots.
/// - `#[module(flatten)]`: the tensors of this field stand under the module's own name.
///
/// `#[module(crate = "path::to::nn")]` on the type names the module that holds `Module`, for a crate that
/// depends on `wgrad` under another name.
#[proc_macro_derive(Module, attributes(module))]
pub fn module(input: TokenStream) -> TokenStream {
    derive(parse_macro_input!(input as DeriveInput), "::wgrad_nn")
}

/// The same for crates that depend on `wgrad`, which exports it as `wgrad::nn::Module`.
#[proc_macro_derive(FacadeModule, attributes(module))]
pub fn facade_module(input: TokenStream) -> TokenStream {
    derive(parse_macro_input!(input as DeriveInput), "::wgrad::nn")
}

fn derive(input: DeriveInput, home: &str) -> TokenStream {
    let expanded = syn::parse_str::<Path>(home)
        .map_err(|error| syn::Error::new(Span::call_site(), error))
        .and_then(|home| expand::module(&input, home));
    expanded
        .unwrap_or_else(|error| error.to_compile_error())
        .into()
}
