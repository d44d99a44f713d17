//! A conda environment whose every program gets the shim, not only its Python: scripts that `conda activate` sources.
//!
//! Takes the environment's directory and the shim; writes the shim into it, and one script for each way.

use super::part::{self, EnableError, Manifest, State};
use crate::launch::shim;
use std::path::{Path, PathBuf};

const SHIM: &str = "lib/cudashim/libcudashim.so";
const MANIFEST: &str = "lib/cudashim/cudashim.enabled.json";
const SCRIPTS: [&str; 2] = ["etc/conda/activate.d/cudashim.sh", "etc/conda/deactivate.d/cudashim.sh"];
/// The deepest first.
const DIRS: [&str; 5] = ["lib/cudashim", "etc/conda/activate.d", "etc/conda/deactivate.d", "etc/conda", "etc"];

const ACTIVATE: &str = "# cudashim enable --conda: undone by `cudashim disable --conda`
if [ -r \"$CONDA_PREFIX/lib/cudashim/libcudashim.so\" ]; then
    export LD_PRELOAD=\"$CONDA_PREFIX/lib/cudashim/libcudashim.so${LD_PRELOAD:+:$LD_PRELOAD}\"
fi
";

const DEACTIVATE: &str = "# cudashim enable --conda: undone by `cudashim disable --conda`
case \"${LD_PRELOAD-}\" in
    \"$CONDA_PREFIX/lib/cudashim/libcudashim.so\") unset LD_PRELOAD ;;
    \"$CONDA_PREFIX/lib/cudashim/libcudashim.so:\"*)
        export LD_PRELOAD=\"${LD_PRELOAD#\"$CONDA_PREFIX/lib/cudashim/libcudashim.so:\"}\" ;;
esac
";

/// A conda environment, by its directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conda(pub PathBuf);

impl Conda {
    /// Whether a directory is one.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.0.join("conda-meta").is_dir()
    }

    /// Writes the shim, which asks `binary`, and the scripts.
    ///
    /// # Errors
    /// A file cannot be written, or not be preloaded from there.
    pub fn enable(&self, binary: &Path, force: bool) -> Result<Vec<PathBuf>, EnableError> {
        shim::check_expressible(&self.0)?;
        let texts = [shim::image_for(Some(binary))?, ACTIVATE.into(), DEACTIVATE.into()];
        let names = [SHIM].into_iter().chain(SCRIPTS);
        let files: Vec<(PathBuf, Vec<u8>)> = names.zip(texts).map(|(name, bytes)| (self.0.join(name), bytes)).collect();
        for (path, _) in files.iter().skip(1) {
            part::own(path, is_ours, force)?;
        }
        let mut manifest = Manifest::new(binary.display().to_string(), &[], &self.0, &DIRS);
        manifest.list(SCRIPTS.into_iter().chain([SHIM]).zip([ACTIVATE.as_bytes(), DEACTIVATE.as_bytes(), &files[0].1]));
        part::write(std::iter::once((self.0.join(MANIFEST), manifest.to_bytes())).chain(files))
    }

    /// Takes them away.
    ///
    /// # Errors
    /// A script was changed since (not with `force`), or cannot be removed.
    pub fn disable(&self, force: bool) -> Result<Vec<PathBuf>, EnableError> {
        let manifest = Manifest::read(&self.0.join(MANIFEST));
        let mut gone = Vec::new();
        for name in SCRIPTS.into_iter().chain([SHIM]) {
            let path = self.0.join(name);
            let Some(bytes) = part::bytes(&path)? else { continue };
            let known = manifest.as_ref().ok().and_then(|manifest| manifest.holds(name, &bytes));
            if !force && !known.unwrap_or(name == SHIM || is_ours(&bytes)) {
                return Err(EnableError::Changed(path));
            }
            gone.push(path);
        }
        gone.extend(Some(self.0.join(MANIFEST)).filter(|path| path.symlink_metadata().is_ok()));
        part::remove(&gone)?;
        if let Ok(manifest) = manifest {
            manifest.remove_made(&self.0, &DIRS);
        }
        Ok(gone)
    }

    /// Whether it is enabled.
    #[must_use]
    pub fn state(&self) -> State {
        part::state(&self.0, &self.0.join(MANIFEST), &[SHIM, SCRIPTS[0], SCRIPTS[1]])
    }
}

fn is_ours(bytes: &[u8]) -> bool {
    bytes.starts_with(b"# cudashim enable --conda")
}
