//! The help and the manual: commands in groups, examples, exit statuses, variables, files.
//!
//! Takes the arguments as [`args`](super::args) declares them; gives the parser with its texts, and the sections that a
//! manual page has in addition. Every example is parsed by a test.

use super::args::Cli;
use clap::CommandFactory;
use std::fmt::Write as _;

/// The commands, in the order that a newcomer meets them.
const GROUPS: [(&str, &[&str]); 6] = [
    ("Run with the matching libraries", &["run", "enable", "disable", "status", "env", "shim", "stage"]),
    ("Find out what is wrong", &["doctor", "check", "why", "trace", "image"]),
    ("Choose and keep a set", &["resolve", "lock", "verify"]),
    ("Look at libraries", &["scan", "inspect", "diff"]),
    ("Many nodes", &["node", "fleet"]),
    ("More", &["demo", "man", "completions", "help"]),
];

/// Commands that do not work on an image: their help does not list `--root`.
const HERE: [&str; 13] = [
    "run",
    "trace",
    "env",
    "shim",
    "stage",
    "enable",
    "disable",
    "status",
    "demo",
    "man",
    "completions",
    "image",
    "fleet",
];

/// Three examples of each command; the first word is the command's name.
const EXAMPLES: &[[(&str, &str); 3]] = &[
    [
        ("run -- python train.py", "Run a script of the active environment"),
        ("run --python ~/venvs/llm -- ./serve.sh", "Choose for another environment"),
        ("run --check -- python train.py", "Refuse to start if the GPU would not be used"),
    ],
    [
        ("env", "For `eval \"$(cudashim env)\"`: every later command of this shell"),
        ("env --shell fish .venv", "For `cudashim env --shell fish .venv | source`"),
        ("env --unset", "For `eval \"$(cudashim env --unset)\"`: undo it"),
    ],
    [
        ("shim", "For `LD_PRELOAD=$(cudashim shim) CMD`: each process asks for its own set"),
        ("shim --verbose", "Note where it was written"),
        ("shim --output /usr/local/lib/libcudashim.so", "At a permanent place, for an image's `LD_PRELOAD`"),
    ],
    [
        ("stage .venv", "Copy the set of an environment to this node, once"),
        ("stage --to /dev/shm --limit 8G", "To memory, within a size"),
        ("stage --clean", "Remove the copies that no process uses"),
    ],
    [
        ("enable .venv", "However its Python is started, a framework gets the set that fits"),
        ("enable .venv --jupyter", "The kernel `python3` of the environment"),
        ("enable --print systemd", "The lines for a unit's drop-in"),
    ],
    [
        ("disable .venv", "Remove every file that `enable` wrote"),
        ("disable .venv --jupyter", "Put the kernel's description back"),
        ("disable --force .venv", "Those that were changed since, too"),
    ],
    [
        ("status", "Of the active environment"),
        ("status .venv", "Of another"),
        ("status --format json", "For a program"),
    ],
    [
        ("doctor .venv -- python train.py", "Run a command, and explain its failure"),
        ("doctor --driver 535 --driver 580 --gpu H100,T4", "Whether it runs where this driver and GPU are"),
        ("doctor --error build.log", "Explain the error in a log"),
    ],
    [
        ("check", "The torch of the active environment, without cudashim"),
        ("check ./libkernels.so", "A library"),
        ("check --pid 4711", "What a running process has mapped"),
    ],
    [
        ("why libcudnn.so.9", "Where the torch of the active environment gets cuDNN"),
        ("why libcudart.so.12 --for ./a.out", "Where a program gets it"),
        ("why libnvrtc.so.12 --python .venv", "In another environment"),
    ],
    [
        ("trace -- python train.py", "Report to stderr what was loaded"),
        ("trace -o report.txt -- python train.py", "Report to a file"),
        ("trace --plan cudashim.lock -- python train.py", "With the set of a lock in force"),
    ],
    [
        ("image app.tar", "The output of `docker save`"),
        ("image app.tar --driver 535 --gpu T4,H100", "Whether it runs there"),
        ("image app.tar --require=kubernetes", "What a node must have"),
    ],
    [
        ("resolve", "The set for the active environment"),
        ("resolve .venv --explain libcudnn.so.9", "Why this copy, and why no other"),
        ("resolve --torch latest --driver 535", "The newest torch for a driver, and how to install it"),
    ],
    [
        ("lock", "Write cudashim.lock for the active environment"),
        ("lock .venv -o gpu.lock", "For another environment, to another file"),
        ("lock --check", "In CI: exit with 1 if the lock is out of date"),
    ],
    [
        ("verify", "Compare cudashim.lock with this machine"),
        ("verify gpu.lock --verbose", "Show what is unchanged, too"),
        ("verify --relocate", "Find the same files at their paths here"),
    ],
    [
        ("scan", "The known places of this machine"),
        ("scan .venv /opt", "These directories"),
        ("scan --format json", "For `cudashim diff`, or for a program"),
    ],
    [
        ("inspect libcudnn.so.9", "The environment's copy"),
        ("inspect --hash /usr/local/cuda/lib64/libcudart.so.12", "Compare it with what its package recorded"),
        ("inspect --probe ./libcublas.so.12", "Load it, and ask it for its version"),
    ],
    [
        ("diff old/libcudart.so.12 new/libcudart.so.12", "What breaks if the second replaces the first"),
        ("diff before.json after.json", "Two saved scans"),
        ("diff --format json a.so b.so", "For a program"),
    ],
    [
        (
            "node --plan /opt/app/cudashim.lock --gpus 8",
            "In a prolog: exit with 1 unless the lock holds and 8 GPUs answer",
        ),
        ("node --textfile /var/lib/node_exporter/cudashim.prom", "For Prometheus, too"),
        ("node --timeout 60 --format json", "For a program, on a node whose driver wakes slowly"),
    ],
    [
        ("fleet scans/*.jsonl", "What differs among the nodes, and since when"),
        ("fleet --format json scans.jsonl", "For a program"),
        ("fleet --format jsonl scans/n01.jsonl scans/n02.jsonl", "A row for each library, for a table or DuckDB"),
    ],
    [
        ("demo", "The whole story in a temporary directory"),
        ("demo --color never", "Without colour"),
        ("demo --quiet", "Only whether it went well"),
    ],
    [
        ("man", "For `cudashim man | man -l -`"),
        ("man run", "The page of one command"),
        ("man doctor", "The page of another"),
    ],
    [
        ("completions bash", "For ~/.local/share/bash-completion/completions/cudashim"),
        ("completions zsh", "For a file `_cudashim` in a directory of $fpath, before compinit"),
        ("completions fish", "For ~/.config/fish/completions/cudashim.fish"),
    ],
];

/// Three examples of the whole.
const FIRST: [(&str, &str); 3] = [
    ("run -- python train.py", "Run a script with the libraries that fit its torch"),
    ("doctor", "Find out what is wrong, and what to type"),
    ("resolve --explain libcudnn.so.9", "Explain why this copy was chosen"),
];

const EXITS: [(&str, &str); 6] = [
    ("0", "Done; nothing is wrong."),
    (
        "1",
        "The answer is no: something is wrong, no set fits, the lock is out of date, files differ, a node is not fit.",
    ),
    ("2", "The command could not do its work, or was not understood."),
    ("125", "From run, trace and doctor -- CMD: cudashim failed, or refused to start CMD."),
    ("126, 127", "From the same: CMD cannot be executed, or was not found. Otherwise they exit as CMD does."),
    ("130", "scan was interrupted, and printed what it found."),
];

const VARIABLES: [(&str, &str); 12] = [
    ("CUDASHIM_CACHE", "Directory of the preload object and of cached answers."),
    ("CUDASHIM_CHECK", "1: run behaves as with --check."),
    (
        "CUDASHIM_LOG",
        "1, stderr or an absolute path: the preload object logs one line for each decision. off: it prints no warnings.",
    ),
    ("CUDASHIM_OFF", "1: the preload object does nothing."),
    ("CUDASHIM_PLACE", "Additional directories to search, separated by colons."),
    ("CUDASHIM_PLAN", "The plan in force; run and env set it."),
    ("CUDASHIM_PREWARM", "1: the files of a plan are read ahead beside each process that is handed it."),
    ("CUDASHIM_STAGE_DIR", "Directory of the copies that stage makes and run hands out; otherwise TMPDIR, or /tmp."),
    ("CUDASHIM_TRACE", "File that the tracer appends its records to; trace sets it."),
    ("VIRTUAL_ENV, CONDA_PREFIX", "The active environment, where --python names no other."),
    ("NO_COLOR, CLICOLOR_FORCE", "No colour, or colour into pipes too, unless --color decides."),
    ("COLUMNS", "Width of reports; otherwise that of the terminal, at most 120, or 100."),
];

const FILES: [(&str, &str); 3] = [
    ("cudashim.lock", "The set that lock wrote; a text, described in docs/PLAN_FORMAT.md."),
    (
        "$XDG_CACHE_HOME/cudashim, ~/.cache/cudashim",
        "The preload object and the cached answers. It can be deleted, except while something names a file in it: a shell after `env`, an `LD_PRELOAD` from `shim`.",
    ),
    ("/etc/ld.so.cache, /etc/ld.so.conf", "Read, as ld.so reads them."),
];

/// The parser, with all its texts.
pub(super) fn command() -> clap::Command {
    let mut command = Cli::command();
    for name in HERE {
        let root = clap::Arg::new("root").long("root").value_name("DIR").hide(true);
        let root = root.value_parser(clap::value_parser!(std::path::PathBuf));
        command = command.mut_subcommand(name, |it| it.arg(root));
    }
    let header = *command.get_styles().get_header();
    for examples in EXAMPLES {
        let text = examples_text(examples, header);
        command = command.mut_subcommand(name_of(examples), |it| it.after_long_help(text));
    }
    let (literal, mut groups) = (*command.get_styles().get_literal(), String::new());
    for (heading, names) in GROUPS {
        let _ = write!(groups, "\n{header}{heading}:{header:#}\n");
        for name in names {
            let about = command.find_subcommand(name).and_then(clap::Command::get_about);
            let about = about.map_or_else(|| "Print this help, or that of a command".to_owned(), ToString::to_string);
            let _ = writeln!(groups, "  {literal}{name:<11}{literal:#}  {about}");
        }
    }
    command
        .help_template(format!(
            "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n{groups}\n{header}Options:{header:#}\n{{options}}{{after-help}}"
        ))
        .after_long_help(examples_text(&FIRST, header))
}

fn name_of(examples: &[(&'static str, &str); 3]) -> &'static str {
    examples[0].0.split(' ').next().unwrap_or_default()
}

fn examples_text(examples: &[(&str, &str)], header: clap::builder::styling::Style) -> String {
    let mut text = format!("{header}Examples:{header:#}");
    for (line, about) in examples {
        let _ = write!(text, "\n  $ cudashim {line}\n      {about}");
    }
    text
}

/// The sections of a manual page that clap does not make: title and entries.
pub(super) fn sections(of: &str) -> Vec<(&'static str, Vec<(String, String)>)> {
    let owned = |rows: &[(&str, &str)]| -> Vec<(String, String)> {
        rows.iter().map(|(term, about)| ((*term).to_owned(), (*about).to_owned())).collect()
    };
    let examples = EXAMPLES.iter().find(|examples| name_of(examples) == of).unwrap_or(&FIRST);
    let examples = examples.iter().map(|(line, about)| (format!("cudashim {line}"), (*about).to_owned())).collect();
    vec![
        ("EXIT STATUS", owned(&EXITS)),
        ("ENVIRONMENT", owned(&VARIABLES)),
        ("FILES", owned(&FILES)),
        ("EXAMPLES", examples),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::FromArgMatches;
    use std::collections::BTreeSet;

    fn parses(line: &str) {
        let matches = command().try_get_matches_from(["cudashim"].into_iter().chain(line.split(' ')));
        Cli::from_arg_matches(&matches.unwrap_or_else(|error| panic!("{line}: {error}"))).unwrap();
    }

    #[test]
    fn each_command_has_a_group_and_three_examples_that_parse() {
        let commands: BTreeSet<String> =
            Cli::command().get_subcommands().map(|command| command.get_name().to_owned()).collect();
        let grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        let mut all = commands.clone();
        all.insert("help".to_owned());
        assert_eq!(grouped.len(), all.len());
        assert_eq!(grouped.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>(), all);
        assert_eq!(EXAMPLES.iter().map(|it| name_of(it).to_owned()).collect::<BTreeSet<_>>(), commands);
        for (line, _) in EXAMPLES.iter().flatten().chain(&FIRST) {
            parses(line);
        }
        command().debug_assert();
    }

    #[test]
    fn the_list_of_commands_fits_eighty_columns() {
        let help = command().render_help().to_string();
        let listed = help.lines().skip_while(|line| !line.starts_with("Run ")).take_while(|line| *line != "Options:");
        for line in listed {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}
