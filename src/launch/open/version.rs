//! The version numbers that NVIDIA's libraries return.
//!
//! Takes the number that a function returned; gives a version, or `None`. Calls nothing.

use std::fmt;

/// A CUDA version as the runtime and the driver encode it: 12040 is 12.4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CudaVersion {
    /// 12.
    pub major: u32,
    /// 4.
    pub minor: u32,
}

impl CudaVersion {
    /// Reads 1000 × major + 10 × minor; `None` where that is not a version.
    #[must_use]
    pub fn from_number(number: i32) -> Option<Self> {
        let number = u32::try_from(number).ok().filter(|number| *number >= 1000)?;
        Some(Self { major: number / 1000, minor: number % 1000 / 10 })
    }
}

impl fmt::Display for CudaVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// A version of cuDNN as cuDNN encodes it: 8902 is 8.9.2, 91002 is 9.10.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CudnnVersion {
    /// 9.
    pub major: u32,
    /// 10.
    pub minor: u32,
    /// 2.
    pub patch: u32,
}

impl CudnnVersion {
    /// Reads what `cudnnGetVersion` returns; `None` where that is not a version. cuDNN 9 gave the minor a second digit.
    #[must_use]
    pub fn from_number(number: usize) -> Option<Self> {
        let number = u32::try_from(number).ok().filter(|number| *number >= 1000)?;
        let unit = if number < 10_000 { 1000 } else { 10_000 };
        Some(Self { major: number / unit, minor: number % unit / 100, patch: number % 100 })
    }
}

impl fmt::Display for CudnnVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_numbers_are_decoded() {
        let cuda = |number| CudaVersion::from_number(number).map(|version| version.to_string());
        let cudnn = |number| CudnnVersion::from_number(number).map(|version| version.to_string());
        assert_eq!(cuda(12040).as_deref(), Some("12.4"));
        assert_eq!(cuda(9020).as_deref(), Some("9.2"));
        assert_eq!((cuda(0), cuda(-1), cudnn(0)), (None, None, None));
        assert_eq!(cudnn(8902).as_deref(), Some("8.9.2"));
        assert_eq!(cudnn(90100).as_deref(), Some("9.1.0"));
        assert_eq!(cudnn(92600).as_deref(), Some("9.26.0"));
    }
}
