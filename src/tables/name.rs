//! File names of NVIDIA's libraries: `lib<stem>.so[.digits]*`, and as vendored into a wheel: `lib<stem>-<hash>.so…`,
//! `lib<stem>.<hash>.so…`.
//!
//! Takes a file name or soname; returns the library it names, if it is NVIDIA's. Exact: a name that only
//! resembles one (`libcudart_stub.so`, `libcudart.so.12.bak`) does not match. Never opens the file.

use std::ffi::OsStr;

use super::{FamilyRow, Version, family_of_stem};

/// The parsed name of a library of NVIDIA.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LibraryName<'a> {
    /// The library.
    pub row: &'static FamilyRow,
    /// The eight hexadecimal digits that auditwheel puts after the stem of a library it copies into
    /// a wheel, `libcudart-e409450e.so.11.0`, and torchvision's own script after a dot, `libcudart.e8e8b82a.so.12`.
    pub hash: Option<&'a str>,
    /// The digits after `.so.`: `12`, `11.0`, `580.82.07`.
    pub version: Option<Version>,
}

impl LibraryName<'_> {
    /// The stem, as in the table.
    #[must_use]
    pub fn stem(&self) -> &'static str {
        self.row.stem
    }

    /// The name without its hash: that of the library before it was bundled.
    #[must_use]
    pub fn unhashed(&self) -> String {
        match &self.version {
            Some(version) => format!("{}.{version}", self.row.bare_name()),
            None => self.row.bare_name(),
        }
    }
}

/// Parses a file name or soname; `None` where it is not one of NVIDIA's. Paths are not names.
///
/// ```
/// use cudashim::internal::tables::parse_library_name;
///
/// let name = parse_library_name("libnvrtc-builtins.so.12.4").unwrap();
/// assert_eq!(name.row.family, "nvrtc");
/// assert_eq!(name.version.unwrap().to_string(), "12.4");
/// assert!(parse_library_name("libcurl.so.4").is_none());
/// ```
#[must_use]
pub fn parse_library_name<S: AsRef<OsStr> + ?Sized>(name: &S) -> Option<LibraryName<'_>> {
    // Every name of the table is ASCII.
    let name = name.as_ref().to_str()?;
    let mut body = name;
    while let Some((front, number)) = body.rsplit_once('.') {
        if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
            break;
        }
        body = front;
    }
    let version = match name.get(body.len()..)?.strip_prefix('.') {
        Some(text) => Some(Version::parse(text)?),
        None => None,
    };
    let file = body.strip_suffix(".so")?;
    // The whole stem first: `nvrtc-builtins` has a hyphen of its own.
    if let Some(row) = row_of(file) {
        return Some(LibraryName { row, hash: None, version });
    }
    let (file, hash) = file.rsplit_once(['-', '.'])?;
    if hash.len() != 8 || !hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    Some(LibraryName { row: row_of(file)?, hash: Some(hash), version })
}

fn row_of(file: &str) -> Option<&'static FamilyRow> {
    let with_lib = file.strip_prefix("lib").and_then(family_of_stem).filter(|row| row.lead == "lib");
    with_lib.or_else(|| family_of_stem(file).filter(|row| row.lead.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::families;
    use proptest::prelude::*;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn parses_real_names() {
        let cases = [
            ("libcudart.so", "cudart", None, None),
            ("libcudart.so.12", "cudart", None, Some("12")),
            ("libcudart.so.11.0", "cudart", None, Some("11.0")),
            ("libcudart.so.12.4.127", "cudart", None, Some("12.4.127")),
            ("libcudart-e409450e.so.11.0", "cudart", Some("e409450e"), Some("11.0")),
            ("libcudart.e8e8b82a.so.12", "cudart", Some("e8e8b82a"), Some("12")),
            ("libnvjpeg.8dd2b5e6.so.12", "nvjpeg", Some("8dd2b5e6"), Some("12")),
            ("libnvrtc-builtins.12345678.so.12.4", "nvrtc-builtins", Some("12345678"), Some("12.4")),
            ("libcusparseLt-294d6944.so.0", "cusparseLt", Some("294d6944"), Some("0")),
            ("libcudnn-74a4c495.so.9.1.0", "cudnn", Some("74a4c495"), Some("9.1.0")),
            ("libnvrtc-d833c4f3.so.11.2", "nvrtc", Some("d833c4f3"), Some("11.2")),
            ("libnvrtc-builtins.so.12.4", "nvrtc-builtins", None, Some("12.4")),
            ("libnvrtc-builtins-07fb3db5.so.11.8", "nvrtc-builtins", Some("07fb3db5"), Some("11.8")),
            ("libnvrtc.alt.so.12", "nvrtc.alt", None, Some("12")),
            ("libnvrtc-builtins.alt.so.12.9", "nvrtc-builtins.alt", None, Some("12.9")),
            ("libcudnn_engines_runtime_compiled.so.9", "cudnn_engines_runtime_compiled", None, Some("9")),
            ("libcudnn_cnn.so.9.10.2", "cudnn_cnn", None, Some("9.10.2")),
            ("libcufile_rdma.so.1", "cufile_rdma", None, Some("1")),
            ("libcupti.so.2025.1.1", "cupti", None, Some("2025.1.1")),
            ("libnvperf_host.so", "nvperf_host", None, None),
            ("libcuda.so.580.82.07", "cuda", None, Some("580.82.07")),
            ("libcuda.so.1.1", "cuda", None, Some("1.1")),
            ("libnvidia-ml.so.1", "nvidia-ml", None, Some("1")),
            ("libnvidia-pkcs11-openssl3.so.580.82.07", "nvidia-pkcs11-openssl3", None, Some("580.82.07")),
            ("nvshmem_bootstrap_uid.so.3", "nvshmem_bootstrap_uid", None, Some("3")),
        ];
        for (text, stem, hash, version) in cases {
            let name = parse_library_name(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(name.stem(), stem, "{text}");
            assert_eq!(name.hash, hash, "{text}");
            assert_eq!(name.version.as_ref().map(Version::as_str), version, "{text}");
            let unhashed = match hash {
                Some(hash) => text.replace(&format!("-{hash}"), "").replace(&format!(".{hash}"), ""),
                None => text.to_owned(),
            };
            assert_eq!(name.unhashed(), unhashed);
        }
    }

    #[test]
    fn look_alikes_do_not_match() {
        let names = [
            "",
            "lib",
            ".so",
            "lib.so",
            "libcudart",
            "libcudart.so.",
            "libcudart.so.12.",
            "libcudart.so..12",
            "libcudart.so.12.bak",
            "libcudart.so.12-gdb.py",
            "libcudart.so.12 ",
            "libcudart.so.v12",
            "libcudart.so12",
            "libcudart_stub.so",
            "libcudart-static.so",
            "libcudart_static.a",
            "libcudart.a",
            "libcudart.dylib",
            "libcudart.12.so",
            "libcudart.so.12.debug",
            "libcudart.so.12.so",
            "libcudart-e409450.so.11.0",
            "libcudart-E409450E.so.11.0",
            "libcudart-e409450g.so.11.0",
            "libcudart-e409450e1.so.11.0",
            "libcudart.e409450.so.11.0",
            "libcudart.E409450E.so.11.0",
            "libcudart.e409450e.e409450e.so.11.0",
            "libcudart-.so.12",
            "libcudart-e409450e-e409450e.so.11.0",
            "Libcudart.so.12",
            "libCudart.so.12",
            "xlibcudart.so.12",
            "/usr/lib/libcudart.so.12",
            "libcudart.so.99999999999999999999",
            "cudart.so.12",
            "libcurl.so",
            "libcurl.so.4",
            "libcuda-injection.so",
            "libcudadevrt.a",
            "libcublasxt.so",
            "libcublaslt.so.12",
            "libcudnn_.so.9",
            "libnvrtc-builtins-prev.so",
            "libnvidia-glcore.so.580.82.07",
            "libOpenCL.so.1",
            "libcaffe2_nvrtc.so",
            "libtorch_cuda.so",
            "libnvshmem_bootstrap_uid.so.3",
            "libvgpu.so",
            "libcudashim.so",
        ];
        for text in names {
            assert!(parse_library_name(text).is_none(), "{text:?}");
        }
        assert!(parse_library_name(OsStr::from_bytes(b"libcudart\xff.so.12")).is_none());
    }

    #[test]
    fn every_row_is_reachable_with_and_without_a_hash() {
        for row in families() {
            let plain = format!("{}.12", row.bare_name());
            assert_eq!(parse_library_name(&plain).unwrap().stem(), row.stem);
            for mark in ['-', '.'] {
                let hashed = format!("{}{}{mark}0123abcd.so.12", row.lead, row.stem);
                let name = parse_library_name(&hashed).unwrap();
                assert_eq!((name.stem(), name.hash), (row.stem, Some("0123abcd")));
            }
        }
    }

    proptest! {
        #[test]
        fn reads_only_what_it_can_write_back(text in "(lib)?(cudart|cudnn_ops|nvrtc-builtins|curl)([-.][0-9a-g]{7,9})?(\\.so)?(\\.[0-9a]{0,3}){0,3}") {
            if let Some(name) = parse_library_name(&text) {
                let hashes = name.hash.map_or_else(|| vec![String::new()], |hash| vec![format!("-{hash}"), format!(".{hash}")]);
                let written = |hash: &String| name.unhashed().replacen(name.stem(), &format!("{}{hash}", name.stem()), 1);
                prop_assert!(hashes.iter().any(|hash| written(hash) == text));
            }
        }
    }
}
