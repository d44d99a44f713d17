//! `cudashim why`: where ld.so searches for a name, what is there, and what the name resolves to.

use super::args::WhyArgs;
use super::context::Context;
use super::failure::{Context as _, Failure, Result, bail};
use super::format::Format;
use super::output;
use crate::check::{Subject, closure};
use crate::host::Host;
use crate::loader::{LinkMap, Loader};
use crate::machine::{Checked, Request};
use crate::report::{WhyReport, why_text};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub(super) fn why(context: &Context, args: &WhyArgs) -> Result<ExitCode> {
    let machine = context.machine();
    let (host, loader) = (machine.host(), machine.loader());
    let file = args.file.as_deref().map(|file| host.absolute(file));
    // A directory names an environment.
    let (environment, file) =
        if file.as_deref().is_some_and(|file| host.is_dir(file)) { (file, None) } else { (None, file) };
    let python =
        args.python.clone().or(environment).or_else(|| file.as_deref().and_then(|file| environment_of(host, file)));
    let (map, consumer) = mapped(host, loader, python, file.as_deref())?;
    let why = map.why(consumer, args.name.as_os_str());
    match args.format {
        Format::Json => output::json(&WhyReport::new(&why))?,
        _ => output::report(&why_text(&why))?,
    }
    if why.winner().is_none()
        && let Some(known) = alike(&map, &args.name)
    {
        output::note(&format!("`{}` is not a file name: try `{known}`", args.name.display()));
    }
    Ok(ExitCode::from(u8::from(why.winner().is_none())))
}

/// The link map in which the name is searched, and the object that needs it: the process of the environment's torch if
/// it maps the file; else the file alone.
fn mapped<'l>(
    host: &Host,
    loader: &'l Loader,
    python: Option<PathBuf>,
    file: Option<&Path>,
) -> Result<(LinkMap<'l>, usize)> {
    if file.is_none() || python.is_some() {
        let named = python.is_some();
        let request = Request { python, ..Request::default() };
        match request.subject(loader) {
            Ok(Checked::Subject(subject)) => {
                let map = closure(loader, &subject);
                let Some(file) = file else { return Ok((map, 0)) };
                if let Some(index) = host.stat(file).ok().and_then(|stat| map.by_file(stat.id)) {
                    return Ok((map, index));
                }
                log::info!("`{}` is not mapped there: its own link map is used", file.display());
            }
            Ok(Checked::Nothing(why)) if file.is_none() => {
                return Err(Failure::new(why).hint("name the program or library that needs it with `--for`"));
            }
            Err(error) if named || file.is_none() => return Err(error.into()),
            Ok(Checked::Nothing(_)) | Err(_) => {}
        }
    }
    let file = file.context("no torch, program or library needs it: name one with `--for`")?;
    let subject = Subject::files(loader, &[file.to_owned()], None)?;
    let map = closure(loader, &subject);
    let index = host.stat(file).ok().and_then(|stat| map.by_file(stat.id));
    let Some(index) = index else { bail!("cannot map `{}`", file.display()) };
    Ok((map, index))
}

/// A mapped library whose short name is the given word: `cudnn`.
fn alike(map: &LinkMap<'_>, word: &Path) -> Option<String> {
    let bare = |name: &str| {
        let name = name.to_ascii_lowercase();
        name.strip_prefix("lib").unwrap_or(&name).split(".so").next().unwrap_or_default().to_owned()
    };
    let word = word.to_str().filter(|word| !word.contains(".so.") && !word.contains('/'))?;
    let names = map.objects().iter().flat_map(|object| &object.names).filter_map(|name| name.to_str());
    names.into_iter().find(|name| bare(name) == bare(word)).map(ToOwned::to_owned)
}

/// The virtual environment a file is installed in.
pub(super) fn environment_of(host: &Host, file: &Path) -> Option<PathBuf> {
    file.ancestors().find(|dir| host.is_file(&dir.join("pyvenv.cfg"))).map(Path::to_owned)
}
