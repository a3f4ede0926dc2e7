//! The generated implementation.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Error, Fields, Ident, Index, Path, Result, parse_quote};

use crate::attributes::{FieldAttributes, home};

/// `impl Module for …`, with the trait found below `default_home`.
pub fn module(input: &DeriveInput, default_home: Path) -> Result<TokenStream> {
    let home = home(&input.attrs)?.unwrap_or(default_home);
    let body = match &input.data {
        Data::Struct(data) => {
            let calls = calls(&home, &data.fields, |at, name| match name {
                Some(name) => quote!(&self.#name),
                None => {
                    let at = Index::from(at);
                    quote!(&self.#at)
                }
            })?;
            quote!(#calls)
        }
        Data::Enum(data) => {
            let mut arms = Vec::new();
            for variant in &data.variants {
                let name = &variant.ident;
                let pattern = pattern(&variant.fields);
                let calls = match &variant.fields {
                    // What the variant wraps is the module.
                    Fields::Unnamed(fields) if fields.unnamed.len() == 1 => wrapped(&home, fields)?,
                    fields => calls(&home, fields, |at, name| {
                        let name = binding(at, name);
                        quote!(#name)
                    })?,
                };
                arms.push(quote!(Self::#name #pattern => { #calls }));
            }
            if arms.is_empty() {
                quote!(match *self {})
            } else {
                quote!(match self { #(#arms)* })
            }
        }
        Data::Union(data) => {
            return Err(Error::new(
                data.union_token.span(),
                "Module is derived for structs and enums; implement it by hand for a union",
            ));
        }
    };
    let name = &input.ident;
    let mut generics = input.generics.clone();
    for parameter in generics.type_params_mut() {
        parameter.bounds.push(parse_quote!(#home::Module));
    }
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        impl #impl_generics #home::Module for #name #type_generics #where_clause {
            #[allow(unused_variables)]
            fn visit(&self, visitor: &mut #home::Visitor<'_>) {
                #body
            }
        }
    })
}

/// One call of the visitor for each field that is not skipped.
fn calls(
    home: &Path,
    fields: &Fields,
    access: impl Fn(usize, Option<&Ident>) -> TokenStream,
) -> Result<TokenStream> {
    let mut out = TokenStream::new();
    for (at, field) in fields.iter().enumerate() {
        let attributes = FieldAttributes::read(&field.attrs)?;
        if attributes.skip {
            continue;
        }
        let name = match (&attributes.rename, &field.ident) {
            _ if attributes.flatten => String::new(),
            (Some(name), _) => name.value(),
            (None, Some(name)) => name.to_string().trim_start_matches("r#").to_owned(),
            (None, None) => at.to_string(),
        };
        let value = access(at, field.ident.as_ref());
        out.extend(call(home, field, &name, attributes.buffer, &value));
    }
    Ok(out)
}

/// The call for one field. It has the span of the field's type, so that a type that is not a module is reported there.
fn call(
    home: &Path,
    field: &syn::Field,
    name: &str,
    buffer: bool,
    value: &TokenStream,
) -> TokenStream {
    let method = if buffer {
        quote!(buffers)
    } else {
        quote!(module)
    };
    let span = Span::call_site().located_at(field.ty.span());
    quote_spanned! {span=>
        #home::Visitor::#method(visitor, #name, #value);
    }
}

/// The one field of a variant such as `Rms(RMSNorm)`, under the name of the enum's own field.
fn wrapped(home: &Path, fields: &syn::FieldsUnnamed) -> Result<TokenStream> {
    let mut out = TokenStream::new();
    for field in &fields.unnamed {
        let attributes = FieldAttributes::read(&field.attrs)?;
        if attributes.skip {
            continue;
        }
        let name = attributes.rename.map(|name| name.value());
        let value = binding(0, None);
        let value = quote!(#value);
        let name = name.unwrap_or_default();
        out.extend(call(home, field, &name, attributes.buffer, &value));
    }
    Ok(out)
}

/// The pattern that binds every field of a variant.
fn pattern(fields: &Fields) -> TokenStream {
    let bound = fields.iter().enumerate().map(|(at, field)| {
        let name = binding(at, field.ident.as_ref());
        match &field.ident {
            Some(ident) => quote!(#ident: #name),
            None => quote!(#name),
        }
    });
    match fields {
        Fields::Named(_) => quote!({ #(#bound),* }),
        Fields::Unnamed(_) => quote!(( #(#bound),* )),
        Fields::Unit => TokenStream::new(),
    }
}

/// The variable that holds a variant's field.
fn binding(at: usize, name: Option<&Ident>) -> Ident {
    match name {
        Some(name) => format_ident!("field_{}", name),
        None => format_ident!("field_{}", at),
    }
}
