//! Modules that break the ABI, loop, grow or trap: the host notices, says so, and goes on.

use std::fmt::Write as _;

use selvedge_runner::{
    GuestModule, Input, Instance, ModuleError, RunError, RunnerLimits, SavedRequest, Trap, TrapCause,
};

use crate::given;

/// A module with the names of the ABI and the given bodies in place of harmless ones.
fn module(bodies: &[(&str, &str)]) -> Vec<u8> {
    module_with("", bodies)
}

fn module_with(head: &str, bodies: &[(&str, &str)]) -> Vec<u8> {
    let functions = [
        ("abi_version", "(result i32)", "i32.const 1"),
        ("alloc", "(param i32) (result i32)", "i32.const 1024"),
        ("free", "(param i32 i32)", ""),
        ("load", "(param i32 i32) (result i32)", "i32.const 0"),
        ("decide", "(param i32 i32) (result i64)", "i64.const 1"),
        ("features", "(param i32 i32) (result i64)", "i64.const 1"),
        ("score", "(param i32 i32) (result i64)", "i64.const 1"),
        ("predict", "(param i32 i32) (result i64)", "i64.const 1"),
        ("last_error", "(result i64)", "i64.const 0"),
    ];
    let mut text = format!("(module {head} (memory (export \"memory\") 2)");
    for (name, ty, harmless) in functions {
        let body = bodies.iter().find(|(other, _)| *other == name).map_or(harmless, |(_, body)| *body);
        write!(text, "(func (export \"{name}\") {ty} {body})").expect("a string takes any text");
    }
    text.push(')');
    wat::parse_str(text).expect("the text is WebAssembly")
}

fn instance(bodies: &[(&str, &str)]) -> Instance {
    let module = GuestModule::compile(&module(bodies)).expect("the module keeps to the ABI");
    Instance::new(&module, RunnerLimits { fuel_per_decision: 100_000, ..RunnerLimits::default() })
}

fn trap(error: RunError) -> Trap {
    match error {
        RunError::Trapped(trap) => trap,
        other => panic!("not a trap: {other}"),
    }
}

#[test]
fn a_module_that_imports_is_refused_by_the_name_of_its_import() {
    let import = r#"(import "wasi_snapshot_preview1" "clock_time_get" (func (param i32 i64 i32) (result i32)))"#;
    let error = GuestModule::compile(&module_with(import, &[])).expect_err("it imports");
    assert!(matches!(&error, ModuleError::Imports(names) if names == &["wasi_snapshot_preview1.clock_time_get"]));
    assert_eq!(
        error.to_string(),
        "the guest module imports wasi_snapshot_preview1.clock_time_get; a guest imports nothing"
    );
}

#[test]
fn a_module_of_another_abi_version_is_refused() {
    let error = GuestModule::compile(&module(&[("abi_version", "i32.const 2")])).expect_err("it is version 2");
    assert!(matches!(error, ModuleError::AbiVersion { found: 2 }), "{error}");
}

#[test]
fn a_module_without_a_name_of_the_abi_is_refused_by_that_name() {
    let wasm = wat::parse_str(
        r#"(module (memory (export "memory") 1) (func (export "abi_version") (result i32) i32.const 1)
            (func (export "alloc") (param i64) (result i32) i32.const 0))"#,
    );
    let error = GuestModule::compile(&wasm.expect("WebAssembly")).expect_err("`alloc` takes another type");
    assert!(matches!(error, ModuleError::Export { name: "alloc", .. }), "{error}");
    let wasm = wat::parse_str(r#"(module (func (export "abi_version") (result i32) i32.const 1))"#);
    let error = GuestModule::compile(&wasm.expect("WebAssembly")).expect_err("there is no memory");
    assert!(matches!(error, ModuleError::Export { name: "memory", .. }), "{error}");
}

#[test]
fn bytes_that_are_no_module_are_refused() {
    for bytes in [&b""[..], b"not wasm", b"(module)", &given::bundle()] {
        let error = GuestModule::compile(bytes).expect_err("no module");
        assert!(matches!(error, ModuleError::Compile(_)), "{error}");
    }
    let error = GuestModule::read("/no/such/file.wasm").expect_err("no file");
    assert!(matches!(error, ModuleError::Read { .. }), "{error}");
}

#[test]
fn a_loop_ends_when_the_fuel_does() {
    let trap = trap(instance(&[("decide", "(loop br 0) unreachable")]).decide(b"x").expect_err("it loops"));
    assert_eq!(trap.cause, TrapCause::OutOfFuel { limit: 100_000 });
    let start = GuestModule::compile(&module(&[("abi_version", "(loop br 0) unreachable")]));
    assert!(matches!(start, Err(ModuleError::Start(TrapCause::OutOfFuel { .. }))));
}

#[test]
fn memory_stays_below_its_limit_and_the_error_says_what_was_wanted() {
    let grow = "(if (i32.eq (memory.grow (i32.const 100)) (i32.const -1)) (then unreachable)) i64.const 1";
    let module = GuestModule::compile(&module(&[("decide", grow)])).expect("the module keeps to the ABI");
    let limits = RunnerLimits { memory_bytes: 1 << 20, ..RunnerLimits::default() };
    let trap = trap(Instance::new(&module, limits).decide(b"x").expect_err("it grows"));
    assert_eq!(trap.cause, TrapCause::OutOfMemory { limit: 1 << 20, wanted: 102 << 16 });

    let limits = RunnerLimits { memory_bytes: 1 << 16, ..RunnerLimits::default() };
    let error = Instance::new(&module, limits).decide(b"x").expect_err("it starts with two pages");
    let cause = TrapCause::OutOfMemory { limit: 1 << 16, wanted: 2 << 16 };
    assert!(matches!(&error, RunError::Module(ModuleError::Start(found)) if *found == cause), "{error}");
}

#[test]
fn addresses_outside_of_memory_are_caught() {
    for (name, body) in [
        ("decide", "i64.const 0xffff_ffff_0000_0010"),
        ("decide", "i64.const 0x0000_0000_ffff_ffff"),
        ("decide", "i64.const 0x0001_fff0_0000_0011"),
        ("alloc", "i32.const -8"),
    ] {
        let trap = trap(instance(&[(name, body)]).decide(b"sixteen bytes or").expect_err("outside"));
        assert!(matches!(trap.cause, TrapCause::Abi(_)), "{name}: {trap}");
    }
    let edge = instance(&[("decide", "i64.const 0x0001_fff0_0000_0010")]).decide(b"x").map(|it| it.decision.len());
    assert_eq!(edge.expect("the last sixteen bytes"), 16);
}

#[test]
fn the_request_of_a_trap_is_saved_to_run_it_again() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let traps = directory.path().join("traps");
    let mut instance = instance(&[("decide", "unreachable")]).save_trapped_requests_in(&traps);
    let request = given::request();
    let trap = trap(instance.decide(&request).expect_err("it traps"));
    let path = traps.join("trap-abababababababababababababababab.svrq");
    assert!(matches!(&trap.saved, Some(SavedRequest::At(at)) if *at == path), "{trap}");
    assert!(trap.to_string().ends_with(&format!("; the request is saved as {}", path.display())), "{trap}");
    assert_eq!(std::fs::read(path).expect("the file is there"), request);

    let blocked = directory.path().join("file");
    std::fs::write(&blocked, "").expect("a file");
    let mut instance = instance.fork().save_trapped_requests_in(&blocked);
    let trap = self::trap(instance.decide(b"short").expect_err("it traps"));
    assert!(matches!(&trap.saved, Some(SavedRequest::Failed(..))), "{trap}");
}

#[test]
fn after_a_trap_the_next_call_starts_anew() {
    // Counts its calls in memory and traps on every third.
    let counting = "(i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1)))
        (if (i32.eq (i32.load (i32.const 0)) (i32.const 3)) (then unreachable))
        i64.const 4";
    let mut instance = instance(&[("decide", counting)]);
    let answers: Vec<Option<u8>> = (0..7).map(|_| instance.decide(b"x").ok().map(|it| it.decision[0])).collect();
    assert_eq!(answers, [Some(1), Some(2), None, Some(1), Some(2), None, Some(1)]);
}

#[test]
fn a_refusal_without_a_reason_is_a_broken_abi() {
    let mut instance = instance(&[("load", "i32.const 7"), ("features", "i64.const 0")]);
    let loaded = trap(instance.load(given::bundle()).expect_err("refused"));
    assert_eq!((loaded.input, loaded.cause), (Input::Bundle, TrapCause::Abi("a refusal without a reason")));
    let features = trap(instance.features(b"x").expect_err("refused"));
    assert_eq!(features.cause, TrapCause::Abi("a refusal without a reason"));
}

#[test]
fn a_feature_matrix_of_another_size_is_a_broken_abi() {
    // At address 0: 2 candidates, 3 features, and nothing after.
    let body = "(i32.store (i32.const 0) (i32.const 2)) (i32.store (i32.const 4) (i32.const 3)) i64.const 8";
    let trap = trap(instance(&[("features", body)]).features(b"x").expect_err("too short"));
    assert_eq!(trap.cause, TrapCause::Abi("a feature matrix of another size"));
}
