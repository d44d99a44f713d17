//! Reports as one page for a browser. tests/real/pages opens them in Chromium.

use crate::support::*;
use base64ct::{Base64, Encoding as _};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;

/// A directory that is markup, ends a string, turns the order of letters, is more than a line, and is not UTF-8.
const HOSTILE: &str = "</script><script>alert(1)<!--\"' onload=alert(1) `&amp;\u{202e}\u{2028}\n\u{1b}[2J]]>";

fn page(world: &Machine, words: &[&str]) -> String {
    let process = Process::of(world.cudashim([words[0]]).args(["--format", "html"]).args(&words[1..]));
    assert!(process.out.starts_with("<!doctype html>\n") && process.out.ends_with("</html>\n"), "{}", process.err);
    process.out
}

/// What is between two texts.
fn between<'t>(text: &'t str, start: &str, end: &str) -> &'t str {
    text.split_once(start).unwrap().1.split_once(end).unwrap().0
}

/// The page without its style and its script.
fn bare(page: &str) -> String {
    page.replace(between(page, "<style>", "</style>"), "…").replace(between(page, "<script>", "</script>"), "…")
}

/// The names of elements, and those of their attributes.
fn markup(page: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut elements, mut attributes) = (BTreeSet::new(), BTreeSet::new());
    for tag in bare(page).split('<').skip(1) {
        let tag = tag.split_once('>').unwrap().0;
        let mut parts = tag.splitn(2, ' ');
        elements.insert(parts.next().unwrap().trim_start_matches('/').to_owned());
        let names = parts.next().unwrap_or_default().split('"').step_by(2);
        attributes.extend(names.flat_map(str::split_whitespace).map(|name| name.trim_end_matches('=').to_owned()));
    }
    (elements, attributes)
}

/// A library that is damaged, and one that nothing finds, below a hostile name.
fn hostile() -> Machine {
    let world = Machine::new();
    let mut dir = world.root().join("m");
    dir.push(OsStr::from_bytes(&[HOSTILE.replace('/', "\u{2215}").as_bytes(), b"\xff"].concat()));
    for _ in 0..12 {
        dir.push("x".repeat(240));
    }
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("libcublas.so.12"), "no library").unwrap();
    Lib::new("libcudart.so.12").defines(&["cudaMalloc"]).build(&world.path("plain/libcudart.so.12"));
    fs::copy(world.path("plain/libcudart.so.12"), dir.join("libcudart.so.12")).unwrap();
    world
}

/// A torch whose cuBLAS is missing.
fn broken() -> Machine {
    let (world, venv) = torch_machine();
    fs::remove_file(venv.site.join("nvidia/cublas/lib/libcublas.so.12")).unwrap();
    world
}

#[test]
fn a_page_loads_nothing_and_takes_no_other_script() {
    let world = broken();
    for words in [
        vec!["scan", "venv"],
        vec!["check", "venv"],
        vec!["doctor", "venv"],
        vec!["trace", "--", "/bin/true"],
        vec!["image", "."],
    ] {
        let page = page(&world, &words);
        let policy = between(&page, "<meta http-equiv=\"Content-Security-Policy\" content=\"", "\"");
        for tag in ["style", "script"] {
            let content = between(&page, &format!("<{tag}>"), &format!("</{tag}>"));
            let digest = Sha256::digest(content.as_bytes());
            let hash = Base64::encode(&digest, &mut [0; 44]).unwrap().to_owned();
            assert!(policy.contains(&format!("{tag}-src 'sha256-{hash}'")), "{policy}");
            assert_eq!(page.matches(&format!("<{tag}")).count(), 1);
            let loads = ["url(", "@import", "fetch(", "http", "import(", "innerHTML", "eval("];
            assert_eq!(loads.into_iter().find(|word| content.contains(word)), None);
        }
        assert!(policy.starts_with("default-src 'none'; "), "{policy}");
        // The policy holds for what follows it.
        assert!(page.find("http-equiv").unwrap() < page.find("<style>").unwrap());
        let (elements, attributes) = markup(&page);
        for loading in ["src", "srcset", "style", "action", "background", "poster", "ping"] {
            assert!(!attributes.contains(loading), "{loading}");
        }
        assert!(!elements.contains("img") && !elements.contains("iframe"));
        assert!(attributes.iter().all(|name| !name.starts_with("on")), "{attributes:?}");
        // The numbers of traced processes differ.
        assert!(words[0] == "trace" || page == self::page(&world, &words), "{words:?}");
    }
}

#[test]
fn a_page_of_a_broken_torch() {
    let torch = Lib::new("libtorch_global_deps.so").unversioned().uses("libcublas.so.12", &["cublasCreate_v2"]);
    let world =
        Machine::new().glibc().with("old/libcublas.so.12", &Lib::new("libcublas.so.12").defines(&["cublasInit"]));
    let venv = world.venv("venv");
    venv.torch("2.5.1+cu124", Some("12.4"), &[], &[("lib/libtorch_global_deps.so", torch)]);
    let mut command = world.rooted(["check", "/venv", "--format", "html"]);
    let process = Process::of(command.env("LD_LIBRARY_PATH", "/old"));
    assert_eq!(process.code, Some(1), "{}", process.err);
    let arch = if cfg!(target_arch = "aarch64") { "aarch64" } else { "x86_64" };
    let text = bare(&process.out.replace(&format!("{arch}-linux-gnu"), "[A]"))
        .replace(between(&process.out, "style-src", ";"), "…");
    let text = text.replace(between(&process.out, "script-src", ";"), "…").replace(env!("CARGO_PKG_VERSION"), "[V]");
    insta::assert_snapshot!(text, @r##"
    <!doctype html>
    <html lang="en">
    <head>
    <meta charset="utf-8">
    <meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src…; script-src…; base-uri 'none'; form-action 'none'">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <meta name="color-scheme" content="light dark">
    <meta name="format-detection" content="telephone=no">
    <meta name="referrer" content="no-referrer">
    <link rel="icon" href="data:,">
    <title>cudashim check: torch 2.5.1+cu124 fails: /venv/lib/python3.11/site-packages/torch/lib/libtorch_global_deps.so: undefined symbol: cublasCreate_v2, version libcublas.so.12</title>
    <style>…</style>
    </head>
    <body><header><p class="command"><span>cudashim check</span> <span class="pill warning">warning</span></p>
    <h1>torch 2.5.1+cu124 fails: /venv/lib/python3.11/site-packages/torch/lib/libtorch_global_deps.so: undefined symbol: cublasCreate_v2, version libcublas.so.12</h1>
    <dl class="facts"><div><dt>in</dt>
    <dd>/venv/lib/python3.11/site-packages/torch</dd>
    </div>
    </dl>
    <nav aria-label="Parts of this page"><a href="#findings">Findings<span class="count"> 1</span></a> <a href="#picture0">What torch 2.5.1+cu124 loads<span class="count"> 6</span></a> <a href="#table0">Files of torch 2.5.1+cu124<span class="count"> 5</span></a> </nav>
    </header>
    <main><section id="findings" aria-label="Findings"><h2>Findings</h2>
    <article class="warning"><h3><span class="pill warning">warning</span> CUDA libraries come from two providers (conda, pip, a toolkit), and the wrong one comes first</h3>
    <div class="case"><p class="says"><code>libtorch_global_deps.so</code> needs <code>cublasCreate_v2</code>, which <code>libcublas.so.12</code> (LD_LIBRARY_PATH) does not define</p>
    <dl class="evidence"><div><dt>file</dt>
    <dd>/old/<wbr>libcublas.so.12, found by LD_LIBRARY_PATH</dd>
    </div>
    <div><dt>needed by</dt>
    <dd>/venv/lib/python3.11/site-packages/torch/lib/libtorch_global_deps.so</dd>
    </div>
    <div><dt>symbol</dt>
    <dd>cublasCreate_v2@libcublas.so.12</dd>
    </div>
    </dl>
    </div>
    <p class="source"><span class="id">conda-pip-toolkit-mix</span> <a href="https://github.com/Fictionarry/ER-NeRF/issues/122" rel="noreferrer noopener">https://github.com/Fictionarry/ER-NeRF/issues/122</a></p>
    </article>
    </section>
    <section id="picture0" aria-label="What torch 2.5.1+cu124 loads"><h2>What torch 2.5.1+cu124 loads</h2>
    <p class="says">Paths without a leading slash are below <code>/venv/<wbr>lib/<wbr>python3.11/<wbr>site-packages</code>.</p>
    <div class="tree"><ul><li class="file warning"><div class="node" id="picture0-3"><span class="name">libtorch_global_deps.so</span> <span class="rule">by path</span> <span class="path">torch/lib</span></div>
    <p class="mark warning"><b>warning</b> <code>libtorch_global_deps.so</code> needs <code>cublasCreate_v2</code>, which <code>libcublas.so.12</code> (LD_LIBRARY_PATH) does not define <a href="#picture0-4">→ libcublas.so.12</a></p>
    <ul><li class="file warning"><div class="node" id="picture0-4"><span class="name">libcublas.so.12</span> <span class="rule">LD_LIBRARY_PATH</span> <span class="path">/old</span></div>
    <p class="mark warning"><b>warning</b> CUDA libraries come from two providers (conda, pip, a toolkit), and the wrong one comes first <a href="#picture0-3">→ libtorch_global_deps.so</a></p>
    <ul><li class="more"><details><summary>1 optional, not found</summary>
    <ul><li class="absent"><div class="node" id="picture0-5"><span class="name">libcuda.so.1</span> <span class="rule">opened later, not found, optional</span></div>
    </li>
    </ul>
    </details>
    </li>
    </ul>
    </li>
    </ul>
    </li>
    <li class="more"><details><summary>3 libraries of the system</summary>
    <ul><li class="system"><div class="node" id="picture0-0"><span class="name">python</span> <span class="rule">by path</span> <span class="path">/venv/bin</span></div>
    <ul><li class="more"><details><summary>2 libraries of the system</summary>
    <ul><li class="system"><div class="node" id="picture0-1"><span class="name">libc.so.6</span> <span class="rule">default directory</span> <span class="path">/usr/lib/[A]</span></div>
    <ul><li class="more"><details><summary>1 library of the system</summary>
    <ul><li class="system"><div class="node" id="picture0-2"><span class="name">ld-linux-x86-64.so.2</span> <span class="rule">interpreter</span> <span class="path">/lib64</span></div>
    </li>
    </ul>
    </details>
    </li>
    </ul>
    </li>
    </ul>
    </details>
    </li>
    </ul>
    </li>
    </ul>
    </details>
    </li>
    </ul>
    </div>
    </section>
    <section id="table0" aria-label="Files of torch 2.5.1+cu124"><h2>Files of torch 2.5.1+cu124</h2>
    <div class="grid"><div class="filter" hidden><label>Filter <input type="search" autocomplete="off" spellcheck="false"></label> <span role="status"></span></div>
    <table role="table" aria-label="Files of torch 2.5.1+cu124"><thead role="rowgroup"><tr role="row"><th role="columnheader" scope="col">library</th><th role="columnheader" scope="col">release</th><th role="columnheader" scope="col">found by</th><th role="columnheader" scope="col">loaded by</th><th role="columnheader" scope="col">finding</th><th role="columnheader" scope="col">path</th></tr>
    </thead>
    <tbody role="rowgroup">
    <tr role="row"><td role="cell" data-name="library">python</td><td role="cell" data-name="release"></td><td role="cell" data-name="found by">by path</td><td role="cell" data-name="loaded by"></td><td role="cell" data-name="finding" data-order="3"></td><td role="cell" data-name="path" class="path">/venv/bin/python</td></tr>
    <tr role="row"><td role="cell" data-name="library">libc.so.6</td><td role="cell" data-name="release"></td><td role="cell" data-name="found by">default directory</td><td role="cell" data-name="loaded by">python</td><td role="cell" data-name="finding" data-order="3"></td><td role="cell" data-name="path" class="path">/usr/<wbr>lib/<wbr>[A]/<wbr>libc.so.6</td></tr>
    <tr role="row"><td role="cell" data-name="library">ld-linux-x86-64.so.2</td><td role="cell" data-name="release"></td><td role="cell" data-name="found by">interpreter</td><td role="cell" data-name="loaded by">libc.so.6</td><td role="cell" data-name="finding" data-order="3"></td><td role="cell" data-name="path" class="path">/lib64/ld-linux-x86-64.so.2</td></tr>
    <tr role="row"><td role="cell" data-name="library">libtorch_global_deps.so</td><td role="cell" data-name="release"></td><td role="cell" data-name="found by">by path</td><td role="cell" data-name="loaded by"></td><td role="cell" data-name="finding" data-order="1"><span class="pill warning">warning: conda-pip-toolkit-mix</span></td><td role="cell" data-name="path" class="path">/venv/<wbr>lib/<wbr>python3.11/<wbr>site-packages/<wbr>torch/<wbr>lib/<wbr>libtorch_global_deps.so</td></tr>
    <tr role="row"><td role="cell" data-name="library">libcublas.so.12</td><td role="cell" data-name="release"></td><td role="cell" data-name="found by">LD_LIBRARY_PATH</td><td role="cell" data-name="loaded by">libtorch_global_deps.so</td><td role="cell" data-name="finding" data-order="1"><span class="pill warning">warning: conda-pip-toolkit-mix</span></td><td role="cell" data-name="path" class="path">/old/libcublas.so.12</td></tr>
    </tbody></table>
    </div>
    </section>
    </main>
    <footer>cudashim [V]. This page loads nothing and sends nothing.</footer>
    <script>…</script>
    </body>
    </html>
    "##);
}

#[test]
fn no_name_is_markup() {
    let world = hostile();
    let page = page(&world, &["scan", "m"]);
    let (elements, attributes) = markup(&page);
    let (plain_elements, plain_attributes) = markup(&self::page(&broken(), &["doctor", "venv"]));
    assert_eq!(elements.difference(&plain_elements).filter(|it| !["details", "summary"].contains(&&***it)).count(), 0);
    assert_eq!(attributes.difference(&plain_attributes).count(), 0, "{attributes:?}");
    assert!(page.contains("&lt;script&gt;alert(1)&lt;!--&quot;&#39; onload=alert(1) "), "{page}");
    let acts = |c: char| c != '\n' && c.is_control() || ('\u{2028}'..='\u{202e}').contains(&c);
    assert_eq!(page.chars().find(|c| acts(*c)), None);
    assert!(page.contains("\\u{202e}\\u{2028}\\n") && page.contains("\\xff"), "{page}");
    assert!(page.contains(&"x".repeat(240)));
}

/// Whose machine it was is nowhere in a page for the public, nor in any other form.
#[test]
fn redacted_pages_and_reports() {
    let world = Machine::new();
    let venv = world.venv("home/annabel/venv");
    torch(&venv);
    world.copy("home/annabel/x/libcudart.so.12", 1);
    for form in ["html", "json", "sarif", "human"] {
        for words in [
            vec!["scan", "home/annabel"],
            vec!["check", "home/annabel/venv"],
            vec!["doctor", "home/annabel/venv"],
            vec!["image", "."],
            vec!["trace", "-o", "out", "--", "/bin/echo", "/home/annabel/x"],
        ] {
            let seen = |redact: Option<&str>| {
                let mut command = world.cudashim([words[0], "--format", form]);
                command.args(redact).args(&words[1..]).env("HOME", world.path("home/annabel")).env("USER", "annabel");
                let process = Process::of(&mut command);
                if words[0] == "trace" { world.read("out") } else { process.out }
            };
            let (plain, redacted) = (seen(None), seen(Some("--redact")));
            // SARIF names the checkout as the base of its paths.
            let redacted = redacted.replace(world.root().to_str().unwrap(), "[R]");
            assert!(!redacted.is_empty() && !redacted.contains("annabel"), "{form} {words:?}: {redacted}");
            assert!(form != "html" || plain.contains("annabel"), "{words:?}: {plain}");
        }
    }
}

#[test]
fn a_page_of_drivers_and_gpus() {
    let (world, _) = torch_machine();
    let page = page(&world, &["check", "venv", "--driver", "535", "--driver", "450", "--gpu", "H100,T4"]);
    let table = between(&page, "aria-label=\"Drivers and GPUs\"", "</section>");
    assert_eq!(table.matches("<tr role=\"row\">").count(), 5, "{table}");
    assert!(table.contains(">no</span>") && table.contains("NVIDIA H100"), "{table}");
}

#[test]
fn a_page_of_nothing_is_a_page() {
    let world = Machine::new();
    world.mkdir("empty");
    let page = page(&world, &["scan", "empty"]);
    assert!(page.contains("nothing wrong") && page.contains("<h1>0 libraries</h1>"), "{page}");
    assert!(!page.contains("<table") && !page.contains("<article"), "{page}");
}

#[test]
fn a_page_of_many_nodes() {
    let world = Machine::new();
    let line = |host: &str, rest: &str| format!("{{\"host\":\"{host}\",\"schema\":1,{rest}}}\n");
    let scan = |host: &str, driver: &str| {
        let node = format!("\"type\":\"node\",\"at\":\"2026-11-30T15:00:00Z\",\"driver\":\"{driver}\"");
        let end = "\"type\":\"end\",\"stopped\":false,\"count\":0,\"reach\":[],\"problems\":[]";
        line(host, &node) + &line(host, end)
    };
    let scans = scan("n1", "570.1") + &scan("n2", "570.1") + &scan("<b>", "535.1");
    world.write("scans", scans);
    let page = page(&world, &["fleet", "scans"]);
    assert!(page.contains("3 nodes in 2 groups") && page.contains("something wrong"), "{page}");
    assert!(page.contains("<code>&lt;b&gt;</code></td>") && page.contains(">535.1</td>"), "{page}");
}
