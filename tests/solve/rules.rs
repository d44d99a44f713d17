//! One small case for every rule and every preference, with their texts.

use std::collections::BTreeSet;

use cudashim::internal::resolve::solve::*;

use super::puzzle::{Puzzle, release};

const A: &str = "/a/lib/libcudart.so.12";
const B: &str = "/b/lib/libcudart.so.12";
const CUDART: &str = "libcudart.so.12";

/// Two copies of cudart needed by torch; no rule refuses the newer one, in `/b`.
fn two(change: impl FnOnce(&mut Puzzle)) -> Puzzle {
    let mut lab = Puzzle::default();
    lab.goal(CUDART);
    lab.file(A).version("12.4.127");
    lab.file(B).version("12.8.57");
    change(&mut lab);
    lab
}

#[track_caller]
fn refuses_b(lab: &Puzzle, why: &str) {
    assert_eq!(lab.paths().iter().filter(|path| path.ends_with(CUDART)).collect::<Vec<_>>(), [A]);
    assert_eq!(lab.why_not(B), why);
}

#[test]
fn solve_rules_have_names_and_reasons() {
    let ids: BTreeSet<&str> = Rule::ALL.iter().map(|rule| rule.id()).collect();
    assert_eq!(ids.len(), Rule::ALL.len());
    for rule in Rule::ALL {
        assert!(!rule.source().is_empty() && !rule.text().ends_with('.') && !rule.text().contains('\n'));
    }
}

#[test]
fn solve_excludes_barred_copies() {
    let lab = two(|lab| lab.candidates[1].barred = Some(Bar("a stub".into())));
    refuses_b(&lab, "a stub");
}

#[test]
fn solve_excludes_forbidden_copies() {
    for path in [B, "/b/lib", "/b"] {
        let mut lab = two(|_| ());
        lab.policy.forbidden.insert(path.into());
        refuses_b(&lab, &format!("forbidden by `{path}`"));
    }
}

#[test]
fn solve_takes_a_fixed_copy() {
    let mut lab = two(|_| ());
    lab.policy.fixed.insert(CUDART.into(), A.into());
    refuses_b(&lab, "fixed to `/a/lib/libcudart.so.12`");
    assert_eq!(lab.solve().unwrap().chosen[0].because, Reason::Fixed);
}

#[test]
fn solve_wants_a_fixed_copy_even_if_provided() {
    let mut lab = two(|_| ());
    lab.policy.fixed.insert(CUDART.into(), A.into());
    lab.goals.clear();
    lab.policy.provided.insert(CUDART.into());
    assert_eq!(lab.paths(), [A]);
}

#[test]
fn solve_demands_symbols() {
    let lab = two(|lab| {
        lab.demand("torch", CUDART, &["cudaMalloc@libcudart.so.12", "cudaGone@libcudart.so.12"]);
        lab.add_lack(1, "cudaGone@libcudart.so.12");
    });
    refuses_b(&lab, "does not define `cudaGone@libcudart.so.12`, which torch needs");
}

#[test]
fn solve_demands_symbols_between_members() {
    let mut lab = two(|_| ());
    lab.goal("libcufile.so.0");
    lab.file("/a/lib/libcufile.so.0").needs(CUDART, &["cudaGone"]);
    lab.add_lack(1, "cudaGone");
    refuses_b(&lab, "does not define `cudaGone`, which libcufile.so.0 needs");

    lab.file("/b/lib/libcufile.so.0").needs(CUDART, &["cudaNewer"]);
    lab.add_lack(0, "cudaNewer");
    lab.add_lack(1, "cudaNewer");
    assert_eq!(
        lab.why_not("/b/lib/libcufile.so.0"),
        "needs `cudaNewer`, which the chosen libcudart.so.12 does not define"
    );
}

#[test]
fn solve_keeps_a_group_in_one_release() {
    let mut lab = Puzzle::default();
    lab.goal("libcublas.so.12").goal("libcublasLt.so.12");
    lab.file("/a/libcublas.so.12").version("12.4.5.8").group("cublas");
    lab.file("/a/libcublasLt.so.12").version("12.4.5.8").group("cublas");
    lab.file("/b/libcublasLt.so.12").version("12.8.3.14").group("cublas");
    assert_eq!(lab.paths(), ["/a/libcublas.so.12", "/a/libcublasLt.so.12"]);
    let why = "of another release than libcublas.so.12 (12.8.3.14, not 12.4.5.8)";
    assert_eq!(lab.why_not("/b/libcublasLt.so.12"), why);
}

#[test]
fn solve_unknown_release_stays_in_its_directory() {
    let mut lab = Puzzle::default();
    lab.goal("libcublas.so.12").goal("libcublasLt.so.12");
    lab.file("/a/libcublas.so.12").group("cublas");
    lab.file("/a/libcublasLt.so.12").version("12.4").group("cublas");
    lab.file("/b/libcublasLt.so.12").version("12.8").group("cublas");
    assert_eq!(lab.paths(), ["/a/libcublas.so.12", "/a/libcublasLt.so.12"]);
    let why = "of another release than libcublas.so.12 (12.8, not unknown)";
    assert_eq!(lab.why_not("/b/libcublasLt.so.12"), why);
}

#[test]
fn solve_prefers_one_directory_per_group() {
    let mut lab = Puzzle::default();
    lab.goal("libcudnn.so.9").goal("libcudnn_ops.so.9");
    lab.file("/a/libcudnn.so.9").version("9.1.0.70").group("cudnn").at_consumer();
    lab.file("/b/libcudnn.so.9").version("9.1.0.70").group("cudnn");
    lab.file("/b/libcudnn_ops.so.9").version("9.1.0.70").group("cudnn");
    assert_eq!(lab.paths(), ["/b/libcudnn.so.9", "/b/libcudnn_ops.so.9"]);
    assert_eq!(lab.why_not("/a/libcudnn.so.9"), "cudnn comes from one directory");

    // With a part that no one directory has beside the others, the same release may be pieced together.
    lab.goal("libcudnn_ext.so.9");
    lab.file("/c/libcudnn_ext.so.9").version("9.1.0.70").group("cudnn");
    assert_eq!(lab.paths(), ["/a/libcudnn.so.9", "/c/libcudnn_ext.so.9", "/b/libcudnn_ops.so.9"]);
}

#[test]
fn solve_takes_no_older_release() {
    let mut lab = Puzzle::default();
    lab.goal("libcudnn_ops.so.9");
    lab.file("/a/libcudnn_ops.so.9").version("9.1.0.70").group("cudnn");
    lab.file("/b/libcudnn_ops.so.9").version("9.10.2.21").group("cudnn").at_consumer();
    lab.file("/c/libcudnn_ops.so.9").group("cudnn").at_consumer();
    lab.file("/d/libcudnn_ops.so.9").version("10.0.0.1").group("cudnn").at_consumer();
    let (consumer, group) = ("ctranslate2".to_owned(), "cudnn".to_owned());
    lab.releases.push(ReleaseDemand { consumer, group, least: release("9.10") });
    assert_eq!(lab.paths(), ["/b/libcudnn_ops.so.9"]);
    assert_eq!(lab.why_not("/a/libcudnn_ops.so.9"), "of release 9.1.0.70, ctranslate2 needs 9.10 or newer");
    assert_eq!(lab.why_not("/c/libcudnn_ops.so.9"), "of release unknown, ctranslate2 needs 9.10 or newer");
    assert_eq!(lab.why_not("/d/libcudnn_ops.so.9"), "of release 10.0.0.1, ctranslate2 needs 9.10 or newer");
}

#[test]
fn solve_nvjitlink_is_not_older_than_its_users() {
    let mut lab = Puzzle::default();
    lab.goal("libcusparse.so.12").goal("libnvJitLink.so.12");
    lab.file("/a/libcusparse.so.12").cuda(12, 4).needs("libnvJitLink.so.12", &[]);
    lab.file("/a/libnvJitLink.so.12").version("12.1.105").cuda(12, 1).at_consumer();
    lab.file("/b/libnvJitLink.so.12").version("12.8.61").cuda(12, 8);
    assert_eq!(lab.paths(), ["/a/libcusparse.so.12", "/b/libnvJitLink.so.12"]);
    assert_eq!(lab.why_not("/a/libnvJitLink.so.12"), "for CUDA 12.1, libcusparse.so.12 is for CUDA 12.4");

    lab.file("/c/libcusparse.so.12").cuda(12, 9).needs("libnvJitLink.so.12", &[]);
    assert_eq!(lab.why_not("/c/libcusparse.so.12"), "for CUDA 12.9, the chosen libnvJitLink.so.12 is for CUDA 12.8");
}

#[test]
fn solve_nvjitlink_is_not_older_than_the_target() {
    let mut lab = Puzzle::default();
    lab.goal("libnvJitLink.so.12").demand("cupy", "libnvJitLink.so.12", &[]);
    lab.demands[0].cuda = Some(CudaRelease { major: 12, minor: Some(4) });
    lab.file("/a/libnvJitLink.so.12").cuda(12, 1).at_consumer();
    lab.file("/b/libnvJitLink.so.12").cuda(12, 4);
    assert_eq!(lab.paths(), ["/b/libnvJitLink.so.12"]);
    assert_eq!(lab.why_not("/a/libnvJitLink.so.12"), "for CUDA 12.1, cupy is for CUDA 12.4");
}

#[test]
fn solve_takes_the_cuda_major_of_the_target() {
    let mut lab = Puzzle::default();
    lab.goal("libcusparse.so.12");
    lab.file("/a/libcusparse.so.12").version("12.3").cuda(12, 4);
    lab.file("/b/libcusparse.so.12").version("12.6").cuda(13, 0).at_consumer();
    lab.built = Some(Built { consumer: "torch".into(), major: 12 });
    assert_eq!(lab.paths(), ["/a/libcusparse.so.12"]);
    assert_eq!(lab.why_not("/b/libcusparse.so.12"), "for CUDA 13, torch is CUDA 12");
}

#[test]
fn solve_takes_one_cuda_major() {
    let mut lab = Puzzle::default();
    lab.goal("libcusparse.so.12").goal("libcublas.so.12");
    lab.file("/a/libcusparse.so.12").version("12.3").cuda(12, 4);
    lab.file("/b/libcusparse.so.12").version("12.6").cuda(13, 0).at_consumer();
    lab.file("/a/libcublas.so.12").cuda(12, 4);
    assert_eq!(lab.paths(), ["/a/libcublas.so.12", "/a/libcusparse.so.12"]);
    assert_eq!(lab.why_not("/b/libcusparse.so.12"), "for CUDA 13, the set is CUDA 12");
}

#[test]
fn solve_unknown_major_never_conflicts() {
    let mut lab = Puzzle::default();
    lab.goal("libcuda.so.1").goal("libcublas.so.12");
    lab.file("/usr/libcuda.so.1").version("580.65.6").group("driver");
    lab.file("/a/libcublas.so.12").cuda(12, 4);
    lab.built = Some(Built { consumer: "torch".into(), major: 12 });
    assert_eq!(lab.paths(), ["/a/libcublas.so.12", "/usr/libcuda.so.1"]);
}

#[test]
fn solve_excludes_known_conflicts() {
    let mut lab = two(|_| ());
    lab.goal("libnccl.so.2");
    lab.file("/a/libnccl.so.2").version("2.21.5");
    lab.conflicts.push(Conflict {
        a: Side { name: Named::Stem("libnccl".into()), from: None, until: Some(release("2.22")) },
        b: Side { name: Named::Soname(CUDART.into()), from: Some(release("12.8")), until: None },
        why: "hangs on exit".into(),
    });
    refuses_b(&lab, "known not to work with libnccl.so.2: hangs on exit");
}

#[test]
fn solve_serves_what_a_copy_needs() {
    let mut lab = two(|_| ());
    lab.candidates[1].needs.push(Need { soname: "libgone.so.1".into(), symbols: SymbolSetId::NONE, hard: true });
    refuses_b(&lab, "needs libgone.so.1, of which no usable copy was found");
    lab.file("/c/libgone.so.1");
    refuses_b(&lab, "needs libgone.so.1, which is not in the set");
    lab.policy.forbidden.insert(A.into());
    assert_eq!(lab.paths(), [B, "/c/libgone.so.1"]);
}

#[test]
fn solve_does_not_choose_what_is_provided() {
    let mut lab = two(|_| ());
    lab.candidates[1].needs.push(Need { soname: "libgone.so.1".into(), symbols: SymbolSetId::NONE, hard: true });
    lab.policy.provided.insert("libgone.so.1".into());
    assert_eq!(lab.paths(), [B]);
    lab.policy.provided.insert(CUDART.into());
    assert!(lab.paths().is_empty());
}

#[test]
fn solve_soft_want_beats_preferences() {
    let mut lab = two(|lab| {
        lab.candidates[0].rank = Rank { pin: Pin::Met, at_consumer_root: true, ..Rank::default() };
        lab.candidates[1].rank.pin = Pin::Missed;
    });
    assert_eq!(lab.paths(), [A]);
    lab.soft("libcufile.so.0");
    lab.file("/b/lib/libcufile.so.0").needs(CUDART, &["cudaNew"]);
    lab.add_lack(0, "cudaNew");
    assert_eq!(lab.paths(), [B, "/b/lib/libcufile.so.0"]);
}

#[test]
fn solve_leaves_an_unserved_soft_want_out() {
    let mut lab = two(|_| ());
    lab.soft("libcufile.so.0");
    let unserved = |lab: &Puzzle| lab.solve().unwrap().unserved[0].to_string();
    assert_eq!(unserved(&lab), "no copy found");
    lab.file("/c/libcufile.so.0").barred("cut off");
    assert_eq!(unserved(&lab), "cut off");
    assert_eq!(lab.why_not("/c/libcufile.so.0"), "cut off");
}

#[test]
fn solve_unserved_soft_need_keeps_the_pin() {
    let mut lab = two(|lab| {
        let need = |soname: &str| Need { soname: soname.into(), symbols: SymbolSetId::NONE, hard: false };
        lab.candidates[0].rank.pin = Pin::Met;
        lab.candidates[0].needs.push(need("libcudnn_ext.so.9"));
        lab.candidates[1].rank.pin = Pin::Missed;
    });
    refuses_b(&lab, "pinned release is 12.4.127");
    assert_eq!(lab.solve().unwrap().unserved[0].soname, "libcudnn_ext.so.9");
    lab.file("/c/libcudnn_ext.so.9");
    assert_eq!(lab.paths(), [A, "/c/libcudnn_ext.so.9"]);
}

#[test]
fn solve_preferences_in_order() {
    let rank = |pin, at_consumer_root, newer_by, older_by| Rank { pin, at_consumer_root, newer_by, older_by };
    let cases = [
        (rank(Pin::Met, false, 9, 9), rank(Pin::Missed, true, 0, 0), "pinned release is 12.4.127"),
        (rank(Pin::Free, true, 9, 9), rank(Pin::Free, false, 0, 0), "not in the environment of the target"),
        (rank(Pin::Free, true, 9, 0), rank(Pin::Free, true, 0, 1), "12.4.127 is nearer to the required release"),
        (rank(Pin::Free, true, 1, 0), rank(Pin::Free, true, 2, 0), "12.4.127 is nearer to the required release"),
        (rank(Pin::Free, true, 0, 1), rank(Pin::Free, true, 0, 2), "12.4.127 is nearer to the required release"),
    ];
    for (ours, theirs, why) in cases {
        let lab = two(|lab| {
            lab.candidates[0].rank = ours;
            lab.candidates[1].rank = theirs;
        });
        refuses_b(&lab, why);
    }
}

#[test]
fn solve_prefers_fewer_roots_to_a_nearer_release() {
    let mut lab = two(|_| ());
    lab.goal("libnccl.so.2");
    lab.file("/a/lib/libnccl.so.2").off(0, 5);
    lab.candidates[0].rank.older_by = 5;
    refuses_b(&lab, "not in an environment the rest of the set comes from");
}

#[test]
fn solve_ties_are_broken_by_release_and_path() {
    let mut lab = two(|_| ());
    assert_eq!(lab.paths(), [B]);
    assert_eq!(lab.why_not(A), "12.8.57 is newer");
    lab.candidates[1].version = lab.candidates[0].version.clone();
    refuses_b(&lab, "equal, and another path sorts first");
    lab.candidates[0].version = None;
    assert_eq!(lab.paths(), [B]);
}

#[test]
fn solve_gives_reasons() {
    let reason = |lab: &Puzzle| lab.solve().unwrap().chosen[0].because.to_string();
    let mut lab = two(|_| ());
    assert_eq!(reason(&lab), "the newest");
    lab.candidates[1].rank.at_consumer_root = true;
    assert_eq!(reason(&lab), "in the environment of the target");
    lab.candidates[1].rank.pin = Pin::Met;
    assert_eq!(reason(&lab), "the pinned release");
    lab.candidates[0].barred = Some(Bar("a stub".into()));
    assert_eq!(reason(&lab), "the only copy that fits");
    lab.candidates.remove(0);
    assert_eq!(reason(&lab), "the only copy");
}

#[test]
fn solve_empty_problem_has_an_empty_set() {
    let mut lab = two(|_| ());
    lab.goals.clear();
    let solution = lab.solve().unwrap();
    assert!(solution.chosen.is_empty() && solution.unserved.is_empty());
}

#[test]
fn solve_reads_symbols_of_the_set_only() {
    let lab = two(|lab| {
        lab.demand("torch", CUDART, &["cudaMalloc"]);
        lab.policy.explain = Explain::AsKnown;
    });
    assert_eq!(lab.paths(), [B]);
    assert_eq!(*lab.asked.borrow(), [(0, 1)]);
}
