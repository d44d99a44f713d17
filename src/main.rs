//! The program: hands over to `cli`, and gives its exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    cudashim::main()
}
