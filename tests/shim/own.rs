//! What a plan says for the consumer alone: its own files, its own search path.

use super::{host, put_plan, run, utf8, with_plan};
use crate::support::lab::{Lab, PlanText};

#[test]
fn what_is_absent_is_so_for_one_search_path() {
    let lab = Lab::new();
    lab.copy("driver/libgone.so", "libgone.so", 4);
    let plan = PlanText::new().record(&["absent", "libgone.so", "/no/such/libgone.so"]).record(&["searched", ""]);
    let path = put_plan(&lab, &plan);
    let open = |library_path: &str| {
        let mut command = host(&["open", "libgone.so", "l"]);
        run(&lab, command.env("CUDASHIM_PLAN", &path).env("LD_LIBRARY_PATH", library_path)).out
    };
    assert_eq!(open(""), "open libgone.so: no\n");
    // Mounted and named since: found as without us.
    assert_eq!(open(lab.path("driver").to_str().unwrap()), "open libgone.so: ok\n");
}

/// An object outside the consumer's directories has a private copy of a library the plan only keeps.
#[test]
fn what_is_kept_is_for_the_consumers_own_files() {
    let lab = Lab::new();
    let kept = lab.copy("kept/libone.so.1", "libone.so.1", 2);
    lab.copy("other/libone.so.1", "libone.so.1", 3);
    let one = lab.path("other/libone.so.1");
    let uses = "int which(void); int sum(void) { return 10 * which(); }";
    let other = lab.library("other/libuser.so", "libuser.so", uses, &[one.to_str().unwrap(), "-Wl,-rpath,$ORIGIN"]);
    let plan = |own: &str| PlanText::new().lib("libone.so.1", &kept, "keep").record(&["own", own]);
    let open = |own: &str| with_plan(&lab, &plan(own), &["open", utf8(&other), "l", "call", "sum"]).out;
    let said = |sum: u32| format!("open [R]/other/libuser.so: ok\nsum: {sum}\n");
    assert_eq!(open(lab.path("kept").to_str().unwrap()), said(30));
    assert_eq!(open(lab.path("other").to_str().unwrap()), said(20));
}
