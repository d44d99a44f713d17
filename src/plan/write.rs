//! A plan as the lines of its file.

use super::{How, Plan};
use crate::host::escape;
use std::fmt::Write as _;

pub(super) fn bytes(plan: &Plan) -> Vec<u8> {
    let mut text = String::from("cudashim-plan\t1\n");
    let field = |value: &str| escape::bytes(value.as_bytes());
    for made_for in &plan.made_for {
        let path = made_for.path.as_deref().map_or("-".to_owned(), escape::path);
        let _ = writeln!(text, "for\t{}\t{}\t{path}", field(&made_for.kind), field(&made_for.text));
    }
    for with in &plan.made_with {
        let [version, cuda] = [&with.version, &with.cuda].map(|text| field(text.as_deref().unwrap_or("-")));
        let _ = writeln!(text, "with\t{}\t{version}\t{cuda}", field(&with.what));
    }
    for program in &plan.programs {
        let _ = writeln!(text, "program\t{}", escape::path(program));
    }
    for object in &plan.objects {
        let _ = writeln!(text, "object\t{}", escape::path(object));
    }
    for library in &plan.libraries {
        let how = match library.how {
            How::Preload => "preload",
            How::Redirect => "redirect",
            How::Keep => "keep",
        };
        let _ = writeln!(
            text,
            "lib\t{}\t{}\t{}:{}\t{}\t{}\t{}\t{}\t{how}",
            field(&library.soname),
            escape::path(&library.path),
            library.id.dev,
            library.id.ino,
            library.size,
            library.mtime,
            field(library.identity.as_deref().unwrap_or("-")),
            field(library.version.as_deref().unwrap_or("-")),
        );
    }
    for (name, soname) in &plan.aliases {
        let _ = writeln!(text, "alias\t{}\t{}", field(name), field(soname));
    }
    for (path, soname) in &plan.replaces {
        let _ = writeln!(text, "replace\t{}\t{}", escape::path(path), field(soname));
    }
    for line in &plan.unknown {
        text.push_str(line);
        text.push('\n');
    }
    let lines = text.lines().count();
    let _ = writeln!(text, "end\t{lines}");
    text.into_bytes()
}
