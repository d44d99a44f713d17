//! Laws that hold for every problem, judged by going through all sets of small ones.

use std::collections::BTreeSet;

use cudashim::internal::resolve::solve::*;
use proptest::prelude::*;

use super::oracle::{Judge, Set};
use super::puzzle::Puzzle;

const NAMES: [&str; 5] =
    ["libcudart.so.12", "libcudnn.so.9", "libcudnn_graph.so.9", "libcusparse.so.12", "libnvJitLink.so.12"];

fn cuda() -> impl Strategy<Value = Option<CudaRelease>> {
    let minor = prop_oneof![1 => Just(None), 3 => (1..4_u32).prop_map(Some)];
    let known =
        (prop_oneof![1 => Just(11), 4 => Just(12)], minor).prop_map(|(major, minor)| CudaRelease { major, minor });
    proptest::option::weighted(0.5, known)
}

fn version() -> impl Strategy<Value = Release> {
    prop_oneof![Just(Release(vec![9, 1])), Just(Release(vec![9, 1, 0])), Just(Release(vec![9, 10, 2]))]
}

fn name() -> impl Strategy<Value = String> {
    (0..NAMES.len()).prop_map(|at| NAMES[at].to_owned())
}

fn need() -> impl Strategy<Value = Need> {
    let symbols = prop_oneof![2 => (0..SETS).prop_map(SymbolSetId), 1 => Just(SymbolSetId::NONE)];
    (name(), symbols, any::<bool>()).prop_map(|(soname, symbols, hard)| Need { soname, symbols, hard })
}

fn rank() -> impl Strategy<Value = Rank> {
    let pin = prop_oneof![Just(Pin::Met), Just(Pin::Free), Just(Pin::Missed)];
    (pin, any::<bool>(), 0..2_u32, 0..2_u32).prop_map(|(pin, at_consumer_root, newer_by, older_by)| Rank {
        pin,
        at_consumer_root,
        newer_by,
        older_by,
    })
}

fn candidate() -> impl Strategy<Value = Candidate> {
    let bar = prop_oneof![Just("a stub"), Just("cut off")].prop_map(|why| Bar(why.to_owned()));
    let group = prop_oneof![5 => Just("of its own"), 1 => Just("none"), 1 => Just("odd")];
    (
        name(),
        (0..3_u32, 0..3_u32),
        proptest::option::weighted(0.8, version()),
        group,
        cuda(),
        proptest::option::weighted(0.12, bar),
        proptest::collection::vec(need(), 0..3),
        rank(),
    )
        .prop_map(|(soname, (root, directory), version, group, cuda, barred, needs, rank)| {
            let group = match group {
                "of its own" => soname.starts_with("libcudnn").then(|| "cudnn".to_owned()),
                "none" => None,
                _ => Some("odd".to_owned()),
            };
            let path = Default::default();
            Candidate { soname, path, root, directory, version, group, cuda, barred, needs, rank }
        })
}

const SETS: u32 = 5;
const COPIES: usize = 4;
/// How many release demands, and how many conflicts; with more, nothing would fit.
const FEW: std::ops::Range<usize> = 0..3;

fn side() -> impl Strategy<Value = Side> {
    let name = prop_oneof![name().prop_map(Named::Soname), Just(Named::Group("cudnn".into()))];
    (name, version(), any::<bool>()).prop_map(|(name, from, bounded)| Side {
        name,
        from: bounded.then_some(from),
        until: None,
    })
}

fn lab() -> impl Strategy<Value = Puzzle> {
    let goal = (name(), prop_oneof![2 => Just(true), 1 => Just(false)]);
    let demand = (name(), 0..SETS, cuda());
    let facts = (
        proptest::collection::vec(demand, 0..3),
        proptest::collection::vec((version(), prop_oneof![4 => Just("cudnn"), 1 => Just("odd")]), FEW),
        proptest::option::weighted(0.2, prop_oneof![Just(11_u32), Just(12)]),
        proptest::collection::vec((side(), side()), FEW),
    );
    let policy = (
        proptest::option::weighted(0.15, name()),
        proptest::option::weighted(0.15, any::<prop::sample::Index>()),
        proptest::option::weighted(0.15, any::<prop::sample::Index>()),
    );
    (
        proptest::collection::vec(goal, 1..5),
        proptest::collection::vec(candidate(), 1..17),
        facts,
        policy,
        proptest::collection::vec(proptest::bool::weighted(0.2), SETS as usize * NAMES.len() * COPIES),
    )
        .prop_map(
            |(goals, candidates, (demands, at_least, built, conflict), (provided, fixed, forbidden), lacks)| {
                let mut lab = Puzzle::default();
                for (soname, hard) in goals {
                    lab.goals.push(Goal { soname, hard, by: "torch".to_owned() });
                }
                for mut one in candidates {
                    if lab.candidates.iter().filter(|other| other.soname == one.soname).count() < COPIES {
                        one.path = format!("/r{}/d{}/{}", one.root, one.directory, lab.candidates.len()).into();
                        lab.candidates.push(one);
                    }
                }
                for set in 0..SETS as usize {
                    let symbol = format!("s{set}");
                    lab.set(&[&symbol]);
                    for at in 0..lab.candidates.len() {
                        if lacks[set * NAMES.len() * COPIES + at] {
                            lab.add_lack(at, &symbol);
                        }
                    }
                }
                for (soname, set, cuda) in demands {
                    lab.demands.push(Demand { consumer: "torch".to_owned(), soname, symbols: SymbolSetId(set), cuda });
                }
                for (least, group) in at_least {
                    let (consumer, group) = ("torch".to_owned(), group.to_owned());
                    lab.releases.push(ReleaseDemand { consumer, group, least });
                }
                lab.built = built.map(|major| Built { consumer: "torch".to_owned(), major });
                for (at, (a, b)) in conflict.into_iter().enumerate() {
                    lab.conflicts.push(Conflict { a, b, why: format!("they crash, {at}") });
                }
                lab.policy.provided.extend(provided);
                if let Some(one) = fixed.map(|at| at.get(&lab.candidates)) {
                    lab.policy.fixed.insert(one.soname.clone(), one.path.clone());
                }
                if let Some(one) = forbidden.map(|at| at.get(&lab.candidates)) {
                    lab.policy.forbidden.insert(one.path.clone());
                }
                lab
            },
        )
}

fn set_of(solution: &Solution) -> Set {
    solution.chosen.iter().map(|one| (one.soname.clone(), one.candidate)).collect()
}

/// The answer as text, with paths for numbers.
fn outcome(lab: &Puzzle) -> Result<Vec<String>, Vec<String>> {
    let line = |one: &Refused| format!("  {} {}", lab.path(one.candidate), one.because);
    let solution = lab.solve().map_err(|none| none.clauses.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    let mut lines = Vec::new();
    for one in &solution.chosen {
        lines.push(format!("{} {} {}", one.soname, lab.path(one.candidate), one.because));
        lines.extend(one.refused.iter().map(line));
    }
    for one in &solution.unserved {
        lines.push(one.soname.clone());
        lines.extend(one.refused.iter().map(line));
    }
    Ok(lines)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_set_is_the_best_there_is(lab in lab()) {
        let problem = lab.problem();
        let judge = Judge::new(&problem);
        let best = judge.best();
        match solve(&problem) {
            Ok(solution) => {
                let set = set_of(&solution);
                prop_assert!(judge.keeps(&set, &|_| true), "breaks a rule: {set:?}");
                prop_assert_eq!(solution.cost, judge.cost(&set));
                let best = best.expect("a set was found although none fits");
                prop_assert_eq!(solution.cost, judge.cost(&best), "{:?} {:?}", &set, &best);
                prop_assert_eq!(set, best);
            }
            Err(none) => prop_assert!(best.is_none(), "{none}, but {best:?}"),
        }
    }

    #[test]
    fn no_solution_is_a_conflict_without_a_superfluous_clause(lab in lab()) {
        let problem = lab.problem();
        if let Err(none) = solve(&problem) {
            let judge = Judge::new(&problem);
            let core: BTreeSet<Fact> = none.clauses.iter().map(|clause| clause.fact.clone()).collect();
            prop_assert_eq!(core.len(), none.clauses.len());
            prop_assert!(!judge.solvable(&|fact| core.contains(fact)), "solvable: {none}");
            for fact in &core {
                prop_assert!(judge.solvable(&|other| other != fact && core.contains(other)), "{fact:?} in {none}");
            }
        }
    }

    #[test]
    fn the_order_of_the_input_does_not_matter(
        (lab, order) in lab().prop_flat_map(|lab| {
            let order: Vec<usize> = (0..lab.candidates.len()).collect();
            (Just(lab), Just(order).prop_shuffle())
        })
    ) {
        prop_assert_eq!(outcome(&lab), outcome(&lab.permuted(&order)));
    }

    #[test]
    fn a_library_nobody_asks_for_changes_nothing(mut lab in lab(), mut extra in candidate()) {
        let before = outcome(&lab);
        extra.soname = "libunrelated.so.1".to_owned();
        extra.path = "/r0/d0/unrelated".into();
        lab.candidates.push(extra);
        prop_assert_eq!(before, outcome(&lab));
    }

    #[test]
    fn every_copy_not_chosen_has_a_true_reason(lab in lab()) {
        let problem = lab.problem();
        let judge = Judge::new(&problem);
        if let Ok(solution) = solve(&problem) {
            let set = set_of(&solution);
            for one in &solution.chosen {
                let copies = lab.candidates.iter().filter(|other| other.soname == one.soname).count();
                prop_assert_eq!(one.refused.len() + 1, copies);
                for refused in &one.refused {
                    let mut other = set.clone();
                    other.insert(one.soname.clone(), refused.candidate);
                    let stands = judge.keeps(&other, &|_| true);
                    if refused.because.rule().is_some() {
                        prop_assert!(!stands, "{} stands: {}", lab.path(refused.candidate), refused.because);
                    } else if stands {
                        prop_assert!(judge.cost(&other) >= solution.cost);
                    }
                }
            }
        }
    }

    #[test]
    fn how_far_to_explain_does_not_change_the_set(mut lab in lab()) {
        let fully = lab.solve().map(|solution| set_of(&solution));
        let asked = lab.asked.take().len();
        lab.policy.explain = Explain::AsKnown;
        prop_assert_eq!(fully, lab.solve().map(|solution| set_of(&solution)));
        prop_assert!(lab.asked.borrow().len() <= asked);
    }

    #[test]
    fn symbols_are_asked_for_once(lab in lab()) {
        let _ = lab.solve();
        let asked = lab.asked.borrow();
        let distinct: BTreeSet<_> = asked.iter().collect();
        prop_assert_eq!(distinct.len(), asked.len());
    }
}
