//! What tests share: a temporary machine, small libraries made with the C compiler.

pub(crate) mod lab;
