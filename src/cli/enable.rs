//! `cudashim enable`, `disable` and `status`: an environment healed for good, and undone without a trace.

use super::args::StatusArgs;
use super::context::Context;
use super::enable_args::{DisableArgs, EnableArgs};
use super::failure::{Context as _, Result, bail};
use super::format::Format;
use super::{lines, output};
use crate::host::{Hints, Host};
use crate::launch::Target;
use crate::launch::enable::{Conda, Kernel, Site, State, kernels};
use crate::machine::Request;
use crate::python::Interpreter;
use crate::report::{JsonPath, SCHEMA};
use serde::Serialize;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub(super) fn enable(context: &Context, args: &EnableArgs) -> Result<ExitCode> {
    let host = context.host();
    if let Some(kind) = args.print {
        output::print(lines::lines(kind, &context.shim()?))?;
        return Ok(ExitCode::SUCCESS);
    }
    let binary = std::env::current_exe().context("cannot find the path of this program")?;
    let found = Found::new(host, args.part.env.as_deref())?;
    let prefix = found.interpreter.prefix.display().to_string();
    if let Some(name) = &args.part.jupyter {
        let (name, kernel) = found.kernel(host, name)?;
        kernel.enable(&binary)?;
        output::note(&format!("the kernel `{name}` starts with the shim: `{}`", kernel.0.display()));
        return Ok(ExitCode::SUCCESS);
    }
    if args.part.conda {
        let conda = found.conda()?;
        conda.enable(&binary, args.force)?;
        output::note(&format!("`conda activate` hands the set to all that is started in `{prefix}`"));
        return Ok(ExitCode::SUCCESS);
    }
    found.serves(host)?;
    if let Some(marker) = found.managed(host).filter(|_| !args.force) {
        return Err(Managed(marker).into());
    }
    let site = found.site()?;
    site.enable(&binary, args.force)?;
    output::note(&format!(
        "enabled `{prefix}`: its Python opens the set that fits before a framework is imported; `cudashim disable {prefix}` undoes it"
    ));
    Ok(ExitCode::SUCCESS)
}

pub(super) fn disable(context: &Context, args: &DisableArgs) -> Result<ExitCode> {
    let host = context.host();
    let found = Found::new(host, args.part.env.as_deref())?;
    let prefix = found.interpreter.prefix.display().to_string();
    let gone = if let Some(name) = &args.part.jupyter {
        found.kernel(host, name)?.1.disable()?
    } else if args.part.conda {
        found.conda()?.disable(args.force)?
    } else {
        found.site()?.disable(args.force)?
    };
    if gone.is_empty() {
        output::note(&format!("`{prefix}` is not enabled"));
        return Ok(ExitCode::from(1));
    }
    output::note(&format!("disabled: {} files removed or put back", gone.len()));
    Ok(ExitCode::SUCCESS)
}

pub(super) fn status(context: &Context, args: &StatusArgs) -> Result<ExitCode> {
    let host = context.host();
    let found = Found::new(host, args.env.as_deref())?;
    let mut parts = vec![Part::new("environment", &found.interpreter.prefix, &found.site()?.state())];
    let conda = Conda(found.interpreter.prefix.clone());
    if conda.is_there() {
        parts.push(Part::new("conda", &conda.0, &conda.state()));
    }
    let all = kernels(&found.data(host));
    parts.extend(all.iter().map(|(_, kernel)| Part::new("jupyter", &kernel.0, &kernel.state())));
    parts.retain(|part| part.what == "environment" || part.state != "off");
    if args.format == Format::Json {
        output::json(&Status { schema: SCHEMA, parts: parts.clone() })?;
    } else {
        let mut text = String::new();
        for part in &parts {
            let path = part.path.to_path();
            let _ = writeln!(text, "{:<7} {:<11} {}{}", part.state, part.what, path.display(), part.tail());
        }
        output::report(&text)?;
    }
    let holds = parts.iter().any(|part| part.state == "on") && parts.iter().all(|part| part.state != "broken");
    Ok(ExitCode::from(u8::from(!holds)))
}

/// What is enabled of an environment.
#[derive(Debug, Clone, Serialize)]
struct Status {
    schema: u32,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, Serialize)]
struct Part {
    what: &'static str,
    path: JsonPath,
    state: &'static str,
    version: Option<String>,
    binary: Option<JsonPath>,
    says: Option<String>,
}

impl Part {
    fn new(what: &'static str, path: &Path, state: &State) -> Self {
        let part = Self { what, path: path.into(), state: "off", version: None, binary: None, says: None };
        match state {
            State::Off => part,
            State::On { version, binary } => {
                let says = (!binary.is_file()).then(|| format!("`{}` is gone", binary.display()));
                let state = if says.is_some() { "broken" } else { "on" };
                let binary = Some(binary.as_path().into());
                Self { state, version: Some(version.clone()), binary, says, ..part }
            }
            State::Broken(says) => Self { state: "broken", says: Some(says.clone()), ..part },
        }
    }

    fn tail(&self) -> String {
        let version = self.version.as_ref().map(|version| format!("  cudashim {version}"));
        let binary = self.binary.as_ref().map(|binary| format!(" at `{}`", binary.to_path().display()));
        let says = self.says.as_ref().map(|says| format!("  {says}: type `cudashim enable`"));
        [version, binary, says].into_iter().flatten().collect()
    }
}

/// A Python whose packages belong to a package manager (PEP 668).
#[derive(Debug, thiserror::Error)]
#[error("cannot enable a Python that the system manages: `{}` says so", .0.display())]
struct Managed(PathBuf);

impl Hints for Managed {
    fn hints(&self) -> Vec<String> {
        vec!["enable a virtual environment, or this one all the same with `--force`".to_owned()]
    }
}

/// The environment meant.
struct Found {
    interpreter: Interpreter,
}

impl Found {
    fn new(host: &Host, env: Option<&Path>) -> Result<Self> {
        let request = Request { python: env.map(Path::to_owned), ..Default::default() };
        let Some(interpreter) = request.interpreter(host)? else { bail!("cannot find a Python: name an environment") };
        Ok(Self { interpreter })
    }

    /// Whether a process of it can be served.
    fn serves(&self, host: &Host) -> Result<()> {
        let program = &self.interpreter.program;
        match Target::read(host, program).out_of_reach {
            Some(why) => bail!("cannot enable `{}`: it {why}", program.display()),
            None => Ok(()),
        }
    }

    /// The directory that its Python reads at its start.
    fn site(&self) -> Result<Site> {
        let Interpreter { prefix, paths, .. } = &self.interpreter;
        let is_site = |dir: &&PathBuf| dir.ends_with("site-packages") || dir.ends_with("dist-packages");
        let sites = || paths.iter().filter(is_site);
        let own = sites().find(|dir| dir.starts_with(prefix)).or_else(|| sites().next());
        let Some(dir) = own else { bail!("cannot enable `{}`: it has no `site-packages`", prefix.display()) };
        Ok(Site { dir: dir.clone(), prefix: prefix.clone() })
    }

    /// The file by which a package manager keeps others out of the environment.
    fn managed(&self, host: &Host) -> Option<PathBuf> {
        let Interpreter { prefix, version, .. } = &self.interpreter;
        let marker = prefix.join("lib").join(format!("python{version}")).join("EXTERNALLY-MANAGED");
        (host.is_file(&marker) && !host.is_file(&prefix.join("pyvenv.cfg"))).then_some(marker)
    }

    fn conda(&self) -> Result<Conda> {
        let conda = Conda(self.interpreter.prefix.clone());
        if !conda.is_there() {
            bail!("cannot enable `{}` for conda: it has no `conda-meta`", conda.0.display());
        }
        Ok(conda)
    }

    /// Where Jupyter looks for kernels of this environment and of the user.
    fn data(&self, host: &Host) -> Vec<PathBuf> {
        let own = self.interpreter.prefix.join("share/jupyter");
        let named = host.env("JUPYTER_DATA_DIR").map(PathBuf::from);
        let home = host.env("XDG_DATA_HOME").map(PathBuf::from).filter(|dir| dir.is_absolute());
        let home = home.or_else(|| Some(Path::new(host.env("HOME")?).join(".local/share")));
        let user = named.or_else(|| Some(home?.join("jupyter"))).filter(|dir| dir.is_absolute());
        [own].into_iter().chain(user).collect()
    }

    fn kernel(&self, host: &Host, name: &str) -> Result<(String, Kernel)> {
        let all = kernels(&self.data(host));
        let known = || all.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        match all.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
            Some(found) => Ok(found.clone()),
            None if all.is_empty() => {
                bail!("cannot find a kernel of Jupyter's for `{}`", self.interpreter.prefix.display())
            }
            None => bail!("cannot find the kernel `{name}`: there are {}", known()),
        }
    }
}
