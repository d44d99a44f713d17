//! The readers of `cshim/`, compiled by `build.rs` and called in this process.
#![allow(dead_code)] // Each target uses one of them.

use std::cell::RefCell;
use std::ffi::{c_char, c_long};

/// What an image of 4 MiB comes to, numbers written out, and more.
const ROOM: usize = 32 << 20;

thread_local! {
    static OUT: RefCell<Vec<u8>> = RefCell::new(vec![0; ROOM]);
}

type Reader = unsafe extern "C" fn(*const u8, usize, *mut c_char, usize) -> c_long;

unsafe extern "C" {
    fn harness_image(bytes: *const u8, size: usize, out: *mut c_char, room: usize) -> c_long;
    fn harness_peek(bytes: *const u8, size: usize, out: *mut c_char, room: usize) -> c_long;
}

/// What the shim makes of an image; `None` where it refuses it.
pub(crate) fn image(bytes: &[u8]) -> Option<Vec<u8>> {
    call(harness_image, bytes)
}

/// The needed names that the shim sees, each with a NUL after it.
pub(crate) fn peek(bytes: &[u8]) -> Vec<u8> {
    call(harness_peek, bytes).unwrap_or_default()
}

fn call(reader: Reader, bytes: &[u8]) -> Option<Vec<u8>> {
    OUT.with_borrow_mut(|out| {
        // SAFETY: both slices live as long as the call, and the harness keeps to the sizes, or ends the process.
        let written = unsafe { reader(bytes.as_ptr(), bytes.len(), out.as_mut_ptr().cast(), out.len()) };
        usize::try_from(written).ok().and_then(|written| out.get(..written)).map(<[u8]>::to_vec)
    })
}
