//! Modules: names from the derive, saving and loading, adapters, and the layers of decoders.

mod decoder;
mod lora;

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use wgrad::nn::{
    Dropout, Embedding, Init, LayerNorm, Linear, Module, Parameters, TensorSource, VarBuilder,
    freeze, load, load_from, load_state_dict, save,
};
use wgrad::tensor::{Device, DeviceOptions, Error, Generator, Result, Tensor};

fn device() -> Device {
    Device::open(DeviceOptions::default()).expect("an adapter; `cargo xtask test` installs one")
}

fn names(parameters: &Parameters) -> Vec<&str> {
    parameters.iter().map(|(name, _)| name.as_str()).collect()
}

/// A file name for this test in the system's temporary folder.
fn temporary() -> PathBuf {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("wgrad-modules-{}-{next}.safetensors", std::process::id());
    std::env::temp_dir().join(name)
}

/// A field that is not a module needs `skip`.
#[derive(Debug, Clone, Copy)]
struct Settings;

#[derive(Module)]
struct Block {
    dense: Linear,
    #[module(rename = "output.LayerNorm")]
    norm: LayerNorm,
}

#[derive(Module)]
enum Head {
    Wrapped(Linear),
    Named { classifier: Linear },
}

#[derive(Module)]
struct Model<M> {
    embedding: Embedding,
    blocks: Vec<Block>,
    #[module(flatten)]
    inner: M,
    pair: (Linear, Option<Linear>),
    table: [Tensor; 2],
    #[module(buffer)]
    running_mean: Option<Tensor>,
    #[module(rename = "head")]
    head: Head,
    /// Tied to the embedding.
    tied: Linear,
    dropout: Dropout,
    heads: usize,
    #[module(skip)]
    _settings: Settings,
    #[module(skip)]
    _batch: Tensor,
}

fn model(device: &Device, seed: u64) -> Result<Model<Head>> {
    let generator = Generator::new(device, seed)?;
    build(&VarBuilder::fresh(device, &generator))
}

fn build(vb: &VarBuilder) -> Result<Model<Head>> {
    let embedding = Embedding::new(5, 3, &vb.pp("embedding"))?;
    let block = |i: usize| -> Result<Block> {
        let vb = vb.pp("blocks").pp(i);
        Ok(Block {
            dense: Linear::new(3, 3, &vb.pp("dense"))?,
            norm: LayerNorm::new(3, 1e-5, &vb.pp("output.LayerNorm"))?,
        })
    };
    let table = |i: usize| vb.pp("table").get(&[2], &i.to_string(), Init::Ones);
    Ok(Model {
        blocks: vec![block(0)?, block(1)?],
        inner: Head::Named {
            classifier: Linear::no_bias(3, 2, &vb.pp("classifier"))?,
        },
        pair: (Linear::no_bias(3, 2, &vb.pp("pair.0"))?, None),
        table: [table(0)?, table(1)?],
        running_mean: Some(vb.get_buffer(&[3], "running_mean", Init::Zeros)?),
        head: Head::Wrapped(Linear::no_bias(3, 2, &vb.pp("head"))?),
        tied: Linear::from_tensors(embedding.weight().clone(), None)?,
        dropout: Dropout::new(0.5)?,
        heads: 2,
        _settings: Settings,
        _batch: Tensor::ones(vb.device(), &[1], wgrad::tensor::DType::F32)?,
        embedding,
    })
}

#[test]
fn the_derive_gives_pytorchs_names() {
    let device = device();
    let model = model(&device, 0).unwrap();
    assert_eq!((model.heads, model.dropout.p()), (2, 0.5));
    let parameters = model.named_parameters();
    assert_eq!(
        names(&parameters),
        [
            "embedding.weight",
            "blocks.0.dense.weight",
            "blocks.0.dense.bias",
            "blocks.0.output.LayerNorm.weight",
            "blocks.0.output.LayerNorm.bias",
            "blocks.1.dense.weight",
            "blocks.1.dense.bias",
            "blocks.1.output.LayerNorm.weight",
            "blocks.1.output.LayerNorm.bias",
            "classifier.weight",
            "pair.0.weight",
            "table.0",
            "table.1",
            "head.weight",
        ]
    );
    assert_eq!(names(&model.named_buffers()), ["running_mean"]);
    assert_eq!(model.state_dict().len(), 15);
    let elements: usize = parameters.iter().map(|(_, t)| t.numel()).sum();
    assert_eq!(model.num_parameters(), elements);
    assert!(parameters.iter().all(|(_, tensor)| tensor.requires_grad()));
    assert!(!model.named_buffers()[0].1.requires_grad());
    assert_eq!(freeze(&model, "blocks.*").unwrap(), 8);
    let frozen = |(_, tensor): &&(String, Tensor)| !tensor.requires_grad();
    assert_eq!(parameters.iter().filter(frozen).count(), 8);
}

fn values(module: &dyn Module) -> Vec<Vec<f32>> {
    let state = module.state_dict();
    state
        .iter()
        .map(|(_, t)| t.to_vec::<f32>().unwrap())
        .collect()
}

#[test]
fn saved_modules_are_loaded() {
    let device = device();
    let (first, second) = (model(&device, 1).unwrap(), model(&device, 2).unwrap());
    first
        .running_mean
        .as_ref()
        .unwrap()
        .copy_from_slice(&[1f32, 2., 3.])
        .unwrap();
    assert_ne!(values(&first), values(&second));
    let path = temporary();
    save(&first, &path).unwrap();
    load(&second, &path).unwrap().strict().unwrap();
    assert_eq!(values(&first), values(&second));
    // The builder takes the same file.
    let file = wgrad::nn::safetensors::SafeFile::open(&path).unwrap();
    let vb = VarBuilder::from_source(&device, Box::new(&file));
    let third = build(&vb).unwrap();
    assert!(vb.report().is_complete(), "{}", vb.report());
    assert_eq!(values(&first), values(&third));
    std::fs::remove_file(path).unwrap();
    // And the state of another model of its kind.
    let fourth = model(&device, 4).unwrap();
    load_state_dict(&fourth, &first.state_dict())
        .unwrap()
        .strict()
        .unwrap();
    assert_eq!(values(&first), values(&fourth));
}

/// Tensors in memory.
struct Memory(Vec<(&'static str, Vec<usize>)>);

impl TensorSource for Memory {
    fn names(&self) -> Vec<String> {
        self.0.iter().map(|(name, _)| name.to_string()).collect()
    }
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        let found = self.0.iter().find(|(known, _)| *known == name)?;
        Some(found.1.clone())
    }
    fn read(&self, name: &str) -> Result<Vec<f32>> {
        let shape = self
            .shape(name)
            .ok_or_else(|| Error::op("memory", "no such tensor"))?;
        Ok(vec![7.0; shape.iter().product()])
    }
}

#[test]
fn names_and_shapes_that_do_not_fit_are_named() {
    let device = device();
    let generator = Generator::new(&device, 0).unwrap();
    let layer = |vb: &VarBuilder| Linear::new(3, 2, &vb.pp("layer"));
    let text = |result: Result<Linear>| result.unwrap_err().to_string();
    let wrong = Memory(vec![("layer.weight", vec![2, 4]), ("layer.bias", vec![2])]);
    let error = text(layer(&VarBuilder::from_source(&device, Box::new(&wrong))));
    assert!(
        error.contains("`layer.weight` has shape [2, 4], the model asks for [2, 3]"),
        "{error}"
    );
    let short = Memory(vec![("layer.weight", vec![2, 3]), ("other", vec![1])]);
    let error = text(layer(&VarBuilder::from_source(&device, Box::new(&short))));
    assert!(
        error.contains("no tensor `layer.bias`, which has shape [2]"),
        "{error}"
    );

    let vb = VarBuilder::from_source_or_fresh(&device, Box::new(&short), &generator);
    let made = layer(&vb).unwrap();
    assert_eq!(made.weight().to_vec::<f32>().unwrap(), [7.0; 6]);
    let report = vb.report();
    assert_eq!(
        (&report.missing[..], &report.unexpected[..]),
        (&["layer.bias".to_owned()][..], &["other".to_owned()][..])
    );
    let error = report.strict().unwrap_err().to_string();
    assert!(
        error.contains("1 missing: `layer.bias`; 1 unexpected: `other`"),
        "{error}"
    );

    let renamed = VarBuilder::from_source(&device, Box::new(&wrong))
        .renamed(|name| name.replace("dense", "layer"))
        .unwrap();
    let made = Linear::new(4, 2, &renamed.pp("dense")).unwrap();
    assert_eq!(made.bias().unwrap().to_vec::<f32>().unwrap(), [7.0; 2]);

    // Loading into a module checks before it changes anything.
    let module = Linear::new(3, 2, &VarBuilder::fresh(&device, &generator)).unwrap();
    let before = values(&module);
    let bad = Memory(vec![("weight", vec![3, 2]), ("bias", vec![2])]);
    let error = load_from(&module, &bad).unwrap_err().to_string();
    assert!(
        error.contains("`weight` has shape [3, 2], the module [2, 3]"),
        "{error}"
    );
    assert_eq!(values(&module), before);
    let part = Memory(vec![("bias", vec![2]), ("extra", vec![1])]);
    let report = load_from(&module, &part).unwrap();
    assert_eq!((report.missing.len(), report.unexpected.len()), (1, 1));
    assert_eq!(module.bias().unwrap().to_vec::<f32>().unwrap(), [7.0; 2]);
}

#[test]
fn tied_weights_are_found_under_any_of_their_names() {
    let device = device();
    let model = model(&device, 3).unwrap();
    let mut tensors = vec![("tied.weight", vec![5, 3])];
    let state = model.state_dict();
    let others: Vec<(String, Vec<usize>)> = state
        .iter()
        .filter(|(name, _)| name != "embedding.weight")
        .map(|(name, tensor)| (name.clone(), tensor.shape().to_vec()))
        .collect();
    tensors.extend(
        others
            .iter()
            .map(|(name, shape)| (&*name.clone().leak(), shape.clone())),
    );
    load_from(&model, &Memory(tensors))
        .unwrap()
        .strict()
        .unwrap();
    let table = model.embedding.weight().to_vec::<f32>().unwrap();
    assert_eq!(table, model.tied.weight().to_vec::<f32>().unwrap());
    assert_eq!(table, [7.0; 15]);
}
