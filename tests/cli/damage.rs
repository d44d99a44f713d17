//! Files in an environment's library directory that are not libraries: the good copy elsewhere is chosen, and
//! everything else goes on.

use super::chosen;
use crate::support::*;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// Puts something at the path of the environment's libcublasLt, finds the copy in `/opt/mine` chosen instead, and gives
/// the report about the first.
fn instead_of(put: impl Fn(&Path)) -> String {
    let (world, venv) = Machine::with_venv();
    torch(&venv);
    venv.wheel("nvidia-cublas-cu12", "12.4.5.8", &cublas());
    venv.wheel("nvidia-cudnn-cu12", "9.1.0.70", &cudnn());
    for (path, library) in cublas() {
        library.build(&world.path("opt/mine").join(Path::new(path).file_name().unwrap()));
    }
    put(&venv.site.join("nvidia/cublas/lib/libcublasLt.so.12"));

    let resolve = |more: &[&str]| {
        let mut command = world.rooted(["resolve", "--python", "/venv"]);
        Process::of(&mut bound_by_rights(command.args(more)))
    };
    let placed = resolve(&["--place", "/opt/mine", "--format", "json"]);
    let answer = placed.json();
    assert_eq!(placed.code, Some(0), "{answer}");
    for soname in ["libcublas.so.12", "libcublasLt.so.12"] {
        assert_eq!(chosen(&answer, soname).as_deref(), Some(&*Path::new("/opt/mine").join(soname)), "{answer}");
    }
    // Without the good copy the answer is no, and still an answer.
    assert_eq!(resolve(&[]).code, Some(1));

    let explained = resolve(&["--place", "/opt/mine", "--explain", "libcublasLt.so.12"]);
    explained.ok();
    let (_, others) = explained.out.split_once("\n\n").unwrap();
    let others = others.replace("/venv/lib/python3.11/site-packages/nvidia/cublas/lib/", "[…]/");
    // Where the linker put the dynamic table, and for what machine, is its own affair.
    let words = others.split_inclusive([' ', '\n']).map(|word| match word.trim_end() {
        "x86-64" | "aarch64" => word.replace(word.trim_end(), "[MACHINE]"),
        offset if offset.starts_with("0x") && offset.len() > 4 => word.replace(offset, "[OFFSET]"),
        _ => word.to_owned(),
    });
    words.collect()
}

/// Changes the bytes of the library.
fn rewritten(change: impl Fn(&mut Vec<u8>)) -> String {
    instead_of(|path| {
        let mut bytes = fs::read(path).unwrap();
        change(&mut bytes);
        fs::write(path, bytes).unwrap();
    })
}

#[test]
fn resolve_skips_a_truncated_library() {
    insta::assert_snapshot!(rewritten(|bytes| bytes.truncate(bytes.len() / 2)), @"
    […]/libcublasLt.so.12 (12.4.5.8)
    not chosen: truncated: the file ends before its segments do
    ");
    // In the middle of the ELF header, and of the program headers.
    insta::assert_snapshot!(rewritten(|bytes| bytes.truncate(40)), @"
    […]/libcublasLt.so.12 (12.4.5.8)
    not chosen: too short for an ELF header
    ");
    insta::assert_snapshot!(rewritten(|bytes| bytes.truncate(100)), @"
    […]/libcublasLt.so.12 (12.4.5.8)
    not chosen: the file ends inside its program headers at 0x40
    ");
    insta::assert_snapshot!(rewritten(Vec::clear), @"
    […]/libcublasLt.so.12 (12.4.5.8)
    not chosen: too short for an ELF header
    ");
}

#[test]
fn resolve_skips_a_file_that_is_not_elf() {
    insta::assert_snapshot!(rewritten(|bytes| *bytes = b"version https://git-lfs.github.com/spec/v1\n".to_vec()), @"
    […]/libcublasLt.so.12 (12.4.5.8)
    not chosen: not an ELF file
    ");
}

#[test]
fn resolve_skips_another_class_or_machine() {
    insta::assert_snapshot!(rewritten(|bytes| bytes[4] = 1), @"
    […]/libcublasLt.so.12 (12.4.5.8)
    not chosen: an object for another machine: 32-bit [MACHINE]
    ");
    // cudashim is not built for s390x.
    insta::assert_snapshot!(rewritten(|bytes| bytes[18] = 22), @"
    […]/libcublasLt.so.12 (12.4.5.8)
    not chosen: an object for another machine: 64-bit s390
    ");
}

#[test]
fn resolve_skips_what_is_not_a_file() {
    insta::assert_snapshot!(instead_of(|path| {
        fs::remove_file(path).unwrap();
        fs::create_dir(path).unwrap();
    }), @"  no other copy was found");
    insta::assert_snapshot!(instead_of(|path| {
        fs::remove_file(path).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    }), @"  no other copy was found");
}

#[test]
fn resolve_skips_dangling_links() {
    insta::assert_snapshot!(instead_of(|path| {
        fs::remove_file(path).unwrap();
        symlink("libcublasLt.so.12.4.5.8", path).unwrap();
    }), @"  no other copy was found");
    insta::assert_snapshot!(instead_of(|path| {
        fs::remove_file(path).unwrap();
        let other = path.with_file_name("libcublasLt.so");
        symlink(&other, path).unwrap();
        symlink(path, other).unwrap();
    }), @"  no other copy was found");
}

#[test]
fn resolve_skips_an_unreadable_library() {
    insta::assert_snapshot!(instead_of(|path| fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap()), @"
    […]/libcublasLt.so.12 (12.4.5.8)
    not chosen: cannot be opened: Permission denied (os error 13)
    ");
}

#[test]
fn resolve_skips_another_library_under_the_name() {
    insta::assert_snapshot!(instead_of(|path| {
        let other = crate::support::Lib::new("libcublasLt.so.11").defines(&["cublasLtCreate"]);
        other.build(path);
    }), @"
    […]/libcublasLt.so.12 (12.4.5.8)
    not chosen: named `libcublasLt.so.12`, but its soname is `libcublasLt.so.11`
    ");
}
