//! ABI version 1: the names that the module exports, and nothing else.
//!
//! This is the one file of the workspace that may hold unsafe code. It holds one claim and a list of exported names; the
//! work is done by [`Guest`], in safe code. An answer is a pointer and a length packed into a `u64`, pointer above,
//! and 0 for an empty one; it is valid until the next call.
//!
//! After a trap the guest is still borrowed by the call that did not return, so every further call traps as well: an
//! instance that broke off in the middle is never used again, whatever its host believes.
#![allow(unsafe_code, reason = "exported names, and a static that one thread uses")]

use core::arch::wasm32::unreachable;
use core::cell::{RefCell, RefMut};
use core::panic::PanicInfo;

use crate::{ABI_VERSION, Guest};

#[cfg(target_feature = "atomics")]
compile_error!("the guest keeps its state in one thread's memory; build it without atomics");

#[global_allocator]
static ALLOCATOR: talc::wasm::WasmDynamicTalc = talc::wasm::new_wasm_dynamic_allocator();

/// No words, only a trap: the host has the request and can run it again with a debugger; the module stays small.
#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    unreachable()
}

struct OneThread(RefCell<Option<Guest>>);

// SAFETY: `Sync` asks that `&OneThread` may be used from several threads at once. WebAssembly without the `atomics`
// feature has one thread and no shared memory, and the `compile_error!` above keeps this file from being built with it.
unsafe impl Sync for OneThread {}

static GUEST: OneThread = OneThread(RefCell::new(None));

// One function, not a copy in each exported name.
#[inline(never)]
fn guest() -> RefMut<'static, Guest> {
    match GUEST.0.try_borrow_mut() {
        Ok(guest) => RefMut::map(guest, Option::get_or_insert_default),
        Err(_) => unreachable(),
    }
}

fn pack(answer: &[u8]) -> u64 {
    if answer.is_empty() { 0 } else { (answer.as_ptr().expose_provenance() as u64) << 32 | answer.len() as u64 }
}

// SAFETY, for every `no_mangle` below: the module is linked alone, without libc or WASI, so no other code defines or
// calls a symbol of these names.

#[unsafe(no_mangle)]
extern "C" fn abi_version() -> u32 {
    ABI_VERSION
}

#[unsafe(no_mangle)]
extern "C" fn alloc(len: u32) -> u32 {
    guest().alloc(len as usize).unwrap_or(0) as u32
}

#[unsafe(no_mangle)]
extern "C" fn free(address: u32, len: u32) {
    guest().free(address as usize, len as usize);
}

#[unsafe(no_mangle)]
extern "C" fn load(address: u32, len: u32) -> u32 {
    guest().load(address as usize, len as usize)
}

#[unsafe(no_mangle)]
extern "C" fn decide(address: u32, len: u32) -> u64 {
    pack(guest().decide(address as usize, len as usize))
}

#[unsafe(no_mangle)]
extern "C" fn features(address: u32, len: u32) -> u64 {
    pack(guest().features(address as usize, len as usize))
}

#[unsafe(no_mangle)]
extern "C" fn score(address: u32, len: u32) -> u64 {
    pack(guest().score(address as usize, len as usize))
}

#[unsafe(no_mangle)]
extern "C" fn predict(address: u32, len: u32) -> u64 {
    pack(guest().predict(address as usize, len as usize))
}

#[unsafe(no_mangle)]
extern "C" fn last_error() -> u64 {
    pack(guest().last_error())
}
