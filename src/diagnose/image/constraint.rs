//! What the variables of an image demand of a host: `NVIDIA_REQUIRE_CUDA` and its like.
//!
//! Takes the environment of an image; says whether a driver with a GPU satisfies it. A container runtime in its legacy mode
//! starts no container where it does not; with CDI it does not look. Alternatives are separated by spaces, what must hold
//! together by commas; versions are compared as numbers, brands as texts without case.
//!
//! Sources: `src/cli/dsl.c` of <https://github.com/NVIDIA/libnvidia-container>, `internal/config/image/cuda_image.go` and
//! `internal/requirements` of <https://github.com/NVIDIA/nvidia-container-toolkit>.

use crate::driver::{Assumed, Device, gpu_class, rules};
use crate::host::Host;
use crate::tables::{GpuClass, Version, compute_capabilities, drivers};
use std::cmp::Ordering;

/// A variable, parsed.
#[derive(Debug, Clone)]
pub(super) struct Constraint {
    /// The variable.
    pub(super) name: String,
    /// What it demands.
    pub(super) text: String,
    alternatives: Vec<Vec<Condition>>,
    /// The first part that is no condition.
    pub(super) malformed: Option<String>,
}

#[derive(Debug, Clone)]
struct Condition {
    of: Property,
    operator: Operator,
    value: Vec<u64>,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Property {
    Cuda,
    Driver,
    Arch,
    Brand,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

const PROPERTIES: [(&str, Property); 4] =
    [("cuda", Property::Cuda), ("driver", Property::Driver), ("arch", Property::Arch), ("brand", Property::Brand)];

const OPERATORS: [(&str, Operator); 6] = [
    ("=", Operator::Equal),
    ("!=", Operator::NotEqual),
    ("<", Operator::Less),
    ("<=", Operator::LessEqual),
    (">", Operator::Greater),
    (">=", Operator::GreaterEqual),
];

/// A brand that no condition names.
const OTHER: &str = "-";

/// The constraints of an image: all must hold.
pub(super) fn constraints(host: &Host) -> Vec<Constraint> {
    // As Go's `strconv.ParseBool` reads it.
    let disabled = host.env("NVIDIA_DISABLE_REQUIRE").and_then(|value| value.to_str());
    if disabled.is_some_and(|value| matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True")) {
        return Vec::new();
    }
    let mut found: Vec<Constraint> = host
        .environment()
        .iter()
        .filter_map(|(name, value)| Some((name.to_str()?, value.to_str()?)))
        .filter(|(name, _)| name.starts_with("NVIDIA_REQUIRE_") && !name.starts_with("NVIDIA_REQUIRE_JETPACK"))
        .map(|(name, value)| Constraint::parse(name, value))
        .collect();
    // Images from before the variable.
    let release = host.env("CUDA_VERSION").and_then(|value| Version::parse(value.to_str()?));
    if let Some(release) = release.filter(|_| host.env("NVIDIA_REQUIRE_CUDA").is_none()) {
        let text = format!("cuda>={}.{}", release.major(), release.minor().unwrap_or_default());
        found.push(Constraint::parse("CUDA_VERSION", &text));
    }
    found
}

impl Constraint {
    fn parse(name: &str, text: &str) -> Self {
        let mut malformed = None;
        let alternatives = text.split(' ').filter(|words| !words.is_empty()).map(|words| {
            let conditions = words.split(',').filter(|word| !word.is_empty());
            let parsed = conditions.filter_map(|word| {
                let condition = Condition::parse(word);
                if condition.is_none() {
                    malformed.get_or_insert_with(|| word.to_owned());
                }
                condition
            });
            parsed.collect()
        });
        let alternatives = alternatives.collect();
        Self { name: name.to_owned(), text: text.to_owned(), alternatives, malformed }
    }

    /// Whether a driver with a GPU satisfies it; `None` where that depends on what is not known: the release of a branch,
    /// the GPU, the brand that the driver gives it.
    pub(super) fn holds(&self, driver: &Assumed, gpu: Option<&Device>) -> Option<bool> {
        let cudas = cudas(driver);
        let mut releases = vec![driver.release.numbers().to_vec()];
        if let [branch] = *driver.release.numbers() {
            releases = vec![vec![branch, 1], vec![branch, u64::MAX]];
        }
        let compute = gpu.and_then(|gpu| gpu.compute);
        let arches: Vec<Vec<u64>> = match compute {
            Some(compute) => vec![vec![compute.major.into(), compute.minor.into()]],
            None if self.asks(Property::Arch) => {
                compute_capabilities().iter().map(|row| row.sm.numbers().to_vec()).collect()
            }
            None => vec![Vec::new()],
        };
        let brands = match gpu.map(brands) {
            Some(brands) if !brands.is_empty() => brands,
            _ => self.brands(),
        };
        let accepts = |cuda: &Version, driver: &[u64], arch: &[u64]| {
            brands.iter().map(|brand| self.accepts([cuda.numbers(), driver, arch], brand)).collect::<Vec<bool>>()
        };
        let mut answers = Vec::new();
        for cuda in &cudas {
            for driver in &releases {
                answers.extend(arches.iter().flat_map(|arch| accepts(cuda, driver, arch)));
            }
        }
        let mut answers = answers.into_iter();
        let first = answers.next()?;
        answers.all(|answer| answer == first).then_some(first)
    }

    fn asks(&self, of: Property) -> bool {
        self.alternatives.iter().flatten().any(|condition| condition.of == of)
    }

    /// The brands that it names, and one that it does not.
    fn brands(&self) -> Vec<&str> {
        let named = self.alternatives.iter().flatten().filter(|condition| condition.of == Property::Brand);
        let mut brands: Vec<&str> = named.map(|condition| condition.text.as_str()).collect();
        brands.push(OTHER);
        brands.sort_unstable();
        brands.dedup();
        brands
    }

    /// Whether a host satisfies it: its CUDA, driver and compute capability.
    fn accepts(&self, [cuda, driver, arch]: [&[u64]; 3], brand: &str) -> bool {
        let holds = |condition: &Condition| match condition.of {
            Property::Cuda => condition.operator.holds(compare(cuda, &condition.value)),
            Property::Driver => condition.operator.holds(compare(driver, &condition.value)),
            Property::Arch => condition.operator.holds(compare(arch, &condition.value)),
            Property::Brand => condition.text.eq_ignore_ascii_case(brand) == (condition.operator == Operator::Equal),
        };
        self.alternatives.is_empty() || self.alternatives.iter().any(|conditions| conditions.iter().all(holds))
    }
}

impl Condition {
    fn parse(word: &str) -> Option<Self> {
        let at = word.find(['<', '>', '=', '!'])?;
        let (name, rest) = word.split_at_checked(at)?;
        let text = rest.trim_start_matches(['<', '>', '=', '!']);
        let sign = rest.strip_suffix(text)?;
        let (_, of) = *PROPERTIES.iter().find(|(property, _)| property.eq_ignore_ascii_case(name))?;
        let (_, operator) = *OPERATORS.iter().find(|(operator, _)| *operator == sign)?;
        if of == Property::Brand {
            let is_asked = matches!(operator, Operator::Equal | Operator::NotEqual) && !text.is_empty();
            return is_asked.then(|| Self { of, operator, value: Vec::new(), text: text.to_owned() });
        }
        let value = text.split('.').map(|number| number.parse().ok()).collect::<Option<_>>()?;
        Some(Self { of, operator, value, text: text.to_owned() })
    }
}

impl Operator {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterEqual => order.is_ge(),
        }
    }
}

/// The CUDA releases that a driver may report: of a branch without a known one, those of its neighbours.
fn cudas(driver: &Assumed) -> Vec<Version> {
    if let Some(cuda) = rules::cuda_of_driver(&driver.release) {
        return vec![cuda];
    }
    let known = || drivers().iter().filter_map(|row| Some((row.branch, row.cuda.clone()?)));
    let branch = driver.release.major();
    let below = known().take_while(|(known, _)| *known < branch).last();
    let above = known().find(|(known, _)| *known > branch);
    below.into_iter().chain(above).map(|(_, cuda)| cuda).collect()
}

/// The order of versions: zeros at the end do not count.
fn compare(one: &[u64], other: &[u64]) -> Ordering {
    let significant = |numbers: &[u64]| numbers.iter().rposition(|&number| number != 0).map_or(0, |last| last + 1);
    let (one, other) = (one.get(..significant(one)), other.get(..significant(other)));
    one.cmp(&other)
}

/// The brands that a driver may give a GPU; none where its product line is not known.
fn brands(gpu: &Device) -> Vec<&'static str> {
    let is_rtx = gpu.name.contains("RTX");
    match gpu_class(gpu) {
        Some(GpuClass::GeForce) if is_rtx => vec!["geforce", "geforcertx"],
        Some(GpuClass::GeForce) => vec!["geforce"],
        Some(GpuClass::Titan) if is_rtx => vec!["titan", "titanrtx"],
        Some(GpuClass::Titan) => vec!["titan"],
        Some(GpuClass::Rtx) => vec!["quadro", "quadrortx", "nvidiartx", "nvidia"],
        Some(GpuClass::DataCenter) => vec!["tesla", "nvidia"],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::gpu_of;

    /// The beginning of that of NVIDIA's images of CUDA 12.8.
    const OFFICIAL: &str = "cuda>=12.8 brand=unknown,driver>=535,driver<536 brand=tesla,driver>=535,driver<536 \
                            brand=nvidia,driver>=535,driver<536";

    fn holds(text: &str, driver: &str, gpu: Option<&str>) -> Option<bool> {
        let gpu = gpu.map(|gpu| gpu_of(gpu).unwrap());
        Constraint::parse("NVIDIA_REQUIRE_CUDA", text).holds(&driver.parse().unwrap(), gpu.as_ref())
    }

    #[test]
    fn constraints_are_read_as_the_runtime_reads_them() {
        assert_eq!(holds("cuda>=12.8", "570", None), Some(true));
        assert_eq!(holds("cuda>=12.8", "550.54.14", None), Some(false));
        assert_eq!(holds("CUDA>=12.0", "525", None), Some(true));
        assert_eq!(holds("cuda=12.2,driver!=535.104 arch>9", "535.54", None), Some(true));
        assert_eq!(holds("", "470", None), Some(true));
        assert_eq!(holds("driver>=535,driver<536", "535", None), Some(true));
        assert_eq!(holds("driver<=535", "535.0", None), Some(true));
        // The CUDA release of 565 is not known, but that it is between those of 560 and 570.
        assert_eq!(
            ["cuda>=12.6", "cuda>=12.8", "cuda>=12.9"].map(|text| holds(text, "565", None)),
            [Some(true), None, Some(false)]
        );
        // A branch stands for each of its releases.
        assert_eq!(holds("driver>=535.104.5", "535", None), None);
        assert_eq!(holds("driver>=535.104.5", "535.104.05", None), Some(true));
    }

    #[test]
    fn constraints_depend_on_the_gpu() {
        assert_eq!(holds("arch>=7.0", "580", None), None);
        assert_eq!(holds("arch>=7.0", "580", Some("sm_61")), Some(false));
        assert_eq!(holds(OFFICIAL, "535", Some("H100")), Some(true));
        assert_eq!(holds(OFFICIAL, "535", Some("RTX 4090")), Some(false));
        assert_eq!(holds(OFFICIAL, "535", Some("sm_90")), None);
        assert_eq!(holds(OFFICIAL, "535", None), None);
        assert_eq!(holds(OFFICIAL, "550", Some("H100")), Some(false));
        assert_eq!(holds("brand!=GeForce", "580", Some("GTX 1080")), Some(false));
    }

    #[test]
    fn what_is_no_condition_is_named() {
        let malformed = |text: &str| Constraint::parse("NVIDIA_REQUIRE_CUDA", text).malformed;
        assert_eq!(malformed(OFFICIAL), None);
        for bad in ["cuda", "cuda>=", "cuda=>12", "cuda>=12.x", "gpu>=1", "brand>tesla", ">=12"] {
            assert_eq!(malformed(&format!("cuda>=12.0,{bad}")), Some(bad.to_owned()));
        }
    }
}
