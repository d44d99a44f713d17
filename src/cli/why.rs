//! `cudashim why`: where ld.so looks for a name, what stands there, and what wins.

use super::args::{Cli, Format, WhyArgs};
use super::resolve;
use crate::check::{Subject, closure};
use crate::host::Host;
use crate::loader::{LinkMap, Loader};
use crate::machine::{Checked, Request};
use crate::report::{WhyReport, sanitized, why_text};
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub(super) fn why(cli: &Cli, args: &WhyArgs) -> anyhow::Result<ExitCode> {
    let machine = resolve::machine(cli);
    let (host, loader) = (machine.host(), machine.loader());
    let file = args.file.as_deref().map(|file| host.absolute(file));
    let python = args.python.clone().or_else(|| file.as_deref().and_then(|file| environment_of(host, file)));
    let (map, asker) = mapped(host, loader, python, file.as_deref())?;
    let why = map.why(asker, args.name.as_os_str());
    match cli.format {
        Format::Human | Format::Markdown => resolve::print(sanitized(&why_text(&why)))?,
        Format::Json | Format::Jsonl => resolve::print(resolve::json(&WhyReport::new(&why))?)?,
    }
    Ok(ExitCode::from(u8::from(why.winner().is_none())))
}

/// The link map in which the name is asked for, and who asks: in the process of the torch that is meant, where the file is
/// mapped in it; else the file alone.
fn mapped<'l>(
    host: &Host,
    loader: &'l Loader,
    python: Option<PathBuf>,
    file: Option<&Path>,
) -> anyhow::Result<(LinkMap<'l>, usize)> {
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
                log::info!("`{}` is not mapped there: it is looked at by itself", file.display());
            }
            Ok(Checked::Nothing(why)) if file.is_none() => bail!("{why}: name who asks with `--for`"),
            Err(error) if named || file.is_none() => return Err(error.into()),
            Ok(Checked::Nothing(_)) | Err(_) => {}
        }
    }
    let file = file.context("name who asks with `--for`")?;
    let subject = Subject::files(loader, &[file.to_owned()], None)?;
    let map = closure(loader, &subject);
    let index = host.stat(file).ok().and_then(|stat| map.by_file(stat.id));
    let Some(index) = index else { bail!("`{}` cannot be mapped", file.display()) };
    Ok((map, index))
}

/// The virtual environment a file is installed in.
pub(super) fn environment_of(host: &Host, file: &Path) -> Option<PathBuf> {
    file.ancestors().find(|dir| host.is_file(&dir.join("pyvenv.cfg"))).map(Path::to_owned)
}
