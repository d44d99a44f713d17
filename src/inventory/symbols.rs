//! The release of a library by its version functions and exported symbols.
//!
//! Takes an object; gives the numbers that its version functions (`ncclGetVersion`, `cublasLtGetVersion`) return, read
//! from their instructions, and the known releases that its symbols fit. Runs nothing. It searches the instructions for
//! constants without a disassembler: a number must fit the soname's major, and be the only one that does.

use crate::elf::Elf;
use crate::tables::{Bracket, Version, bracket};

/// The form of the number that a version function returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// 12040: CUDA 12.4.
    Runtime,
    /// 11201: 11.2.1.
    Short,
    /// 120405: 12.4.5.
    Long,
    /// Short up to cuDNN 8, long from 9 on.
    Cudnn,
    /// Two numbers, for two pointers.
    Pair,
}

/// A function that returns a release.
struct VersionFunction {
    stem: &'static str,
    name: &'static str,
    form: Form,
    /// Whether the release is the library's own, rather than that of the CUDA runtime inside it.
    own: bool,
}

/// The version functions, as NVIDIA's headers declare them. Not `cublasGetVersion_v2`, which calls cuBLASLt,
/// and not the runtime inside cuBLASLt, which is often of an older toolkit than the library (12.3 in 12.4.5).
const FUNCTIONS: [VersionFunction; 38] = [
    own("cudart", "cudaRuntimeGetVersion", Form::Runtime),
    own("cublasLt", "cublasLtGetVersion", Form::Long),
    own("cufft", "cufftGetVersion", Form::Short),
    own("curand", "curandGetVersion", Form::Short),
    own("cusolver", "cusolverGetVersion", Form::Short),
    own("cusparse", "cusparseGetVersion", Form::Short),
    own("cusparseLt", "cusparseLtGetVersion", Form::Short),
    own("nccl", "ncclGetVersion", Form::Long),
    own("nvrtc", "nvrtcVersion", Form::Pair),
    own("nvrtc.alt", "nvrtcVersion", Form::Pair),
    own("nvJitLink", "nvJitLinkVersion", Form::Pair),
    own("nvfatbin", "nvFatbinVersion", Form::Pair),
    own("cudnn_graph", "cudnnGetVersion", Form::Cudnn),
    own("cudnn_ops_infer", "cudnnGetVersion", Form::Cudnn),
    own("cudnn_adv", "cudnnAdvVersionCheck", Form::Cudnn),
    own("cudnn_cnn", "cudnnCnnVersionCheck", Form::Cudnn),
    own("cudnn_ops", "cudnnOpsVersionCheck", Form::Cudnn),
    own("cudnn_ops_infer", "cudnnOpsInferVersionCheck", Form::Cudnn),
    own("cudnn_ops_train", "cudnnOpsTrainVersionCheck", Form::Cudnn),
    own("cudnn_cnn_infer", "cudnnCnnInferVersionCheck", Form::Cudnn),
    own("cudnn_cnn_train", "cudnnCnnTrainVersionCheck", Form::Cudnn),
    own("cudnn_adv_infer", "cudnnAdvInferVersionCheck", Form::Cudnn),
    own("cudnn_adv_train", "cudnnAdvTrainVersionCheck", Form::Cudnn),
    own("cublasmp", "cublasMpGetVersion", Form::Long),
    own("cudensitymat", "cudensitymatGetVersion", Form::Long),
    own("cufftMp", "cufftGetVersion", Form::Short),
    own("cupauliprop", "cupaulipropGetVersion", Form::Long),
    own("cusolverMp", "cusolverMpGetVersion", Form::Long),
    own("custabilizer", "custabilizerGetVersion", Form::Long),
    own("custatevec", "custatevecGetVersion", Form::Long),
    own("cutensornet", "cutensornetGetVersion", Form::Long),
    own("mathdx", "mathdxGetVersion", Form::Long),
    // 8601 is TensorRT 8.6.1, 100701 is 10.7.1: the soname's major decides.
    own("nvinfer", "getInferLibVersion", Form::Long),
    own("nvinfer", "getInferLibVersion", Form::Short),
    own("nvinfer_lean", "getInferLibVersion", Form::Long),
    own("tensorrt_rtx", "getInferLibVersion", Form::Long),
    runtime("cudnn_graph", "cudnnGetCudartVersion"),
    runtime("cudnn_ops_infer", "cudnnGetCudartVersion"),
];

const fn own(stem: &'static str, name: &'static str, form: Form) -> VersionFunction {
    VersionFunction { stem, name, form, own: true }
}

const fn runtime(stem: &'static str, name: &'static str) -> VersionFunction {
    VersionFunction { stem, name, form: Form::Runtime, own: false }
}

/// A release that a version function returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Returned {
    pub(super) function: &'static str,
    /// The library's own release, or that of the CUDA it was built with.
    pub(super) own: bool,
    pub(super) release: Version,
}

/// The releases that the version functions of a library return; `major` is the first number of its soname.
pub(super) fn returned(elf: &Elf<'_>, stem: &str, major: u64) -> Vec<Returned> {
    let read = |function: &VersionFunction| {
        let reading = |numbers: &Numbers| match function.form {
            Form::Pair => numbers.pair(),
            form => numbers.only(|number| release(form, number, function.own.then_some(major))),
        };
        let release = Numbers::nearest(elf, function.name, reading)?;
        // Of a pair, only the first number can be checked.
        let fits = !function.own || release.major() == major;
        fits.then_some(Returned { function: function.name, own: function.own, release })
    };
    FUNCTIONS.iter().filter(|function| function.stem == stem).filter_map(read).collect()
}

/// The known releases that the exported symbols of a library fit between.
pub(super) fn between(elf: &Elf<'_>, stem: &str, soname: &str) -> Option<Bracket> {
    bracket(stem, soname, |symbol| matches!(elf.lookup_newest(symbol.as_bytes()), Ok(Some(_))))
}

/// The release that a number encodes, if of this major.
fn release(form: Form, number: u32, major: Option<u64>) -> Option<Version> {
    let form = match (form, major) {
        (Form::Cudnn, Some(..9)) => Form::Short,
        (Form::Cudnn, _) => Form::Long,
        (form, _) => form,
    };
    let parts = match form {
        // The last digit is zero in every release.
        Form::Runtime if number.is_multiple_of(10) => vec![number / 1000, number % 1000 / 10],
        Form::Runtime => return None,
        Form::Short => vec![number / 1000, number % 1000 / 100, number % 100],
        Form::Long => vec![number / 10_000, number % 10_000 / 100, number % 100],
        Form::Cudnn | Form::Pair => return None,
    };
    let first = parts.first().copied().map(u64::from)?;
    let fits = major.map_or((MIN_CUDA..=MAX_CUDA).contains(&first), |major| first == major);
    // cuSPARSELt, the only library below 1, began at 0.2; smaller numbers are no versions.
    let fits = fits && number >= MIN_NUMBER;
    // The highest minors are those of CUDA 11.8 and 12.9.
    let fits = fits && (form != Form::Runtime || parts.get(1).is_some_and(|minor| *minor < 10));
    let text = parts.iter().map(u32::to_string).collect::<Vec<_>>().join(".");
    if fits { Version::parse(&text) } else { None }
}

/// The possible CUDA majors of a runtime.
const MIN_CUDA: u64 = 10;
const MAX_CUDA: u64 = 19;
/// The lowest number that encodes a release.
const MIN_NUMBER: u32 = 200;
/// Bytes of code searched in a version function, and in each function that it calls.
const MAX_CODE: u64 = 2048;
const MAX_CALLED: u64 = 24;
/// The most calls followed.
const MAX_CALLS: usize = 32;

/// The constants in the code of a function.
#[derive(Debug, Default)]
struct Numbers {
    all: Vec<u32>,
    /// The numbers stored through the first and the second argument.
    stored: [Option<u32>; 2],
}

impl Numbers {
    /// The release that `read` finds among the numbers of a function, else of the first instructions of the functions
    /// that it calls: API functions of the runtime are wrappers.
    fn nearest(elf: &Elf<'_>, name: &str, read: impl Fn(&Self) -> Option<Version>) -> Option<Version> {
        // Other machines have other instructions; their evidence is the texts.
        if elf.ident().machine_name() != "x86-64" {
            return None;
        }
        let (address, code) = elf.code(name.as_bytes(), MAX_CODE).ok()??;
        let mut own = Self::default();
        own.add(code);
        read(&own).or_else(|| {
            let mut called = Self::default();
            for target in calls(address, code).into_iter().take(MAX_CALLS) {
                called.add(elf.loaded(target, MAX_CALLED).unwrap_or_default());
            }
            read(&called)
        })
    }

    fn add(&mut self, code: &[u8]) {
        for at in 0..code.len() {
            let rest = code.get(at..).unwrap_or_default();
            let found = match rest {
                // mov $n, %reg
                [0xb8..=0xbf, rest @ ..] => number(rest),
                // movl $n, (%rdi) and (%rsi)
                [0xc7, 0x07, rest @ ..] => number(rest).inspect(|n| self.store(0, *n)),
                [0xc7, 0x06, rest @ ..] => number(rest).inspect(|n| self.store(1, *n)),
                // movl $n, (%reg), with a short displacement, or with a base that needs one more byte
                [0xc7, 0x00..=0x03, rest @ ..] | [0xc7, 0x04, _, rest @ ..] => number(rest),
                [0xc7, 0x44, _, _, rest @ ..] | [0xc7, 0x40..=0x47, _, rest @ ..] => number(rest),
                // with a long displacement, from a base or from the next instruction
                [0xc7, 0x84, _, _, _, _, _, rest @ ..] => number(rest),
                [0xc7, 0x05 | 0x80..=0x87, _, _, _, _, rest @ ..] => number(rest),
                _ => None,
            };
            self.all.extend(found);
        }
    }

    fn store(&mut self, argument: usize, number: u32) {
        if let Some(slot) = self.stored.get_mut(argument) {
            slot.get_or_insert(number);
        }
    }

    /// The only release that any of the numbers encodes.
    fn only(&self, read: impl Fn(u32) -> Option<Version>) -> Option<Version> {
        let mut releases: Vec<Version> = self.all.iter().filter_map(|number| read(*number)).collect();
        releases.sort();
        releases.dedup();
        if releases.len() == 1 { releases.pop() } else { None }
    }

    fn pair(&self) -> Option<Version> {
        let [Some(major), Some(minor)] = self.stored else { return None };
        // The stored number may be a status; a minor has one or two digits.
        (minor < 100).then(|| Version::parse(&format!("{major}.{minor}"))).flatten()
    }
}

fn number(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

/// The targets of `call` and `jmp` instructions with a displacement.
fn calls(address: u64, code: &[u8]) -> Vec<u64> {
    let target = |at: usize| {
        let [0xe8 | 0xe9, rest @ ..] = code.get(at..)? else { return None };
        let displacement = i32::from_le_bytes(*rest.first_chunk()?);
        let next = address.checked_add(u64::try_from(at).ok()?)?.checked_add(5)?;
        next.checked_add_signed(displacement.into())
    };
    let mut targets: Vec<u64> = (0..code.len()).filter_map(target).collect();
    targets.sort_unstable();
    targets.dedup();
    targets
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn numbers(code: &[u8]) -> Numbers {
        let mut numbers = Numbers::default();
        numbers.add(code);
        numbers
    }

    #[test]
    fn numbers_encode_releases_of_the_right_major() {
        let text = |form, number, major| release(form, number, major).map(|release| release.to_string());
        assert_eq!(text(Form::Runtime, 12_040, Some(12)).as_deref(), Some("12.4"));
        assert_eq!(text(Form::Runtime, 11_080, None).as_deref(), Some("11.8"));
        assert_eq!(text(Form::Short, 11_201, Some(11)).as_deref(), Some("11.2.1"));
        assert_eq!(text(Form::Short, 12_710, Some(12)).as_deref(), Some("12.7.10"));
        assert_eq!(text(Form::Short, 701, Some(0)).as_deref(), Some("0.7.1"));
        assert_eq!(text(Form::Long, 120_405, Some(12)).as_deref(), Some("12.4.5"));
        assert_eq!(text(Form::Long, 22_105, Some(2)).as_deref(), Some("2.21.5"));
        assert_eq!(text(Form::Cudnn, 8902, Some(8)).as_deref(), Some("8.9.2"));
        assert_eq!(text(Form::Cudnn, 91_002, Some(9)).as_deref(), Some("9.10.2"));
        for (form, number, major) in [
            (Form::Runtime, 12_041, Some(12)),
            (Form::Runtime, 12_040, Some(11)),
            (Form::Runtime, 12_990, Some(12)),
            (Form::Runtime, 2000, None),
            (Form::Long, 65_536, Some(9)),
            (Form::Cudnn, 3009, Some(9)),
            (Form::Short, 199, Some(0)),
        ] {
            assert_eq!(text(form, number, major), None, "{number}");
        }
    }

    /// `curandGetVersion` and `nvrtcVersion` as compilers write them.
    #[test]
    fn constants_are_read_from_instructions() {
        let curand = numbers(&[0xc7, 0x07, 0x41, 0x28, 0, 0, 0x31, 0xc0, 0xc3]);
        assert_eq!(curand.only(|n| release(Form::Short, n, Some(10))).unwrap().to_string(), "10.3.5");
        let nvrtc = [
            &[0x48, 0x85, 0xff, 0x74, 0x17, 0xc7, 0x07, 12, 0, 0, 0, 0x31, 0xc0, 0xc7, 0x06, 4, 0, 0, 0, 0xc3][..],
            &[0xb8, 3, 0, 0, 0, 0xc3],
        ];
        assert_eq!(numbers(&nvrtc.concat()).pair().unwrap().to_string(), "12.4");
        let cudnn = numbers(&[0xb8, 0, 0, 1, 0, 0xb8, 0xf4, 0x5f, 1, 0, 0xc3]);
        assert_eq!(cudnn.only(|n| release(Form::Cudnn, n, Some(9))).unwrap().to_string(), "9.1.0");
        let on_the_stack = numbers(&[0xc7, 0x84, 0x24, 0, 1, 0, 0, 0xf4, 0x5f, 1, 0]);
        assert_eq!(on_the_stack.only(|n| release(Form::Cudnn, n, Some(9))).unwrap().to_string(), "9.1.0");
        // Two releases fit: ambiguous.
        let two = numbers(&[0xb8, 0xf4, 0x5f, 1, 0, 0xb8, 0xf5, 0x5f, 1, 0]);
        assert_eq!(two.only(|n| release(Form::Cudnn, n, Some(9))), None);
    }

    #[test]
    fn calls_go_forward_and_backward() {
        let code = [0xe8, 0x0b, 0, 0, 0, 0x90, 0xe9, 0xf5, 0xff, 0xff, 0xff];
        assert_eq!(calls(0x1000, &code), [0x1000, 0x1010]);
        assert_eq!(calls(0, &[0xe8, 0, 0, 0, 0x80]), [0; 0]);
        assert_eq!(calls(u64::MAX, &code), [0; 0]);
    }

    proptest! {
        #[test]
        fn no_code_causes_a_panic(code: Vec<u8>, address: u64) {
            let read = numbers(&code);
            let _ = (read.pair(), read.only(|n| release(Form::Cudnn, n, Some(9))));
            prop_assert!(calls(address, &code).len() <= code.len());
        }

        #[test]
        fn no_number_causes_a_panic(number: u32, major in proptest::option::of(0u64..20)) {
            for form in [Form::Runtime, Form::Short, Form::Long, Form::Cudnn, Form::Pair] {
                let read = release(form, number, major);
                prop_assert!(major.is_none() || read.is_none_or(|read| Some(read.major()) == major));
            }
        }
    }
}
