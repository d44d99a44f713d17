//! Small worlds drawn at random: libraries that need, define and open a few names in every way.

use super::{agree, agree_on_opening};
use crate::support::*;
/// Numbers that are the same in every run (xorshift64*).
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound as u64).unwrap()
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

const LIBRARIES: usize = 5;
const SYMBOLS: [&str; 4] = ["p", "q", "r", "s"];

/// One library of a world: each is built against older copies of the others.
fn build(lab: &Machine, draw: &mut Draw, at: usize) {
    let name = format!("lib{at}.so");
    let mut source = String::new();
    for symbol in SYMBOLS {
        match draw.below(6) {
            0 => source += &format!("int {symbol}(void) {{ return {at}; }}\n"),
            1 => source += &format!("__attribute__((weak)) int {symbol}(void) {{ return {at}; }}\n"),
            2 => source += &format!("extern int {symbol}(void); int (*held_{symbol}_{at})(void) = {symbol};\n"),
            3 => {
                source += &format!("extern int {symbol}(void); int call_{symbol}_{at}(void) {{ return {symbol}(); }}\n")
            }
            4 => {
                source += &format!(
                    "extern int {symbol}(void) __attribute__((weak)); int (*held_{symbol}_{at})(void) = {symbol};\n"
                );
            }
            _ => {}
        }
    }
    let mut args: Vec<String> = vec!["-nostdlib".into(), "-Wl,-rpath,$ORIGIN".into()];
    for other in 0..LIBRARIES {
        if other != at && lab.path(&format!("lib{other}.so")).exists() && draw.one_in(3) {
            args.push(format!("./lib{other}.so"));
        }
    }
    if draw.one_in(3) {
        let nodes = ["N_1", "N_2"][..=draw.below(2)].to_vec();
        let mut script = String::new();
        for (place, node) in nodes.iter().enumerate() {
            let chosen: String = SYMBOLS
                .iter()
                .enumerate()
                .filter(|(symbol, _)| symbol % nodes.len() == place)
                .map(|(_, symbol)| format!("{symbol}; "))
                .collect();
            script += &format!("{node} {{ global: {chosen}}};\n");
        }
        lab.write("nodes.map", script);
        args.push("-Wl,--version-script=nodes.map".into());
    }
    for (option, rarity) in
        [("-Wl,-Bsymbolic", 5), ("-Wl,-z,now", 3), ("-Wl,--hash-style=sysv", 4), ("-Wl,--disable-new-dtags", 3)]
    {
        if draw.one_in(rarity) {
            args.push(option.into());
        }
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    lab.library(&name, &source, &args);
}

#[test]
fn loader_predicts_random_machines() {
    let mut draw = Draw(20_261_122);
    let mut said = 0;
    for _ in 0..5 {
        let lab = Machine::new();
        // Twice, so that each is linked against what another was before.
        for at in (0..LIBRARIES).chain(0..LIBRARIES) {
            build(&lab, &mut draw, at);
        }
        let preload = format!("./lib{}.so", draw.below(LIBRARIES));
        let all: Vec<String> = (0..LIBRARIES).map(|at| format!("lib{at}.so")).collect();
        for name in &all {
            said += agree(&lab, &lab.path(name), &[]).iter().filter(|line| line.contains("undefined")).count();
            agree(&lab, &lab.path(name), &[("LD_PRELOAD", &preload)]);
            // The order of glibc before 2.36.
            agree(&lab, &lab.path(name), &[("GLIBC_TUNABLES", "glibc.rtld.dynamic_sort=1")]);
        }
        for _ in 0..4 {
            let mut opened = Vec::new();
            for _ in 0..5 {
                let how = ["now", "lazy", "global", "deep"][draw.below(4)];
                opened.push(format!("{how}:./lib{}.so", draw.below(LIBRARIES)));
            }
            let opened: Vec<&str> = opened.iter().map(String::as_str).collect();
            agree_on_opening(&lab, &opened, &[], &[]);
            agree_on_opening(&lab, &opened, &[("GLIBC_TUNABLES", "glibc.rtld.dynamic_sort=1")], &[]);
        }
    }
    assert!(said > 10, "a world in which nothing is missing shows nothing");
}
