//! Weights beside a model are refused by name where they do not lie in its folder, or are not what the model says. That those
//! that do are read, `graphs.rs` tests with the network `beside`.
#![cfg(feature = "onnx")]

use std::collections::BTreeMap;
use std::io;

use prost::Message;
use selvedge_compile::{CompileError, CompileErrorKind, MAX_ONNX_BYTES, Siblings, import, import_beside};
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
use tract_onnx::pb::{ModelProto, StringStringEntryProto, TensorProto};

const MODEL: &[u8] = include_bytes!("onnx/beside.onnx");
const WEIGHTS: &[u8] = include_bytes!("onnx/beside.onnx.data");

/// Files in memory; what is asked for is what is read.
struct Files(BTreeMap<&'static str, &'static [u8]>);

impl Siblings for Files {
    fn read(&self, location: &str, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let file = self.0.get(location).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let rest = usize::try_from(offset).ok().and_then(|offset| file.get(offset..)).unwrap_or_default();
        Ok(rest[..length.min(rest.len())].to_vec())
    }
}

/// Fails the test if anything is read.
struct Closed;

impl Siblings for Closed {
    fn read(&self, location: &str, _: u64, _: usize) -> io::Result<Vec<u8>> {
        panic!("`{location}` was opened")
    }
}

fn files() -> Files {
    Files(BTreeMap::from([("beside.onnx.data", WEIGHTS)]))
}

/// The model with its first tensor changed.
fn edited(edit: impl FnOnce(&mut TensorProto)) -> Vec<u8> {
    let mut model = ModelProto::decode(MODEL).expect("a committed model");
    edit(&mut model.graph.as_mut().expect("a graph").initializer[0]);
    model.encode_to_vec()
}

/// The model with an entry about where the first tensor is changed.
fn with(key: &str, value: &str) -> Vec<u8> {
    edited(|tensor| {
        tensor.external_data.retain(|entry| entry.key != key);
        tensor.external_data.push(StringStringEntryProto { key: key.to_owned(), value: value.to_owned() });
    })
}

fn refused(bytes: &[u8], siblings: &dyn Siblings) -> CompileError {
    import_beside(bytes, None, siblings).expect_err("weights that are not there")
}

#[test]
fn a_model_of_bytes_alone_is_refused_with_what_to_do() {
    let error = import(MODEL).expect_err("weights elsewhere");
    assert_eq!(
        error.to_string(),
        "graph.initializer.w0: the weights in `beside.onnx.data` cannot be read: a model that is handed in as bytes is read alone"
    );
    assert!(error.hint().contains("save_as_external_data=False"));
}

#[test]
fn a_location_that_leaves_the_folder_is_never_opened() {
    for location in [
        "../beside.onnx.data",
        "parts/../../beside.onnx.data",
        "/etc/passwd",
        "",
        ".",
        "parts//weights",
        "parts\\weights",
        "C:weights",
        "weights\0",
    ] {
        let error = refused(&with("location", location), &Closed);
        assert_eq!(error.kind(), CompileErrorKind::Unsupported, "{location}");
        assert!(error.message().starts_with("the weights are outside the model's folder: `"), "{error}");
    }
    let error = refused(&edited(|tensor| tensor.external_data.clear()), &Closed);
    assert!(error.message().contains("outside the model's folder: ``"), "a tensor that does not say where: {error}");
}

#[test]
fn weights_of_another_size_are_refused_before_anything_is_opened() {
    for (key, value, message) in [
        ("length", "191", "191 bytes of weights where a shape of [6, 8] has 192"),
        ("length", "many", "the length of the weights in `beside.onnx.data` is no number"),
        ("offset", "-1", "the offset of the weights in `beside.onnx.data` is no number"),
        ("offset", "18446744073709551615", "the weights in `beside.onnx.data` end beyond any file"),
    ] {
        let error = refused(&with(key, value), &Closed);
        assert_eq!((error.kind(), error.message()), (CompileErrorKind::Malformed, message), "{key} {value}");
    }
    for dims in [vec![-1, 8], vec![1 << 40, 1 << 40]] {
        let error = refused(&edited(|tensor| tensor.dims = dims), &Closed);
        assert_eq!(error.kind(), CompileErrorKind::TooLarge);
    }
    let error = refused(&edited(|tensor| tensor.data_type = DataType::String as i32), &Closed);
    assert_eq!(error.message(), "the type string is not supported");
}

#[test]
fn all_weights_together_are_bounded_before_anything_is_opened() {
    // Each half of what is allowed, and none of it there: what counts is what the shapes say.
    let numbers = (MAX_ONNX_BYTES / 2 / size_of::<f32>()) as i64;
    let mut model = ModelProto::decode(MODEL).expect("a committed model");
    for tensor in &mut model.graph.as_mut().expect("a graph").initializer[..2] {
        tensor.dims = vec![numbers];
        tensor.external_data.retain(|entry| entry.key == "location");
    }
    let error = refused(&model.encode_to_vec(), &Closed);
    assert_eq!((error.kind(), error.place()), (CompileErrorKind::TooLarge, "graph.initializer.w1"));
}

#[test]
fn weights_that_are_missing_or_cut_short_are_named() {
    let error = refused(MODEL, &Files(BTreeMap::new()));
    assert_eq!(error.kind(), CompileErrorKind::Malformed);
    assert!(error.to_string().starts_with("graph.initializer.w0: the weights in `beside.onnx.data` cannot be read: "));
    let error = refused(MODEL, &Files(BTreeMap::from([("beside.onnx.data", &WEIGHTS[..100])])));
    assert_eq!(error.to_string(), "graph.initializer.w0: `beside.onnx.data` ends 100 bytes into weights of 192");
    let error = refused(&with("offset", "99999999"), &files());
    assert_eq!(error.to_string(), "graph.initializer.w0: `beside.onnx.data` ends 0 bytes into weights of 192");
}

#[test]
fn weights_of_an_operator_may_not_leave_the_folder_either() {
    let mut model = ModelProto::decode(MODEL).expect("a committed model");
    let graph = model.graph.as_mut().expect("a graph");
    let entry = |key: &str, value: &str| StringStringEntryProto { key: key.to_owned(), value: value.to_owned() };
    let tensor = TensorProto {
        dims: vec![1],
        data_type: DataType::Float as i32,
        data_location: Some(DataLocation::External as i32),
        external_data: vec![entry("location", "../secret")],
        ..TensorProto::default()
    };
    let value = tract_onnx::pb::AttributeProto { name: "value".to_owned(), t: Some(tensor), ..Default::default() };
    let constant = tract_onnx::pb::NodeProto {
        op_type: "Constant".to_owned(),
        output: vec!["secret".to_owned()],
        attribute: vec![value],
        ..Default::default()
    };
    graph.node.insert(0, constant);
    let error = refused(&model.encode_to_vec(), &Closed);
    assert_eq!(error.to_string(), "graph.node[0].value: the weights are outside the model's folder: `../secret`");
}
