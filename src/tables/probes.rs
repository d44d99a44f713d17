//! `data/probes.tsv`: the functions that return the release of a library.
//!
//! Takes a stem; returns its functions, how to call each, and how to read its result. Calls nothing.

use super::Version;
use super::table::{self, yes_no};
use std::sync::LazyLock;

/// The signature of a function that returns a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Call {
    /// `size_t f(void)`.
    Size,
    /// `status f(int *)`.
    Out,
    /// `status f(int *, int *)`.
    Pair,
    /// `void f(int *, int *, int *)`.
    Triple,
    /// `status f(libraryPropertyType, int *)`, once for each of three properties.
    Property,
    /// `const struct { int, int, int } *f(void)`.
    Record,
}

impl Call {
    const ALL: [Self; 6] = [Self::Size, Self::Out, Self::Pair, Self::Triple, Self::Property, Self::Record];

    /// Its name in the table and for the probe (`cshim/probe/probe.c`).
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Size => "size",
            Self::Out => "out",
            Self::Pair => "pair",
            Self::Triple => "triple",
            Self::Property => "property",
            Self::Record => "record",
        }
    }
}

/// The encoding of a release in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Numbers,
    Runtime,
    Long,
    Minor,
    Nccl,
    Cudnn,
    Cupti,
}

/// One function that returns the release of a library.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ProbeRow {
    /// The library, as in [`FamilyRow::stem`](super::FamilyRow::stem).
    pub stem: &'static str,
    /// The function's name.
    pub function: &'static str,
    /// Its signature.
    pub call: Call,
    /// Whether the release is the library's own, not that of the CUDA it was built with.
    pub own: bool,
    /// Whether it may fail without a driver.
    pub needs_driver: bool,
    /// The source.
    pub source: &'static str,
    form: Form,
    known: Vec<(u64, Version)>,
}

impl ProbeRow {
    /// The release that the numbers encode; `None` where they encode no known one.
    ///
    /// ```
    /// let [cudnn, runtime] = cudashim::internal::tables::probes_of("cudnn").collect::<Vec<_>>()[..] else { panic!()
    /// }; assert_eq!(cudnn.release(&[91_002]).unwrap().to_string(), "9.10.2");
    /// assert_eq!(runtime.release(&[12_040]).unwrap().to_string(), "12.4"); assert!(cudnn.release(&[-1]).is_none());
    /// ```
    #[must_use]
    pub fn release(&self, numbers: &[i64]) -> Option<Version> {
        let numbers: Vec<u64> = numbers.iter().map(|&number| u64::try_from(number).ok()).collect::<Option<_>>()?;
        let number = *numbers.first()?;
        let long = || vec![number / 10_000, number % 10_000 / 100, number % 100];
        let mut parts = match self.form {
            Form::Numbers if numbers.iter().any(|number| *number > 0) => numbers,
            Form::Numbers => return None,
            Form::Cupti if number < 100_000 => {
                return self.known.iter().find(|(known, _)| *known == number).map(|(_, release)| release.clone());
            }
            _ if number < 1000 => return None,
            Form::Runtime => vec![number / 1000, number % 1000 / 10],
            Form::Nccl | Form::Cudnn if number < 10_000 => vec![number / 1000, number % 1000 / 100, number % 100],
            Form::Long | Form::Minor | Form::Nccl | Form::Cudnn | Form::Cupti => long(),
        };
        if matches!(self.form, Form::Minor | Form::Cupti) {
            parts.truncate(2);
        }
        Version::parse(&parts.iter().map(u64::to_string).collect::<Vec<_>>().join("."))
    }
}

/// Every row, sorted by stem.
#[must_use]
pub fn probes() -> &'static [ProbeRow] {
    &TABLE
}

/// The functions of a library in the order of their calls: those of its own release first.
pub fn probes_of(stem: &str) -> impl Iterator<Item = &'static ProbeRow> {
    probes().iter().filter(move |row| row.stem == stem)
}

const TEXT: &str = include_str!("../../data/probes.tsv");

static TABLE: LazyLock<Vec<ProbeRow>> = LazyLock::new(|| {
    table::read(TEXT, |cells| {
        Some(ProbeRow {
            stem: cells.text("stem")?,
            function: cells.text("function")?,
            call: Call::ALL.into_iter().find(|call| cells.text("call") == Some(call.word()))?,
            form: match cells.text("form")? {
                "numbers" => Form::Numbers,
                "runtime" => Form::Runtime,
                "long" => Form::Long,
                "minor" => Form::Minor,
                "nccl" => Form::Nccl,
                "cudnn" => Form::Cudnn,
                "cupti" => Form::Cupti,
                _ => return None,
            },
            own: yes_no(cells.text("own")?)?,
            needs_driver: cells.maybe("needs", |cell| (cell == "driver").then_some(()))?.is_some(),
            known: cells.list("known", ' ').into_iter().map(known).collect::<Option<_>>()?,
            source: cells.text("source")?,
        })
    })
});

/// `22=12.4`.
fn known(cell: &str) -> Option<(u64, Version)> {
    let (number, release) = cell.split_once('=')?;
    Some((number.parse().ok()?, Version::parse(release)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::family_of_stem;
    use crate::tables::table::tests::{check, check_ids};
    use proptest::prelude::*;

    #[test]
    fn table_is_whole() {
        check(TEXT, &["stem", "function", "call", "form", "own", "needs", "known", "source"], probes().len());
        check_ids(TEXT, probes().iter().map(|row| row.source));
        assert!(probes().is_sorted_by_key(|row| (row.stem, !row.own)));
        for row in probes() {
            let family = family_of_stem(row.stem).unwrap_or_else(|| panic!("{} is no family", row.stem));
            let prefix = family.prefix.unwrap_or_else(|| panic!("{} has no functions", row.stem));
            // The parts of a group share a prefix, and so do cuRAND and CUDA.
            assert!(row.function.starts_with(prefix), "{}: {}", row.stem, row.function);
        }
    }

    #[test]
    fn numbers_decode_as_in_the_headers() {
        let read = |stem: &str, numbers: &[i64]| {
            probes_of(stem).next().unwrap().release(numbers).map(|release| release.to_string())
        };
        for (stem, numbers, release) in [
            ("cublas", &[12, 4, 5][..], "12.4.5"),
            ("cuda", &[12_020], "12.2"),
            ("cudart", &[11_080], "11.8"),
            ("cudnn", &[8500], "8.5.0"),
            ("cudnn", &[8902], "8.9.2"),
            ("cudnn", &[90_100], "9.1.0"),
            ("cudnn_graph", &[92_600], "9.26.0"),
            ("cufile", &[1130], "1.13"),
            ("cupti", &[22], "12.4"),
            ("cupti", &[130_202], "13.2"),
            ("cusparseLt", &[0, 6, 2], "0.6.2"),
            ("cutensor", &[20_800], "2.8"),
            ("nccl", &[2804], "2.8.4"),
            ("nccl", &[22_105], "2.21.5"),
            ("nvrtc", &[12, 4], "12.4"),
        ] {
            assert_eq!(read(stem, numbers).as_deref(), Some(release), "{stem}");
        }
        for (stem, numbers) in
            [("cublas", &[12, 4, -1][..]), ("cublas", &[0, 0, 0]), ("cublas", &[]), ("cudart", &[0]), ("cupti", &[18])]
        {
            assert_eq!(read(stem, numbers), None, "{stem}");
        }
    }

    proptest! {
        #[test]
        fn no_number_panics(numbers in prop::collection::vec(any::<i64>(), 0..4)) {
            for row in probes() {
                let _ = row.release(&numbers);
            }
        }
    }
}
