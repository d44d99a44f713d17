//! The libraries that `import torch` opens before its extension module, in order.
//!
//! Takes the text of `torch/__init__.py`; gives the libraries that its `_load_global_deps` opens by path: always, or
//! only if `libtorch_global_deps.so` cannot be loaded. The list differs by release, so it is parsed: a name is a pair
//! of literals `"cublas", "libcublas.so.*[0-9]"`. Never runs Python.

use crate::host::Host;
use crate::python::TorchBuild;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// One library that torch opens itself: the folder below `nvidia` and the pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Opened {
    folder: String,
    pattern: String,
}

/// The libraries that torch's `__init__.py` opens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ImportOrder {
    /// After `libtorch_global_deps.so`, if [`ImportOrder::guard`] is part of a mapped path.
    pub(super) after: Vec<Opened>,
    /// The text that must occur in `/proc/self/maps`.
    pub(super) guard: Option<String>,
    /// Before a second try, if `libtorch_global_deps.so` fails because one of these is not found.
    pub(super) fallback: Vec<Opened>,
}

impl ImportOrder {
    pub(super) fn read(host: &Host, torch: &TorchBuild) -> Self {
        host.read_text(&torch.dir.join("__init__.py")).map(|text| Self::parse(&text)).unwrap_or_default()
    }

    fn parse(text: &str) -> Self {
        let part = |from: &str, to: &str| {
            let start = text.find(from)?;
            let rest = text.get(start..)?;
            let end = rest.get(1..)?.find(to).map_or(rest.len(), |at| at + 1);
            rest.get(..end)
        };
        let lister = part("\ndef _preload_cuda_deps(", "\ndef ").unwrap_or_default();
        let loader = part("\ndef _load_global_deps(", "\n\n\n").unwrap_or_default();
        let (tried, failed) = loader.split_once("except OSError").unwrap_or((loader, ""));
        let mut order = Self { guard: guard(tried), ..Self::default() };
        // From 2.9 on one list serves both cases; before, literal calls and a separate table.
        let one_list = opened(lister);
        if tried.contains("_preload_cuda_deps(required=False)") {
            order.after.clone_from(&one_list);
        } else {
            order.after = opened(tried);
        }
        order.fallback = if one_list.is_empty() { opened(failed) } else { one_list };
        order
    }
}

impl Opened {
    /// `libcublas.so.`: the file name up to the star.
    fn start(&self) -> &str {
        self.pattern.split('*').next().unwrap_or_default()
    }

    /// `libcublas`: the text that an error must contain for the fallback.
    pub(super) fn stem(&self) -> &str {
        self.pattern.split('.').next().unwrap_or_default()
    }

    /// The file that torch would open: the match in the first directory of `sys.path` that has one.
    pub(super) fn find(&self, host: &Host, torch: &TorchBuild) -> Option<PathBuf> {
        let major = torch.cuda_release().map(|(major, _)| format!("nvidia/cu{major}/lib"));
        for site in &torch.sites {
            let beside =
                [Some(format!("nvidia/{}/lib", self.folder)), major.clone(), Some(format!("{}/lib", self.folder))];
            for dir in beside.into_iter().flatten().map(|dir| site.join(dir)) {
                let entries = host.list(&dir).unwrap_or_default();
                let fits = |name: &OsStr| {
                    let name = name.as_bytes();
                    name.starts_with(self.start().as_bytes()) && name.last().is_some_and(u8::is_ascii_digit)
                };
                if let Some(entry) = entries.iter().find(|entry| fits(&entry.name)) {
                    return Some(dir.join(&entry.name));
                }
            }
        }
        None
    }
}

/// The text of `if "…" not in _maps`.
fn guard(text: &str) -> Option<String> {
    let before = text.split_once(" not in _maps")?.0;
    let (rest, _) = before.rsplit_once('"')?;
    rest.rsplit_once('"').map(|(_, guard)| guard.to_owned())
}

/// The pairs of literals whose second is the pattern of a library, in order.
fn opened(text: &str) -> Vec<Opened> {
    let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
    let code = code.join("\n");
    let patterns = code.match_indices(END).filter_map(|(at, _)| {
        let upto = code.get(..at + END.len())?;
        let quote = code.get(at + END.len()..)?.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        let (before, pattern) = upto.rsplit_once(quote)?;
        let before = before.trim_end().trim_end_matches([',', ':']).trim_end().strip_suffix(quote)?;
        let (_, folder) = before.rsplit_once(quote)?;
        pattern.starts_with("lib").then(|| Opened { folder: folder.to_owned(), pattern: pattern.to_owned() })
    });
    patterns.collect()
}

/// The end of every pattern.
const END: &str = ".so.*[0-9]";

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[Opened]) -> Vec<String> {
        list.iter().map(|one| format!("{}/{}", one.folder, one.stem())).collect()
    }

    #[test]
    fn a_fallback_table() {
        let text = "\ndef _preload_cuda_deps(lib_folder: str, lib_name: str) -> None:\n    x = \"nvidia\"\n\n\n\
            def _load_global_deps() -> None:\n    try:\n        CDLL(x)\n    except OSError as err:\n        cuda_libs = {\n\
            \"cublas\": \"libcublas.so.*[0-9]\",\n            'nvtx': 'libnvToolsExt.so.*[0-9]',\n        }\n\n\nif 1:\n    \"a\", \"libz.so.*[0-9]\"\n";
        let order = ImportOrder::parse(text);
        assert_eq!(names(&order.fallback), ["cublas/libcublas", "nvtx/libnvToolsExt"]);
        assert!(order.after.is_empty() && order.guard.is_none());
    }

    #[test]
    fn calls_after_a_maps_check() {
        let text = "\ndef _preload_cuda_deps(lib_folder, lib_name):\n    pass\n\n\ndef _load_global_deps() -> None:\n    try:\n\
            CDLL(x)\n        if \"nvidia/cuda_runtime/lib/libcudart.so\" not in _maps:\n            return\n\
            _preload_cuda_deps(\"cuda_nvrtc\", \"libnvrtc.so.*[0-9]\")\n\
            _preload_cuda_deps(\"nvjitlink\", \"libnvJitLink.so.*[0-9]\")\n    except OSError as err:\n\
            cuda_libs = {\"cublas\": \"libcublas.so.*[0-9]\"}\n\n\n";
        let order = ImportOrder::parse(text);
        assert_eq!(names(&order.after), ["cuda_nvrtc/libnvrtc", "nvjitlink/libnvJitLink"]);
        assert_eq!(order.guard.as_deref(), Some("nvidia/cuda_runtime/lib/libcudart.so"));
        assert_eq!(names(&order.fallback), ["cublas/libcublas"]);
    }

    #[test]
    fn one_list_for_both_cases() {
        let text = "\ndef _preload_cuda_deps(err=None, required=True):\n    cuda_libs = [\n\
            (\"cublas\", \"libcublasLt.so.*[0-9]\"),\n        (\"cublas\", \"libcublas.so.*[0-9]\"),\n    ]\n\
            _preload_cuda_lib(\"nvtx\", \"libnvToolsExt.so.*[0-9]\", required=False)\n\n\n\
            def _load_global_deps():\n    try:\n        if \"libcudart.so\" not in _maps:\n            return\n\
            _preload_cuda_deps(required=False)\n    except OSError as err:\n        _preload_cuda_deps(err)\n\n\n";
        let order = ImportOrder::parse(text);
        assert_eq!(names(&order.after), ["cublas/libcublasLt", "cublas/libcublas", "nvtx/libnvToolsExt"]);
        assert_eq!(order.after, order.fallback);
        assert_eq!(order.guard.as_deref(), Some("libcudart.so"));
    }

    #[test]
    fn an_unknown_init_opens_nothing() {
        assert_eq!(ImportOrder::parse(""), ImportOrder::default());
        assert_eq!(ImportOrder::parse("print(\"hello\")\n"), ImportOrder::default());
    }
}
