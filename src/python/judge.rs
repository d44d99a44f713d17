//! Compares with real interpreters: site directories with `.pth` files of every form, and the resulting `sys.path`.

#[cfg(test)]
mod tests {
    use super::super::{Interpreter, Options, find_on_path};
    use crate::host::Host;
    use proptest::prelude::*;
    use proptest::test_runner::TestRunner;
    use std::collections::{BTreeMap, BTreeSet};
    use std::ffi::OsString;
    use std::path::{Path, PathBuf};
    use std::process::Command;

    /// The lines of `.pth` files; `@` is the directory of the world.
    const LINES: [&str; 17] = [
        "",
        "# a comment",
        "@/a",
        "@/b/",
        "@/a/../b",
        "../../../../c \t",
        "@/none",
        " @/a",
        "@/file.zip",
        "./inside",
        "import site; site.addsitedir('@/sites/one')",
        "import site; site.addsitedir(__import__(\"os\").fsdecode(b\"@/sites/two\")); site.addsitedir(\"@/sites/one\")",
        "import _virtualenv",
        "import os; var = 'SETUPTOOLS_USE_DISTUTILS'; enabled = os.environ.get(var, 'local') == 'local'; enabled and __import__('_distutils_hack').add_shim(); ",
        // Unknown lines: the interpreter is run.
        "import sys; sys.path.append('@/asked')",
        "import sys; sys.path.insert(0, '@/asked')",
        "import\tasked",
    ];

    /// The variables that change `sys.path`.
    const VARIABLES: [(&str, &str); 8] = [
        ("PYTHONPATH", "@/pp:@/a"),
        ("PYTHONPATH", "@/pp:"),
        ("PYTHONPATH", "@/pp/../b::relative"),
        ("PYTHONUSERBASE", "@/user"),
        ("PYTHONNOUSERSITE", "1"),
        ("HOME", "@/home"),
        ("PYTHONSAFEPATH", "1"),
        ("NONE", ""),
    ];

    /// The places of `sites/one` and `sites/two` among the site directories of a world.
    const ONE: usize = 3;
    const TWO: usize = 4;

    #[derive(Debug, Clone)]
    struct World {
        /// Site directory, name, lines.
        files: Vec<(usize, &'static str, Vec<usize>)>,
        variables: Vec<usize>,
        system: bool,
        custom: bool,
        flag: Option<&'static str>,
    }

    fn world() -> impl Strategy<Value = World> {
        let file = (
            0usize..6,
            prop::sample::select(vec!["a.pth", "b.pth", "zz.pth", "_virtualenv.pth"]),
            prop::collection::vec(0..LINES.len(), 0..4),
        );
        (
            prop::collection::vec(file, 0..6),
            prop::collection::vec(0..VARIABLES.len(), 0..4),
            any::<bool>(),
            prop::bool::weighted(0.1),
            prop::option::of(prop::sample::select(vec!["-I", "-E", "-s"])),
        )
            .prop_map(|(files, variables, system, custom, flag)| World {
                files: files
                    .into_iter()
                    .map(|(site, name, lines)| (site, name, without_circles(site, lines)))
                    .collect(),
                variables,
                system,
                custom,
                flag,
            })
    }

    /// The lines of a file of site directory `site` that add no directory in a circle: `site` would read it up to the
    /// recursion limit, and with two such lines for ever. `sites/two` may add `sites/one`, no more.
    fn without_circles(site: usize, mut lines: Vec<usize>) -> Vec<usize> {
        lines.retain(|line| match site {
            ONE => !LINES[*line].contains("addsitedir"),
            TWO => !LINES[*line].contains("sites/two"),
            _ => true,
        });
        lines
    }

    /// The available interpreters: the one on PATH, which may be a script, and those of pyenv.
    fn interpreters() -> Vec<PathBuf> {
        let host = Host::current();
        let on_path = find_on_path(&host, "python3".as_ref());
        let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        let kept = std::fs::read_dir(home.join(".pyenv/versions")).into_iter().flatten().flatten();
        let kept = kept.map(|entry| entry.path().join("bin/python3"));
        let named = on_path.into_iter().chain(kept).filter(|path| path.exists());
        let code = "import sys; print(sys.executable)";
        named
            .filter_map(|python| output_of(&python, None, code, host.environment(), Path::new("/")).pop())
            .map(PathBuf::from)
            .collect()
    }

    /// The output of an interpreter.
    fn output_of(
        python: &Path,
        flag: Option<&str>,
        code: &str,
        environment: &BTreeMap<OsString, OsString>,
        cwd: &Path,
    ) -> Vec<String> {
        let mut command = Command::new(python);
        command.env_clear().envs(environment).current_dir(cwd).args(flag).args(["-B", "-c", code]);
        let output = command.output().unwrap();
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    #[ignore = "needs Python interpreters"]
    fn the_paths_equal_those_of_a_real_interpreter() {
        let interpreters = interpreters();
        assert!(!interpreters.is_empty());
        for python in interpreters {
            let code = "import sys; print('%d.%d' % sys.version_info[:2])";
            let version = output_of(&python, None, code, &BTreeMap::new(), Path::new("/")).remove(0);
            // Releases before 3.8 are not supported.
            if ["3.6", "3.7"].contains(&&*version) {
                continue;
            }
            let mut runner =
                TestRunner::new(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() });
            runner.run(&world(), |world| compare(&python, &version, &world)).unwrap();
        }
    }

    fn compare(python: &Path, version: &str, world: &World) -> Result<(), TestCaseError> {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let at = |text: &str| text.replace('@', root.to_str().unwrap());
        let site = format!("lib/python{version}/site-packages");
        let sites = [
            format!("v/{site}"),
            format!("home/.local/{site}"),
            format!("user/{site}"),
            "sites/one".to_owned(),
            "sites/two".to_owned(),
            "a".to_owned(),
        ];
        for dir in
            ["v/bin", "a", "b", "c", "pp", "asked", "job/relative"].into_iter().chain(sites.iter().map(String::as_str))
        {
            std::fs::create_dir_all(root.join(dir)).unwrap();
        }
        std::fs::create_dir_all(root.join(&sites[0]).join("inside")).unwrap();
        std::fs::write(root.join("file.zip"), "").unwrap();
        // A line that fails ends its file.
        for site in sites.iter().map(|site| root.join(site)) {
            std::fs::write(site.join("_virtualenv.py"), "").unwrap();
            std::fs::write(site.join("_distutils_hack.py"), "def add_shim(): pass").unwrap();
            std::fs::write(site.join("asked.py"), "").unwrap();
        }
        std::os::unix::fs::symlink(python, root.join("v/bin/python")).unwrap();
        let home = std::fs::canonicalize(python).unwrap().parent().unwrap().to_owned();
        let config = format!(
            "home = {}\nversion_info = {version}.1\ninclude-system-site-packages = {}\n",
            home.display(),
            world.system
        );
        std::fs::write(root.join("v/pyvenv.cfg"), config).unwrap();
        for (site, name, lines) in &world.files {
            let text: Vec<String> = lines.iter().map(|line| at(LINES[*line])).collect();
            std::fs::write(root.join(&sites[*site]).join(name), text.join("\n")).unwrap();
        }
        if world.custom {
            let text = at("import site; site.addsitedir('@/sites/two')");
            std::fs::write(root.join(&sites[0]).join("sitecustomize.py"), text).unwrap();
        }
        let mut environment = BTreeMap::from([("PATH".into(), "/usr/bin:/bin".into())]);
        for (name, value) in world.variables.iter().map(|index| VARIABLES[*index]) {
            environment.insert(name.into(), at(value).into());
        }
        let host = Host::new("/".into(), environment.clone(), root.join("job"));
        let options = Options::parse(&world.flag.map(OsString::from).into_iter().collect::<Vec<_>>());
        let program = root.join("v/bin/python");
        let found = Interpreter::find(&host, &program, &options).unwrap();
        let theirs =
            output_of(&program, world.flag, "import sys; print('\\n'.join(sys.path))", &environment, &root.join("job"));
        // The standard library holds no installed packages; missing directories are left out.
        let library =
            [format!("python{version}"), "lib-dynload".to_owned(), format!("python{}.zip", version.replace('.', ""))];
        let counts =
            |path: &PathBuf| path.is_absolute() && path.exists() && !library.iter().any(|name| path.ends_with(name));
        let ours: Vec<PathBuf> = found.paths.into_iter().filter(counts).collect();
        // `site` reads the directories of an environment twice, and a line may add a present directory again.
        let mut seen = BTreeSet::new();
        let theirs = theirs.into_iter().map(PathBuf::from).filter(counts);
        let theirs: Vec<PathBuf> = theirs.filter(|path| seen.insert(path.clone())).collect();
        prop_assert_eq!(ours, theirs);
        Ok(())
    }
}
