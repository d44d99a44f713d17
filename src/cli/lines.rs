//! What a person writes into a file that cudashim does not write: the lines that hand the shim to what is started.
//!
//! Takes the kind of file and the path of the shim, in which no character is special to ld.so; gives the lines.

use clap::ValueEnum;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Where the lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    /// `.envrc`
    Direnv,
    /// A drop-in of a unit
    Systemd,
    /// A Dockerfile
    Docker,
    /// A module of Lmod or Environment Modules
    Modulefile,
    /// A batch script
    Slurm,
    /// `settings.json`
    Vscode,
    /// `.bashrc`
    Bash,
    /// `.zshrc`
    Zsh,
    /// `config.fish`
    Fish,
}

/// The lines.
pub(super) fn lines(kind: Kind, shim: &Path) -> Vec<u8> {
    let path = shim.as_os_str();
    let parts: Vec<&[u8]> = match kind {
        Kind::Direnv => vec![b"path_add LD_PRELOAD ", b"{shell}", b"\n"],
        Kind::Bash | Kind::Zsh => vec![b"export LD_PRELOAD=", b"{shell}", b"\"${LD_PRELOAD:+:$LD_PRELOAD}\"\n"],
        Kind::Fish => vec![b"set -gx LD_PRELOAD ", b"{fish}", b" $LD_PRELOAD\n"],
        Kind::Systemd => vec![b"[Service]\nEnvironment=", b"{systemd}", b"\n"],
        Kind::Docker => vec![
            b"RUN cudashim shim --output /usr/local/lib/libcudashim.so\nENV LD_PRELOAD=/usr/local/lib/libcudashim.so\n",
        ],
        Kind::Modulefile => vec![b"#%Module1.0\nprepend-path LD_PRELOAD {", b"{plain}", b"}\n"],
        // Written anew on each node that has no such file yet.
        Kind::Slurm => {
            vec![b"#SBATCH --export=ALL\nexport LD_PRELOAD=\"$(cudashim shim)${LD_PRELOAD:+:$LD_PRELOAD}\"\n"]
        }
        Kind::Vscode => {
            vec![b"{\n  \"terminal.integrated.env.linux\": { \"LD_PRELOAD\": ", b"{json}", b" }\n}\n"]
        }
    };
    let mut text = Vec::new();
    for part in parts {
        match part {
            b"{shell}" => text.extend(shell(path)),
            b"{fish}" => text.extend(escaped(path, b"'", b"\\'", b"'")),
            b"{systemd}" => text.extend(escaped(
                OsStr::from_bytes(&[b"LD_PRELOAD=", path.as_bytes()].concat()),
                b"\"",
                b"\\\"%",
                b"\"",
            )),
            b"{json}" => text.extend(serde_json::to_string(&path.to_string_lossy()).unwrap_or_default().into_bytes()),
            b"{plain}" => text.extend_from_slice(path.as_bytes()),
            other => text.extend_from_slice(other),
        }
    }
    text
}

/// A word that a POSIX shell reads back as it is.
fn shell(word: &OsStr) -> Vec<u8> {
    let mut text = vec![b'\''];
    for &byte in word.as_bytes() {
        if byte == b'\'' { text.extend_from_slice(b"'\\''") } else { text.push(byte) }
    }
    text.push(b'\'');
    text
}

/// A word between two quotes, with a backslash before what needs one; a `%` is doubled.
fn escaped(word: &OsStr, open: &[u8], special: &[u8], close: &[u8]) -> Vec<u8> {
    let mut text = open.to_vec();
    for &byte in word.as_bytes() {
        if special.contains(&byte) {
            text.push(if byte == b'%' { b'%' } else { b'\\' });
        }
        text.push(byte);
    }
    text.extend_from_slice(close);
    text
}
