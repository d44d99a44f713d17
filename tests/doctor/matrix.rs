//! A table of drivers and GPUs that are not here.

use crate::support::*;
use cudashim::internal::diagnose::{Matrix, Runs, matrix};
use cudashim::internal::driver::{Assumed, gpu_of};

fn judged(machine: &Machine, drivers: &[&str], gpus: &[&str]) -> Matrix {
    let drivers: Vec<Assumed> = drivers.iter().map(|driver| driver.parse().unwrap()).collect();
    let gpus: Vec<_> = gpus.iter().map(|gpu| gpu_of(gpu).unwrap()).collect();
    matrix(&machine.judged(), &drivers, &gpus)
}

fn runs(matrix: &Matrix) -> Vec<Runs> {
    matrix.cells.iter().map(|cell| cell.runs).collect()
}

#[test]
fn matrix_of_drivers_and_gpus() {
    let machine = Machine::new().torch("2.8.0+cu128", "12.8");
    let table = judged(&machine, &["470", "535", "570.124.06,open"], &["H100", "RTX 5090", "T4"]);
    use Runs::{Conditions, No, Yes};
    assert_eq!(runs(&table), [No, No, No, Conditions, No, Conditions, Yes, Yes, Yes], "{table:#?}");
    let says: Vec<&str> = table.cells.iter().map(|cell| cell.says.as_str()).collect();
    assert_eq!(says[0], "driver 470 does not support NVIDIA H100: the first branch that does is 520");
    assert_eq!(table.cells[4].findings[0].id, "gpu-unsupported");
    assert_eq!(says[2], "torch 2.8.0+cu128 requires driver 525 or newer; assumed: 470");
    assert!(says[4].contains("first branch that does is 570"), "{}", says[4]);
    assert_eq!(
        says[6],
        "torch 2.8.0+cu128 needs CUDA 12.8, which driver 570.124.06 (CUDA 12.8) supports, and has code for NVIDIA H100 (9.0)"
    );
    assert_eq!(table.worst(), Some(No));
}

#[test]
fn matrix_without_drivers_takes_the_newest_for_the_gpu() {
    let machine = Machine::new().torch("2.15.0+cu132", "13.2");
    let table = judged(&machine, &[], &["sm_90", "sm_70"]);
    assert_eq!(runs(&table), [Runs::Yes, Runs::No], "{table:#?}");
    assert_eq!(table.cells[1].driver, None);
    assert!(table.cells[1].findings.iter().any(|finding| finding.id == "no-code-for-device"));
}

#[test]
fn matrix_has_nothing_of_the_driver_that_is_here() {
    let here = with_driver("535.261.03").torch("2.15.0+cu132", "13.2");
    let table = judged(&here, &["580.95.05"], &["H100"]);
    assert_eq!(runs(&table), [Runs::Conditions]);
    let ids: Vec<&str> = table.cells[0].findings.iter().map(|finding| finding.id).collect();
    assert_eq!(ids, ["driver-by-minor-compatibility"]);
    assert!(!format!("{table:?}").contains("535"), "{table:#?}");
    // A machine without a driver is judged alike.
    let none = Machine::new().torch("2.15.0+cu132", "13.2");
    let says = |table: &Matrix| table.cells.iter().map(|cell| cell.says.clone()).collect::<Vec<_>>();
    assert_eq!(says(&judged(&none, &["580.95.05"], &["H100"])), says(&table));
}

#[test]
fn matrix_of_kernel_modules() {
    let machine = Machine::new().torch("2.8.0+cu128", "12.8");
    let table = judged(&machine, &["570", "570,open", "570,proprietary"], &["RTX 5090", "T4"]);
    use Runs::{Conditions, No, Yes};
    assert_eq!(runs(&table), [Conditions, Yes, Yes, Yes, No, Yes], "{table:#?}");
    assert_eq!(table.cells[0].findings[0].id, "kernel-module-flavour");
}

#[test]
fn matrix_is_as_published() {
    let mut wrong = Vec::new();
    let rows = include_str!("published.tsv").lines().filter(|line| !line.starts_with('#')).skip(1);
    let rows: Vec<Vec<&str>> = rows.map(|line| line.split('\t').collect()).collect();
    assert!(rows.len() >= 20, "{}", rows.len());
    for row in rows {
        let [torch, driver, gpu, answer, id, source] = row[..] else { panic!("{row:?}") };
        assert!(source.starts_with("https://"), "{source}");
        let cuda = cudashim::internal::tables::torch_build(torch, None).unwrap().cuda_version.to_string();
        let table = judged(&Machine::new().torch(torch, &cuda), &[driver], &[gpu]);
        let cell = &table.cells[0];
        let found = match cell.runs {
            Runs::Yes => "yes",
            Runs::Conditions => "conditions",
            _ => "no",
        };
        let first = cell.findings.first().map_or("-", |finding| finding.id);
        if (found, first) != (answer, id) {
            wrong.push(format!(
                "{torch} on {driver} with {gpu}: {found} [{first}], published: {answer} [{id}] ({source})"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
