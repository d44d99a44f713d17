//! Names with a star: `cupy-cuda*`.
//!
//! Takes a pattern and a name; says whether the name fits. `*` is any run of bytes. Knows no paths.

/// Whether a name fits a pattern.
#[must_use]
pub fn wildcard(pattern: &[u8], name: &[u8]) -> bool {
    let mut parts = pattern.split(|byte| *byte == b'*');
    let Some(mut rest) = parts.next().and_then(|start| name.strip_prefix(start)) else { return false };
    let Some(end) = parts.next_back() else { return rest.is_empty() };
    for part in parts.filter(|part| !part.is_empty()) {
        // The first match leaves the most for the rest.
        let Some(at) = rest.windows(part.len()).position(|window| window == part) else { return false };
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    rest.ends_with(end)
}
