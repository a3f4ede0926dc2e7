//! `#[module(…)]` on types and fields.

use syn::spanned::Spanned;
use syn::{Attribute, Error, LitStr, Path, Result};

/// What `#[module(…)]` says about a field.
#[derive(Default)]
pub struct FieldAttributes {
    pub buffer: bool,
    pub skip: bool,
    pub flatten: bool,
    pub rename: Option<LitStr>,
}

impl FieldAttributes {
    /// Reads them. Errors: an attribute that is not known, and attributes that exclude each other.
    pub fn read(attributes: &[Attribute]) -> Result<Self> {
        let mut out = Self::default();
        for attribute in attributes.iter().filter(|a| a.path().is_ident("module")) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("buffer") {
                    out.buffer = true;
                } else if meta.path.is_ident("skip") {
                    out.skip = true;
                } else if meta.path.is_ident("flatten") {
                    out.flatten = true;
                } else if meta.path.is_ident("rename") {
                    out.rename = Some(name(meta.value()?.parse()?)?);
                } else {
                    return Err(meta.error(
                        "unknown attribute of a field; known are buffer, skip, flatten and rename = \"name\"",
                    ));
                }
                Ok(())
            })?;
            if out.skip && (out.buffer || out.flatten || out.rename.is_some()) {
                return Err(Error::new(
                    attribute.span(),
                    "a skipped field is not visited; remove skip or the other attributes",
                ));
            }
            if out.flatten && out.rename.is_some() {
                return Err(Error::new(
                    attribute.span(),
                    "a flattened field has no name of its own; remove flatten or rename",
                ));
            }
        }
        Ok(out)
    }
}

/// A name for tensors: not empty, and no part of it between dots is.
fn name(text: LitStr) -> Result<LitStr> {
    if text.value().split('.').any(str::is_empty) {
        return Err(Error::new(
            text.span(),
            "a name has at least one character on each side of a dot; use flatten for no name",
        ));
    }
    Ok(text)
}

/// The path of `crate = "…"` on the type, if it is there.
pub fn home(attributes: &[Attribute]) -> Result<Option<Path>> {
    let mut home = None;
    for attribute in attributes.iter().filter(|a| a.path().is_ident("module")) {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("crate") {
                home = Some(meta.value()?.parse::<LitStr>()?.parse()?);
                return Ok(());
            }
            Err(meta.error(
                "unknown attribute of a type; known is crate = \"path\", the others belong to fields",
            ))
        })?;
    }
    Ok(home)
}
